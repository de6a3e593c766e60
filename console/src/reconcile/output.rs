//! The output of a run: ids on standard output as they are found, and progress on standard error.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use reconciliation::{Observer, Report, State};
use tokio::time::Instant;
use uuid::Uuid;

/// The size at which collected ids are written.
const BUFFER: usize = 32 * 1024;

/// The interval between two lines of progress: on a terminal, where a line replaces the one before, and elsewhere.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(200);
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Receives the states of customers and the progress of a run.
#[derive(Debug)]
pub(super) struct Output {
    /// The state whose ids are printed.
    ids: Option<State>,
    buffer: String,
    progress: Option<Progress>,
}

#[derive(Debug)]
struct Progress {
    total: u64,
    is_terminal: bool,
    last_line: Instant,
}

impl Output {
    /// Prints the ids of one state, and the progress if it is requested or if standard error is a terminal.
    pub(super) fn new(ids: Option<State>, progress: bool) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let progress =
            (progress || is_terminal).then(|| Progress { total: 0, is_terminal, last_line: Instant::now() });
        Self { ids, buffer: String::new(), progress }
    }

    /// Prints the remaining ids.
    ///
    /// # Errors
    /// Returns an error if standard output cannot be written, unless its reader has closed it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        service_kit::write_stdout(&std::mem::take(&mut self.buffer))
    }

    /// Removes the line of progress from a terminal.
    pub(super) fn end_progress(&mut self) {
        if let Some(progress) = self.progress.take().filter(|progress| progress.is_terminal) {
            progress.print("");
        }
    }
}

impl Observer for Output {
    fn shows_progress(&self) -> bool {
        self.progress.is_some()
    }

    fn expect(&mut self, customers: u64) {
        if let Some(progress) = &mut self.progress {
            progress.total = customers;
        }
    }

    /// Prints the id of a customer if its state is selected.
    fn add(&mut self, id: Uuid, state: State) -> io::Result<()> {
        if self.ids == Some(state) {
            self.buffer.push_str(&id.to_string());
            self.buffer.push('\n');
            if self.buffer.len() >= BUFFER {
                return self.flush();
            }
        }
        Ok(())
    }

    /// Prints the progress if the last line is old enough.
    fn report_progress(&mut self, report: &Report) {
        let Some(progress) = &mut self.progress else { return };
        let interval = if progress.is_terminal { TERMINAL_INTERVAL } else { LOG_INTERVAL };
        if progress.last_line.elapsed() >= interval {
            progress.last_line = Instant::now();
            let Report { customers, arrived, .. } = report;
            // The total is an estimate of the server and may be outdated.
            let total = progress.total.max(*customers);
            progress
                .print(&format!("compared {customers} of about {total} customers, {arrived} have arrived"));
        }
    }
}

impl Progress {
    fn print(&self, line: &str) {
        let mut errors = io::stderr().lock();
        // A closed standard error is no reason to stop.
        let _ = if self.is_terminal {
            // Carriage return, and "erase in line".
            write!(errors, "\r\x1b[2K{line}").and_then(|()| errors.flush())
        } else {
            writeln!(errors, "{line}")
        };
    }
}
