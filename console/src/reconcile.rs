//! `console reconcile`: every customer of the Web Store gets exactly one state.

mod comparison;
mod dead_letters;
pub(crate) mod flow;
mod output;
mod report;
mod search;
mod sources;
mod unlocated;
pub(crate) mod watch;

use std::{mem, process::ExitCode, time::Duration};

use service_kit::{Logging, MetricsEndpoint, metrics_registry};
use tokio::{
    sync,
    time::{Instant, sleep},
};
use uuid::Uuid;

pub(crate) use comparison::Comparison;
pub(crate) use dead_letters::{DeadLetter, may_contain};
pub use flow::QueueObservation;
pub(crate) use flow::{Flow, monitor};
pub use report::{DeadLetterCounts, Report, State};
pub(crate) use search::Search;
pub use sources::Sources;
pub(crate) use unlocated::Window;

use readers::{
    marketing::Marketing,
    web_store::{self, WebStore},
};

use comparison::compare_page;
use output::Output;

/// Compares the customers of the Web Store with the rows of Marketing
///
/// Each customer gets exactly one state: arrived, in-outbox, on-the-way, dead-lettered, missing, behind (Marketing has
/// an older version), ahead (Marketing has a newer version, because the Web Store was restored from an older backup),
/// duplicated, or forgotten (Marketing has erased the customer, and the Web Store was restored). A customer is on the way until the queues and the services show that its message has passed them. This
/// also applies to a customer with an older version. A customer that the Web Store has erased and that Marketing still has
/// is not forgotten.
///
/// The command only reads, consumes from no work queue, and may run at any time, also during an outage. The exit status
/// is 0 if all customers have arrived, are in the outbox, or are on the way. It is 1 if a customer has another state or is
/// not forgotten, and 2 if a server cannot be read.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub struct Arguments {
    #[command(flatten)]
    sources: Sources,
    /// Prints JSON
    #[arg(long, conflicts_with_all = ["ids", "missing_ids"])]
    json: bool,
    /// Prints only the ids of the customers in one state, one per line; the table goes to standard error
    #[arg(long, value_name = "STATE")]
    ids: Option<State>,
    /// The same as `--ids missing`
    #[arg(long, conflicts_with = "ids")]
    missing_ids: bool,
    /// Prints the progress to standard error, also if it is no terminal
    #[arg(long)]
    progress: bool,
    /// Runs until a signal: checks recent customers every few seconds and all customers slowly, and repairs
    ///
    /// Requests a replay of customers that are missing, behind, or ahead. Dead-lettered customers are only reported.
    #[arg(long, conflicts_with_all = ["json", "ids", "missing_ids", "progress", "patience"])]
    watch: bool,
    /// With --watch: only reports, and requests no replay
    #[arg(long, requires = "watch")]
    no_repair: bool,
    /// With --watch: whether to request replays
    #[arg(
        long, env = "CONSOLE_REPAIR", value_name = "BOOLEAN", default_value_t = true, action = clap::ArgAction::Set,
        hide = true
    )]
    repair: bool,
    #[command(flatten)]
    metrics: MetricsEndpoint,
    #[command(flatten)]
    logging: Logging,
}

/// Prints the report, or watches until a signal. Returns the exit status that [`Arguments`] describes.
///
/// # Errors
/// Returns an error if standard output cannot be written, unless its reader has closed it. Returns an error if
/// logging or the signal handlers cannot be set up.
pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.watch {
        arguments.logging.init()?;
        let metrics_listener = arguments.metrics.bind().await?;
        let shutdown = service_kit::shutdown_on_signal()?;
        let repair = arguments.repair && !arguments.no_repair;
        let mut registry = metrics_registry(env!("CARGO_PKG_VERSION"));
        let metrics = watch::Metrics::register(&mut registry);
        watch::watch(&arguments.sources, repair, (registry, metrics), metrics_listener, &shutdown).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let ids = if arguments.missing_ids { Some(State::Missing) } else { arguments.ids };
    let mut output = Output::new(ids, arguments.progress);
    let report = run_once(&arguments.sources, &mut output).await;
    output.end_progress();
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            eprintln!("console: cannot reconcile: {error:#}");
            return Ok(ExitCode::from(2));
        }
    };
    if arguments.json {
        service_kit::write_stdout(&(serde_json::to_string_pretty(&report)? + "\n"))?;
    } else if ids.is_some() {
        eprint!("{report}");
        output.flush()?;
    } else {
        service_kit::write_stdout(&report.to_string())?;
    }
    Ok(if report.is_consistent() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the state of every customer of the Web Store.
///
/// # Errors
/// Returns an error if a database or a broker cannot be read.
pub async fn reconcile(sources: &Sources) -> anyhow::Result<Report> {
    run_once(sources, &mut Output::default()).await
}

async fn run_once(sources: &Sources, output: &mut Output) -> anyhow::Result<Report> {
    let flow = sync::watch::Sender::new(Flow::default());
    let search = Search::new(sources, flow.subscribe());
    let run = async {
        let run = Run {
            web_store: WebStore::connect(&sources.connections.web_store_database_url).await?,
            marketing: Marketing::connect(&sources.connections.marketing_database_url).await?,
            page: sources.page,
            search,
            window: Window::default(),
            erased: Vec::new(),
            patience: sources.patience,
            report: Report::default(),
            output,
        };
        run.compare().await
    };
    tokio::select! {
        report = Box::pin(run) => report,
        result = Box::pin(flow::monitor(sources, &flow)) => match result? {},
    }
}

/// One run of reconciliation. Its memory is one page and one window, independent of the number of customers.
struct Run<'a> {
    web_store: WebStore,
    marketing: Marketing,
    page: u32,
    search: Search<'a>,
    /// Customers that differ. Their states follow when the window is full, and at the end.
    window: Window,
    /// Customers that the Web Store has erased, and that Marketing has not forgotten.
    erased: Vec<Uuid>,
    /// The longest wait for erasures.
    patience: Duration,
    report: Report,
    output: &'a mut Output,
}

