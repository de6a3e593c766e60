//! `console reconcile`: prints the state of every customer, or watches the customers.

mod output;

use std::{process::ExitCode, time::Duration};

use reconciliation::{
    Sources, State, reconcile_observed,
    watch::{Metrics, watch},
};
use service_kit::{Logging, MetricsEndpoint, metrics_registry};

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
        let shutdown = service_kit::shutdown_on_signal(Duration::ZERO)?.token();
        let repair = arguments.repair && !arguments.no_repair;
        let mut registry = metrics_registry(env!("CARGO_PKG_VERSION"));
        let metrics = Metrics::register(&mut registry);
        watch(&arguments.sources, repair, (registry, metrics), metrics_listener, &shutdown).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let ids = if arguments.missing_ids { Some(State::Missing) } else { arguments.ids };
    let mut output = Output::new(ids, arguments.progress);
    let report = reconcile_observed(&arguments.sources, &mut output).await;
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
