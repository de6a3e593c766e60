//! A private RabbitMQ node with the services' users and permissions.

mod cluster;

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::Signal;
use tokio::process::Command;

use crate::{
    broker_files,
    command::{child_command, find_program, run_tool},
    connection_urls::PASSWORD,
    ports::{BrokerPorts, free_port},
    process::Process,
    site::Site,
};

const DEADLINE: Duration = Duration::from_secs(90);

/// Debian's wrappers in /usr/sbin would change the user.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";

/// A node that runs, or that was stopped or killed and can be restarted.
#[derive(Debug)]
pub struct Broker {
    /// The Erlang virtual machine. Its children are small helper programs.
    pub process: Process,
    /// Erlang's port mapper. Without a private one, the node would start one that outlives it. A node that has joined
    /// the cluster of another one uses the port mapper of that node.
    epmd: Option<Process>,
    node: Node,
}

#[derive(Debug)]
struct Node {
    /// The name in its cluster.
    name: String,
    directory: PathBuf,
    site: Site,
    ports: BrokerPorts,
    epmd_port: u16,
    distribution_port: u16,
}

impl Broker {
    /// Starts the node on the data in `directory`, with the users and permissions of the services at a site.
    ///
    /// More settings of the node can be in files of its directory `conf.d`.
    ///
    /// # Errors
    /// Returns an error if RabbitMQ is not installed or does not become ready.
    pub async fn start(directory: &Path, site: Site, ports: BrokerPorts) -> anyhow::Result<Self> {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let directory = directory.canonicalize()?;
        broker_files::write(&directory, site, ports).await?;
        let epmd_port = free_port()?;
        let distribution_port = free_port()?;
        let name = "rabbit@localhost".to_owned();
        let node = Node { name, directory, site, ports, epmd_port, distribution_port };
        let epmd = Some(node.launch_epmd()?);
        let process = node.launch().await?;
        Ok(Self { process, epmd, node })
    }

    /// Returns the users of a broker, their permissions, and its policies, in the format of RabbitMQ's definitions.
    ///
    /// # Errors
    /// Returns an error if the script in `deploy/servers` fails.
    pub async fn definitions(site: Site) -> anyhow::Result<String> {
        broker_files::definitions(site).await
    }

    /// Returns the ports of the node.
    #[must_use]
    pub fn ports(&self) -> BrokerPorts {
        self.node.ports
    }

    /// Stops the node and its port mapper. Durable queues keep their persistent messages.
    ///
    /// # Errors
    /// Returns an error if the node had to be killed.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let stopped = self.process.stop(Signal::TERM, DEADLINE).await;
        if let Some(epmd) = &mut self.epmd {
            epmd.kill().await?;
        }
        stopped.map(drop)
    }

    /// Stops the node if it runs, and starts it again on the same ports.
    ///
    /// # Errors
    /// Returns an error if the node does not become ready.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.process.stop(Signal::TERM, DEADLINE).await?;
        if let Some(epmd) = &mut self.epmd
            && epmd.exit_status()?.is_some()
        {
            *epmd = self.node.launch_epmd()?;
        }
        self.process = self.node.launch().await?;
        Ok(())
    }

    /// Raises or clears the memory alarm. While it is raised, the broker reads from no publisher.
    ///
    /// # Errors
    /// Returns an error if the node does not reply.
    pub async fn set_memory_alarm(&self, raised: bool) -> anyhow::Result<()> {
        let limit = if raised { "0" } else { "0.4" };
        self.run("rabbitmqctl", &["set_vm_memory_high_watermark", limit]).await
    }

    /// Makes the node read its certificates again. It would do so within two minutes.
    ///
    /// # Errors
    /// Returns an error if the node does not reply.
    pub async fn reload_certificates(&self) -> anyhow::Result<()> {
        self.run("rabbitmqctl", &["eval", "ssl:clear_pem_cache()."]).await
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let mut tool = self.node.command(program)?;
        run_tool(program, tool.args(arguments)).await?;
        Ok(())
    }
}

impl Node {
    fn launch_epmd(&self) -> anyhow::Result<Process> {
        let mut epmd = child_command(find_program("epmd")?);
        epmd.args(["-address", "127.0.0.1", "-port", &self.epmd_port.to_string()]);
        Process::spawn("epmd", &mut epmd, &self.directory.join("epmd.log"))
    }

    async fn launch(&self) -> anyhow::Result<Process> {
        let mut server = self.command("rabbitmq-server")?;
        let name = self.site.broker_name();
        let mut process = Process::spawn(name, &mut server, &self.directory.join("rabbitmq.log"))?;
        process.wait_ready(DEADLINE, async || self.is_listening().await).await?;
        Ok(process)
    }

    /// Returns whether the AMQP listener is up. It starts after users, permissions, and queues.
    async fn is_listening(&self) -> bool {
        let check = format!(
            "http://127.0.0.1:{}/api/health/checks/port-listener/{}",
            self.ports.management, self.ports.amqp
        );
        let request = reqwest::Client::new().get(check).basic_auth("admin", Some(PASSWORD));
        request.send().await.is_ok_and(|response| response.status().is_success())
    }

    /// Returns a command for one of RabbitMQ's programs that uses this node and no settings of the machine.
    fn command(&self, program: &str) -> anyhow::Result<Command> {
        let program = Path::new(PROGRAMS).join(program);
        if !program.exists() {
            bail!("RabbitMQ is not installed; run script/install");
        }
        let path_of = |name: &str| self.directory.join(name);
        let mut command = child_command(program);
        command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &self.directory).env("LANG", "C.UTF-8").current_dir(&self.directory);
        command.env("ERL_EPMD_ADDRESS", "127.0.0.1").env("ERL_EPMD_PORT", self.epmd_port.to_string());
        command.env("ERL_CRASH_DUMP_SECONDS", "0");
        command.env("RABBITMQ_NODENAME", &self.name);
        command.env("RABBITMQ_DIST_PORT", self.distribution_port.to_string());
        command.env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
        command.env("RABBITMQ_CONFIG_FILE", path_of("rabbitmq.conf"));
        command.env("RABBITMQ_CONFIG_FILES", path_of("conf.d"));
        command.env("RABBITMQ_ADVANCED_CONFIG_FILE", path_of("advanced.config"));
        command.env("RABBITMQ_ENABLED_PLUGINS_FILE", path_of("enabled_plugins"));
        command.env("RABBITMQ_MNESIA_BASE", path_of("data")).env("RABBITMQ_PID_FILE", path_of("pid"));
        command.env("RABBITMQ_LOG_BASE", path_of("log")).env("RABBITMQ_LOGS", "-");
        // The script then replaces itself by the node, so signals reach the node itself.
        command.env("RABBITMQ_ALLOW_INPUT", "1");
        // Many nodes share the few cores of a machine, so each has few threads, none bound to a core.
        command.env("RABBITMQ_SCHEDULER_BIND_TYPE", "u");
        command.env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-noinput +S 2:2 +SDio 2 +A 8 +sbwt none +sbwtdcpu none +sbwtdio none \
             -kernel inet_dist_use_interface {127,0,0,1}",
        );
        Ok(command)
    }
}
