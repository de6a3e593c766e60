//! `console find`: the history of one customer and the location of its newest version.

mod evidence;
mod history;
mod letters;
mod location;
mod lookup;
mod messages;
mod operations;
mod output;
mod report;
mod sentence;
mod servers;
mod timeline;

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use service_kit::{parse_seconds, write_stdout};
use uuid::Uuid;

pub(crate) use messages::command_id;

use dead_letters::journal::Event;
use readers::{
    connections::{Brokers, Connections},
    web_store::{Extent, WebStore},
};
use reconciliation::Sources;

use crate::operator::Operator;
use letters::Wanted;
use lookup::Found;
use servers::Servers;

pub(crate) use letters::CustomerLetter;
pub(crate) use lookup::Query;
pub(crate) use report::{CustomerReport, Report};
pub(crate) use timeline::timeline;

/// The largest number of customers in one query.
const PAGE: u32 = 1000;

/// Finds a customer, and prints its history and the location of its newest version
///
/// Prints the versions, the outbox, replays, dead and kept letters, the operations that moved them, and Marketing's row,
/// with times in UTC. One sentence reports the current location, the reason, and the next step. The states are those of
/// `console reconcile`, and moreover: not-registered, erased, parked, held, discarded, and unknown. Personal data is masked.
///
/// The command only reads, and consumes from no work queue. The exit status is 0 if the customer is found and in a good
/// state, 1 if a person must act, 2 if a server cannot be read, and 3 if no customer is found.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    connections: Connections,
    #[command(flatten)]
    operator: Operator,
    /// The id of a customer or of a message (event or command), or an e-mail address
    #[arg(value_name = "ID | MESSAGE_ID | EMAIL")]
    query: Query,
    /// Time to wait for evidence about a message on the way; 0 means one look
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    patience: Duration,
    /// Reads all versions if no index leads to the message
    ///
    /// Without it, a message is found if it is in the outbox or a letter, if it is of a registration or the newest change,
    /// or if its version is recent. A scan takes longer, the more customers there are.
    #[arg(long)]
    scan: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    /// Also shows personal data; the journal notes it
    #[arg(long)]
    unmask: bool,
}

/// Prints the report. Returns the exit status that [`Arguments`] describes.
///
/// # Errors
/// Returns an error if standard output cannot be written, unless its reader has closed it.
pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { connections, patience, query, scan, .. } = arguments;
    let extent = if *scan { Extent::All } else { Extent::Recent };
    let mut report = Box::pin(search(connections, query, extent, *patience)).await;
    if arguments.unmask {
        if let Err(error) = note_unmasked(arguments, &report).await {
            report
                .unreadable
                .push(format!("the journal cannot be written, so nothing is unmasked: {error:#}"));
            report.mask();
        }
    } else {
        report.mask();
    }
    write_stdout(&if arguments.json { output::json(&report)? } else { output::text(&report)? })?;
    for reason in &report.unreadable {
        eprintln!("console: {reason}");
    }
    Ok(exit_code(&report))
}

fn exit_code(report: &Report) -> ExitCode {
    let is_absent = report.customers.iter().all(CustomerReport::is_absent) && report.letters.is_empty();
    let needs_person = report.customers.iter().any(|customer| customer.needs_person);
    ExitCode::from(match () {
        () if !report.unreadable.is_empty() => 2,
        () if is_absent => 3,
        () if needs_person || !report.letters.is_empty() => 1,
        () => 0,
    })
}

/// Finds the customers of a query. The report has personal data.
///
/// `patience` is the time to wait for evidence about a message on the way.
pub(crate) async fn search(
    connections: &Connections,
    query: &Query,
    extent: Extent,
    patience: Duration,
) -> Report {
    let sources = Sources { connections: connections.clone(), patience, page: PAGE };
    let mut servers = Box::pin(Servers::connect(&sources)).await;
    let Found { customers, message, is_truncated } = lookup::find(query, extent, &mut servers).await;
    let versions = async |web_store: &mut WebStore| web_store.versions(&customers).await;
    let versions = servers.in_web_store(versions).await.unwrap_or_default();
    let mut wanted = Wanted::customers(&customers, &versions);
    if let Some(message) = message {
        wanted = wanted.with_message(message);
    }
    let (histories, environment, letters) = if customers.is_empty() && message.is_none() {
        Default::default()
    } else {
        let evidence = evidence::gather(&mut servers, &customers, &wanted).await;
        history::read(&mut servers, &customers, evidence).await
    };
    let report = |history: &_| CustomerReport::new(history, &environment, message);
    Report {
        customers: histories.iter().map(report).collect(),
        letters,
        is_truncated,
        unreadable: servers.unreadable.into_reasons(),
    }
}

/// Notes the customers in the journal, by their ids.
async fn note_unmasked(arguments: &Arguments, report: &Report) -> anyhow::Result<()> {
    let customers: Vec<Uuid> = report.customers.iter().map(|customer| customer.customer_id).collect();
    if customers.is_empty() {
        return Ok(());
    }
    // Without a name, the broker is not at fault.
    arguments.operator.name()?;
    let brokers = &arguments.connections.brokers;
    let noted = arguments.operator.note_unmasked(brokers, Event::UnmaskedCustomers { customers }).await;
    noted.with_context(|| Brokers::remedy("BROKER_URL"))
}
