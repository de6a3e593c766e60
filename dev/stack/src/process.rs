//! One child process: its log, its signals, its end. It never outlives this program.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::command::last_lines;
use crate::process_tree::descendants;

/// A running child. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: Pid,
    log: Option<PathBuf>,
}

impl Process {
    /// Starts a command whose output goes to the end of the file `log`.
    ///
    /// # Errors
    /// If the log cannot be opened or the command not be started.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("{name}: its log {}", log.display()))?;
        command.stdout(file.try_clone()?).stderr(file);
        let mut process = Self::spawn_piped(name, command)?;
        process.log = Some(log.to_owned());
        Ok(process)
    }

    /// Starts a command whose output goes where `command` says.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn_piped(name: &str, command: &mut Command) -> Result<Self> {
        // A process group of its own: a terminal's Ctrl-C reaches this program alone, which then
        // stops its children in order.
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{name} cannot be started; script/install installs it"))?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let pid = pid.with_context(|| format!("{name} has no process id"))?;
        Ok(Self { name: name.to_owned(), child, pid, log: None })
    }

    /// What this process is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, as long as it has not ended.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// The child, to take its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits until `ready` says yes.
    ///
    /// # Errors
    /// If the process ends before, or is not ready by the deadline; with the end of its log.
    pub async fn wait_ready(&mut self, deadline: Duration, ready: impl AsyncFn() -> bool) -> Result<()> {
        let give_up = Instant::now() + deadline;
        loop {
            if let Some(status) = self.exited()? {
                bail!("{} ended ({status}) before it was ready{}", self.name, self.log_end());
            }
            if timeout(Duration::from_secs(2), ready()).await.unwrap_or(false) {
                return Ok(());
            }
            if Instant::now() > give_up {
                bail!("{} is not ready after {deadline:?}{}", self.name, self.log_end());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The exit status, if it has ended.
    ///
    /// # Errors
    /// If the operating system does not tell.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("the state of {}", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If the operating system does not tell.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait().await.with_context(|| format!("the end of {}", self.name))
    }

    /// Asks it to stop with a signal, and waits for its end; kills it at the deadline.
    ///
    /// # Errors
    /// If it had to be killed.
    pub async fn stop(&mut self, signal: Signal, deadline: Duration) -> Result<ExitStatus> {
        self.resume();
        if self.exited()?.is_none() {
            self.send(self.pid, signal);
        }
        if let Ok(status) = timeout(deadline, self.wait()).await {
            return status;
        }
        self.kill().await?;
        bail!("{} did not stop within {deadline:?} and was killed{}", self.name, self.log_end())
    }

    /// Kills it and its children at once (`kill -9`), and waits until it is gone.
    ///
    /// # Errors
    /// If the operating system does not tell of its end.
    pub async fn kill(&mut self) -> Result<()> {
        self.send_all(Signal::KILL);
        self.wait().await?;
        Ok(())
    }

    /// Freezes it and its children (SIGSTOP).
    pub fn pause(&self) {
        self.send_all(Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) {
        self.send_all(Signal::CONT);
    }

    fn send_all(&self, signal: Signal) {
        // The parent first, so that a frozen or dead one makes no more children.
        let children = descendants(self.pid);
        for pid in std::iter::once(self.pid).chain(children) {
            self.send(pid, signal);
        }
    }

    fn send(&self, pid: Pid, signal: Signal) {
        // Once reaped, the number may be another process's. Whoever is gone needs no signal.
        if self.child.id().is_some() {
            let _ = kill_process(pid, signal);
        }
    }

    fn log_end(&self) -> String {
        let Some(log) = &self.log else { return String::new() };
        let text = std::fs::read(log).unwrap_or_default();
        let end = last_lines(&String::from_utf8_lossy(&text));
        format!("; its log {} ends with:\n{end}", log.display())
    }
}
