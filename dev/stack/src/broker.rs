//! A private RabbitMQ node with the services' users and rights on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::process::Command;

use crate::broker_files;
use crate::command::{child_command, run_tool};
use crate::installed;
use crate::ports::free_port;
use crate::process::Process;

const DEADLINE: Duration = Duration::from_secs(90);

/// Debian's wrapper in /usr/sbin would change the user.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";

/// A running node, or one that was stopped or killed and can be started again.
#[derive(Debug)]
pub struct Broker {
    /// The Erlang machine; its children are small helpers.
    pub process: Process,
    /// Erlang's table of nodes. A private one, or the node would start one that stays behind.
    epmd: Process,
    node: Node,
}

#[derive(Debug)]
struct Node {
    directory: PathBuf,
    port: u16,
    management_port: u16,
    epmd_port: u16,
    distribution_port: u16,
}

impl Broker {
    /// Starts the node whose data is in `directory`, with the users and rights that the services need.
    ///
    /// # Errors
    /// If RabbitMQ is not installed or does not become ready.
    pub async fn start(directory: &Path, port: u16, management_port: u16) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let directory = directory.canonicalize()?;
        broker_files::write(&directory, port, management_port).await?;
        let (epmd_port, distribution_port) = (free_port()?, free_port()?);
        let node = Node { directory, port, management_port, epmd_port, distribution_port };
        let mut epmd = child_command(installed::find("epmd")?);
        epmd.args(["-address", "127.0.0.1", "-port", &epmd_port.to_string()]);
        let epmd = Process::spawn("epmd", &mut epmd, &node.directory.join("epmd.log"))?;
        let process = node.launch().await?;
        Ok(Self { process, epmd, node })
    }

    /// Where it speaks AMQP.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.node.port
    }

    /// Where its management page and API are.
    #[must_use]
    pub fn management_port(&self) -> u16 {
        self.node.management_port
    }

    /// Stops the node and its helper; durable queues and their persistent messages are kept.
    ///
    /// # Errors
    /// If it had to be killed.
    pub async fn stop(&mut self) -> Result<()> {
        let stopped = self.process.stop(Signal::TERM, DEADLINE).await;
        self.epmd.kill().await?;
        stopped.map(drop)
    }

    /// Stops the node if it runs, and starts it again on the same ports.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.stop(Signal::TERM, DEADLINE).await?;
        self.process = self.node.launch().await?;
        Ok(())
    }

    /// Raises or clears the memory alarm. While it is up, the broker reads from no publisher.
    ///
    /// # Errors
    /// If the node does not answer.
    pub async fn set_memory_alarm(&self, raised: bool) -> Result<()> {
        let mut tool = self.node.command("rabbitmqctl")?;
        tool.arg("set_vm_memory_high_watermark").arg(if raised { "0" } else { "0.4" });
        run_tool("rabbitmqctl", &mut tool).await?;
        Ok(())
    }
}

impl Node {
    async fn launch(&self) -> Result<Process> {
        let mut server = self.command("rabbitmq-server")?;
        let mut process = Process::spawn("RabbitMQ", &mut server, &self.directory.join("rabbitmq.log"))?;
        process.wait_ready(DEADLINE, async || self.listens().await).await?;
        Ok(process)
    }

    /// Its AMQP listener comes last, after users, rights and queues.
    async fn listens(&self) -> bool {
        let check = format!(
            "http://127.0.0.1:{}/api/health/checks/port-listener/{}",
            self.management_port, self.port
        );
        let request = reqwest::Client::new().get(check);
        let answer = request.basic_auth("admin", Some(crate::connection_urls::PASSWORD)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// One of RabbitMQ's programs, which finds this node and none of the machine's own settings.
    fn command(&self, program: &str) -> Result<Command> {
        let program = Path::new(PROGRAMS).join(program);
        if !program.exists() {
            anyhow::bail!("RabbitMQ is not installed; run script/install");
        }
        let at = |name: &str| self.directory.join(name);
        let mut command = child_command(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &self.directory).env("LANG", "C.UTF-8").current_dir(&self.directory);
        command.env("ERL_EPMD_ADDRESS", "127.0.0.1").env("ERL_EPMD_PORT", self.epmd_port.to_string());
        command.env("ERL_CRASH_DUMP_SECONDS", "0");
        command.env("RABBITMQ_NODENAME", "rabbit@localhost");
        command.env("RABBITMQ_DIST_PORT", self.distribution_port.to_string());
        command.env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
        command.env("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf"));
        command.env("RABBITMQ_CONFIG_FILES", at("conf.d"));
        command.env("RABBITMQ_ADVANCED_CONFIG_FILE", at("advanced.config"));
        command.env("RABBITMQ_ENABLED_PLUGINS_FILE", at("enabled_plugins"));
        command.env("RABBITMQ_MNESIA_BASE", at("data")).env("RABBITMQ_PID_FILE", at("pid"));
        command.env("RABBITMQ_LOG_BASE", at("log")).env("RABBITMQ_LOGS", "-");
        // Then the script becomes the node instead of waiting for it: signals meet the node itself.
        command.env("RABBITMQ_ALLOW_INPUT", "1");
        // Many nodes share this machine's few cores: few threads, none bound to a core.
        command.env("RABBITMQ_SCHEDULER_BIND_TYPE", "u");
        command.env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-noinput +S 2:2 +SDio 2 +A 8 +sbwt none +sbwtdcpu none +sbwtdio none \
             -kernel inet_dist_use_interface {127,0,0,1}",
        );
        Ok(command)
    }
}
