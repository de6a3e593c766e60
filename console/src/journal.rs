//! `console journal`: prints the entries, and verifies their chain.

use std::{fmt::Write, process::ExitCode};

use clap::Subcommand;
use dead_letters::journal::{Entry, Event, Journal, Link};
use messaging::BrokerUrl;
use service_kit::write_stdout;
use uuid::Uuid;

/// Prints what operators did
///
/// Each entry contains the hash of the entry before it, so `verify` detects a modified or removed entry. The exit status
/// of `verify` is 0 if the chain is intact, 1 if it is broken, and 2 if the journal cannot be read.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Clone, clap::Args)]
struct Options {
    /// Broker with the journal: `amqp://user:password@host:port/vhost`. A cluster has several, separated by commas
    #[arg(long, env = "BROKER_URL", value_name = "URL", hide_env_values = true)]
    broker_url: BrokerUrl,
    /// Only the entries of this operation
    #[arg(long, value_name = "OPERATION")]
    operation: Option<Uuid>,
    /// Prints each entry as one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Verifies the chain of the entries
    Verify {
        /// Broker with the journal: `amqp://user:password@host:port/vhost`. A cluster has several, separated by commas
        #[arg(long, env = "BROKER_URL", value_name = "URL", hide_env_values = true)]
        broker_url: BrokerUrl,
        /// A hash that an earlier run printed; detects that entries at the end are gone
        #[arg(long, value_name = "HASH")]
        contains: Option<String>,
    },
}

/// Runs the command. Returns the exit status that [`Arguments`] describes.
///
/// # Errors
/// Returns an error if standard output cannot be written, unless its reader has closed it.
pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let broker = match &arguments.command {
        Some(Command::Verify { broker_url, .. }) => broker_url,
        None => &arguments.options.broker_url,
    };
    let journal = match Journal::open(broker, "").await {
        Ok(journal) => journal,
        Err(error) => {
            eprintln!("console: cannot read the journal: {error:#}");
            return Ok(ExitCode::from(2));
        }
    };
    match &arguments.command {
        Some(Command::Verify { contains, .. }) => verify(&journal, contains.as_deref()),
        None => {
            print(&journal, &arguments.options)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn verify(journal: &Journal, contains: Option<&str>) -> anyhow::Result<ExitCode> {
    let mut text = String::new();
    let mut is_intact = true;
    for (position, link) in journal.links().iter().enumerate() {
        if let Link::Broken(reason) = link {
            is_intact = false;
            writeln!(text, "entry {position}: {reason}")?;
        }
    }
    if let Some(hash) = contains.filter(|hash| !journal.contains(hash)) {
        is_intact = false;
        writeln!(text, "no entry has the hash {hash}: entries at the end are gone")?;
    }
    let verdict = if is_intact { "intact" } else { "BROKEN" };
    writeln!(text, "{} entries, {verdict}; the last hash is {}", journal.links().len(), journal.last_hash())?;
    write_stdout(&text)?;
    Ok(if is_intact { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(journal: &Journal, options: &Options) -> anyhow::Result<()> {
    let mut text = String::new();
    for entry in journal.entries() {
        if options.operation.is_some_and(|operation| operation != entry.operation) {
            continue;
        }
        if options.json {
            writeln!(text, "{}", serde_json::to_string(entry)?)?;
        } else {
            let Entry { at, operator, operation, .. } = entry;
            let at = at.format("%Y-%m-%d %H:%M:%S");
            writeln!(text, "{at}  {operation}  {operator:12}  {}", describe(&entry.event))?;
        }
    }
    Ok(write_stdout(&text)?)
}

/// Returns a sentence about an event, with its reason.
pub(crate) fn describe(event: &Event) -> String {
    let why = event.why().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{}{why}", summarize(event))
}

/// Returns a sentence about an event, without its reason.
pub(crate) fn summarize(event: &Event) -> String {
    match event {
        Event::Created => "created the journal".to_owned(),
        Event::Started { action, selection, letters, rate, .. } => {
            let rate = rate.map(|rate| format!(" at {rate} per second")).unwrap_or_default();
            format!("{action} {letters} letters ({selection}){rate}")
        }
        Event::Selected { queue, letters } => match &letters[..] {
            [letter] => format!("selected {} of {queue}", letter.letter.short()),
            letters => format!("selected {} letters of {queue}", letters.len()),
        },
        Event::Resumed => "resumed".to_owned(),
        Event::Cancelled => "cancelled".to_owned(),
        Event::Finished { moved, absent: 0 } => format!("finished: moved {moved}"),
        Event::Finished { moved, absent } => format!("finished: moved {moved}, {absent} were not there"),
        Event::Edited { body } => {
            format!("edited; the new body has the hash {}", &body[..12.min(body.len())])
        }
        Event::SubscriptionChanged { queue, state, .. } => format!("{queue} is {state}"),
        Event::Unmasked { selection, letters } => format!("saw {letters} letters unmasked ({selection})"),
        Event::UnmaskedCustomers { customers } => format!("saw customers unmasked: {}", ids(customers)),
        Event::Exported { customers, letters, why } => {
            format!("exported customers {} with {letters} letters: {why}", ids(customers))
        }
        Event::ErasureStarted { customers, letters, why } => {
            format!("erases customers {} with {letters} letters: {why}", ids(customers))
        }
        Event::ErasureFinished { letters, is_complete } => {
            let rest = if *is_complete { "nothing remains" } else { "data remains" };
            format!("erased, with {letters} letters; {rest}")
        }
    }
}

fn ids(customers: &[Uuid]) -> String {
    customers.iter().map(Uuid::to_string).collect::<Vec<_>>().join(" ")
}
