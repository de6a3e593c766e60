//! One child process: its log, its signals, its exit. It never outlives this program.

use std::{
    fs::File,
    iter,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::{command::log_tail, process_tree::descendants};

/// A child process. Dropping it kills the process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: Pid,
    log: Option<PathBuf>,
}

impl Process {
    /// Starts a command whose output is appended to the file `log`.
    ///
    /// # Errors
    /// Returns an error if the log cannot be opened, or if the command cannot be started.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("{name}: cannot open the log {}", log.display()))?;
        command.stdout(file.try_clone()?).stderr(file);
        let mut process = Self::spawn_piped(name, command)?;
        process.log = Some(log.to_owned());
        Ok(process)
    }

    /// Starts a command whose output goes to the destination that `command` names.
    ///
    /// # Errors
    /// Returns an error if the command cannot be started.
    pub(crate) fn spawn_piped(name: &str, command: &mut Command) -> anyhow::Result<Self> {
        // The child has its own process group. A terminal's Ctrl-C then reaches only this program, which
        // stops its children in order.
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}; run script/install"))?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let pid = pid.with_context(|| format!("{name} has no process id"))?;
        Ok(Self { name: name.to_owned(), child, pid, log: None })
    }

    /// Returns the name of this process in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the process id. After the process has ended, another process may have the same id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Returns the child, so that a caller can take its pipes.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits until `ready` returns true. It is called every 50 ms.
    ///
    /// # Errors
    /// Returns an error with the last lines of the log if the process ends, or if `deadline` passes.
    pub async fn wait_ready(
        &mut self,
        deadline: Duration,
        ready: impl AsyncFn() -> bool,
    ) -> anyhow::Result<()> {
        let give_up = Instant::now() + deadline;
        loop {
            if let Some(status) = self.exit_status()? {
                bail!("{} ended ({status}) before it was ready{}", self.name, self.log_excerpt());
            }
            if timeout(Duration::from_secs(2), ready()).await.unwrap_or(false) {
                return Ok(());
            }
            if Instant::now() > give_up {
                bail!("{} is not ready after {deadline:?}{}", self.name, self.log_excerpt());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns the exit status, or `None` while the process runs.
    ///
    /// # Errors
    /// Returns an error if the operating system does not report the state.
    pub fn exit_status(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot read the state of {}", self.name))
    }

    /// Waits until the process has ended, and returns its exit status.
    ///
    /// # Errors
    /// Returns an error if the operating system does not report the exit.
    pub async fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        self.child.wait().await.with_context(|| format!("cannot wait for the end of {}", self.name))
    }

    /// Sends a signal that asks the process to stop, and waits until it has ended.
    ///
    /// # Errors
    /// Returns an error if the process still runs after `deadline`. It has been killed then.
    pub async fn stop(&mut self, signal: Signal, deadline: Duration) -> anyhow::Result<ExitStatus> {
        self.resume();
        if self.exit_status()?.is_none() {
            self.send(self.pid, signal);
        }
        if let Ok(status) = timeout(deadline, self.wait()).await {
            return status;
        }
        self.kill().await?;
        bail!("{} did not stop within {deadline:?} and was killed{}", self.name, self.log_excerpt())
    }

    /// Kills the process and its children (`kill -9`), and waits until the process has ended.
    ///
    /// # Errors
    /// Returns an error if the operating system does not report the exit.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.send_to_tree(Signal::KILL);
        self.wait().await?;
        Ok(())
    }

    /// Freezes the process and its children (SIGSTOP).
    pub fn pause(&self) {
        self.send_to_tree(Signal::STOP);
    }

    /// Resumes the process and its children after [`Process::pause`] (SIGCONT).
    pub fn resume(&self) {
        self.send_to_tree(Signal::CONT);
    }

    fn send_to_tree(&self, signal: Signal) {
        // The parent is first: a frozen or dead process creates no more children.
        let children = descendants(self.pid);
        for pid in iter::once(self.pid).chain(children) {
            self.send(pid, signal);
        }
    }

    fn send(&self, pid: Pid, signal: Signal) {
        // After the child has been reaped, its id may belong to another process.
        if self.child.id().is_some() {
            // A process that has ended in the meantime needs no signal.
            let _ = kill_process(pid, signal);
        }
    }

    fn log_excerpt(&self) -> String {
        self.log.as_ref().map_or_else(String::new, |log| {
            format!("; the last lines of {}:\n{}", log.display(), log_tail(log))
        })
    }
}