/// The interval between two readings of the rows of erased customers.
const ERASURE_INTERVAL: Duration = Duration::from_millis(500);

impl Run<'_> {
    /// Compares both tables page by page.
    async fn compare(mut self) -> anyhow::Result<Report> {
        if self.output.shows_progress() {
            self.output.expect(self.web_store.approximate_count().await?);
        }
        self.search.wait_for_observation().await;
        let mut after = Uuid::nil();
        loop {
            let last = self.compare_page(after).await?;
            self.output.report_progress(&self.report);
            if self.window.is_full() {
                self.settle().await?;
            }
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
        // At the end also without customers that differ, for the number of dead letters.
        self.settle().await?;
        self.report.not_forgotten_ids = self.wait_for_erasures().await?;
        self.report.not_forgotten = self.report.not_forgotten_ids.len() as u64;
        self.report.queues = self.search.flow().queues;
        Ok(self.report)
    }

    /// Waits until Marketing has forgotten the customers that the Web Store has erased, for up to the patience. Returns
    /// those that it still has.
    async fn wait_for_erasures(&mut self) -> anyhow::Result<Vec<Uuid>> {
        let deadline = Instant::now() + self.patience;
        let mut remaining = mem::take(&mut self.erased);
        while !remaining.is_empty() {
            let rows = self.marketing.read(&remaining).await?;
            let has_details =
                |id: &Uuid| rows.iter().any(|(found, rows)| found == id && !rows.is_forgotten());
            remaining.retain(has_details);
            if Instant::now() >= deadline {
                break;
            }
            sleep(ERASURE_INTERVAL).await;
        }
        Ok(remaining)
    }

    /// Compares one page, and returns its last id unless it is the last page.
    async fn compare_page(&mut self, after: Uuid) -> anyhow::Result<Option<Uuid>> {
        let customers = self.web_store.page(after, Uuid::max(), self.page).await?;
        // The last page of the Web Store is compared with all remaining rows of Marketing.
        let last = customers.last().map(|customer| customer.id);
        let last = last.filter(|_| customers.len() == self.page as usize);
        let mut states = Vec::new();
        let window = &mut self.window;
        let visit = |customer: &web_store::Customer, comparison: Comparison| match comparison {
            Comparison::Arrived => states.push((customer.id, State::Arrived)),
            Comparison::Duplicated => states.push((customer.id, State::Duplicated)),
            Comparison::Forgotten => states.push((customer.id, State::Forgotten)),
            Comparison::Different { .. } if customer.in_outbox => states.push((customer.id, State::InOutbox)),
            Comparison::Different { marketing } => window.push(customer, marketing),
        };
        let range = (after, last);
        let unmatched =
            compare_page(&mut self.web_store, &mut self.marketing, range, &customers, visit).await?;
        self.report.unknown_rows += unmatched.unknown;
        self.erased.extend(unmatched.erased);
        self.report.customers += customers.len() as u64;
        for (id, state) in states {
            self.report.add(id, state, None);
            self.output.add(id, state)?;
        }
        Ok(last)
    }

    /// Searches the customers of the window, and adds their states to the report.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let mut window = mem::take(&mut self.window);
        let (passed, dead_letters) =
            self.search.locate(&mut window, &mut self.web_store, &mut self.marketing).await?;
        self.report.dead_letters = dead_letters;
        self.report.queues = self.search.flow().queues;
        for (id, state, reason) in window.finish(passed) {
            self.report.add(id, state, reason);
            self.output.add(id, state)?;
        }
        Ok(())
    }
}
