//! The process `console reconcile --watch`, which repairs losses of messages.

use std::path::{Path, PathBuf};

use crate::{
    process::Process,
    service::{Output, metrics_url, sibling_program, spawn},
};

const NAME: &str = "console";

/// A console that watches the customers, or whose process has ended. Dropping it kills the process.
#[derive(Debug)]
pub struct Console {
    /// The process, which can be killed, paused, and resumed.
    pub process: Process,
    path: PathBuf,
    settings: Vec<(String, String)>,
    output: Output,
}

impl Console {
    /// Starts the console. Its environment has only `settings` and a few inherited variables, such as `RUST_LOG`.
    ///
    /// # Errors
    /// Returns an error if the console is not built or cannot be started.
    pub fn watch<'a>(
        settings: impl IntoIterator<Item = (&'a str, String)>,
        output: &Output,
    ) -> anyhow::Result<Self> {
        let path = sibling_program(NAME)?;
        let settings: Vec<_> = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let process = launch(&path, &settings, output)?;
        Ok(Self { process, path, settings, output: output.clone() })
    }

    /// Returns the URL of the console's metrics, if its settings contain `METRICS_LISTEN`.
    #[must_use]
    pub fn metrics_url(&self) -> Option<String> {
        metrics_url(&self.settings)
    }

    /// Starts a process with the same parameters again. A process that still runs is killed.
    ///
    /// # Errors
    /// Returns an error if the console cannot be started.
    pub(crate) fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = launch(&self.path, &self.settings, &self.output)?;
        Ok(())
    }
}

fn launch(path: &Path, settings: &[(String, String)], output: &Output) -> anyhow::Result<Process> {
    spawn(NAME, path, output, |command| {
        command.args(["reconcile", "--watch"]);
        command.envs(settings.iter().map(|(name, value)| (name, value)));
    })
}
