//! The process of the console: `console serve`, the page with the watch, or `console reconcile --watch`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::Client;

use crate::{
    process::Process,
    service::{Output, metrics_url, sibling_program, spawn},
};

const NAME: &str = "console";

const LISTEN: &str = "CONSOLE_LISTEN";

/// A console that watches the customers, or whose process has ended. Dropping it kills the process.
#[derive(Debug)]
pub struct Console {
    /// The process, which can be killed, paused, and resumed.
    pub process: Process,
    path: PathBuf,
    arguments: &'static [&'static str],
    settings: Vec<(String, String)>,
    output: Output,
}

impl Console {
    /// Starts `console reconcile --watch`. Its environment has only `settings` and a few inherited variables, such as
    /// `RUST_LOG`.
    ///
    /// # Errors
    /// Returns an error if the console is not built or cannot be started.
    pub fn watch<'a>(
        settings: impl IntoIterator<Item = (&'a str, String)>,
        output: &Output,
    ) -> anyhow::Result<Self> {
        Self::start(&["reconcile", "--watch"], settings, output)
    }

    /// Starts `console serve` on an address. Its environment is that of [`Console::watch`].
    ///
    /// # Errors
    /// Returns an error if the console is not built or cannot be started.
    pub fn serve<'a>(
        address: SocketAddr,
        settings: impl IntoIterator<Item = (&'a str, String)>,
        output: &Output,
    ) -> anyhow::Result<Self> {
        let settings = settings.into_iter().chain([(LISTEN, address.to_string())]);
        Self::start(&["serve"], settings, output)
    }

    fn start<'a>(
        arguments: &'static [&'static str],
        settings: impl IntoIterator<Item = (&'a str, String)>,
        output: &Output,
    ) -> anyhow::Result<Self> {
        let path = sibling_program(NAME)?;
        let settings: Vec<_> = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let process = launch(&path, arguments, &settings, output)?;
        Ok(Self { process, path, arguments, settings, output: output.clone() })
    }

    /// Returns the URL of the page, without a slash at the end. It is empty for a console without a page.
    #[must_use]
    pub fn url(&self) -> String {
        let listen = self.settings.iter().find(|(name, _)| name == LISTEN);
        listen.map(|(_, address)| format!("http://{address}")).unwrap_or_default()
    }

    /// Waits until the page responds.
    ///
    /// # Errors
    /// Returns an error if the process ends, or if `deadline` passes.
    pub async fn wait_ready(&mut self, deadline: Duration) -> anyhow::Result<()> {
        let url = format!("{}/health/ready", self.url());
        let client = Client::new();
        let succeeds = async || {
            let response = client.get(&url).timeout(Duration::from_secs(1)).send().await;
            response.is_ok_and(|response| response.status().is_success())
        };
        self.process.wait_ready(deadline, succeeds).await
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
        self.process = launch(&self.path, self.arguments, &self.settings, &self.output)?;
        Ok(())
    }
}

fn launch(
    path: &Path,
    arguments: &[&str],
    settings: &[(String, String)],
    output: &Output,
) -> anyhow::Result<Process> {
    spawn(NAME, path, output, |command| {
        command.args(arguments);
        command.envs(settings.iter().map(|(name, value)| (name, value)));
    })
}
