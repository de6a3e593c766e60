//! `console export`: everything that is stored about a person.

use std::{collections::BTreeMap, process::ExitCode};

use chrono::{DateTime, Utc};
use dead_letters::{
    inventory::FoundLetter,
    journal::{Event, Journal},
};
use readers::{
    connections::Connections,
    marketing::{Marketing, ReceivedRow},
    web_store::WebStore,
};
use serde::Serialize;
use serde_json::Value;
use service_kit::write_stdout;
use uuid::Uuid;

use crate::{
    dead_letters::output::Shown,
    operator::Operator,
    subject::{Letters, Search, Subject, parse_address},
};

/// Prints everything that is stored about a person, as JSON
///
/// Finds the customers with the e-mail address in both databases and in letters. Prints the rows of both databases, the
/// earlier versions, the events in the outbox, the dead letters, and the kept letters, each with its place. The journal
/// notes the operator, the reason, and the ids of the customers, and never the address.
///
/// A message in the queue of a consumer is not printed: the Web Store still has its content. The exit status is 0 if
/// data was found, 2 if a server cannot be used, and 3 if there is none.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    connections: Connections,
    #[command(flatten)]
    operator: Operator,
    /// The e-mail address of the person
    #[arg(value_parser = parse_address)]
    email: String,
    /// The reason, for the journal, such as the number of the request
    #[arg(long)]
    why: String,
}

/// The data of a person.
#[derive(Debug, Serialize)]
struct Export {
    email: String,
    exported_at: DateTime<Utc>,
    customers: Vec<CustomerExport>,
    /// Dead letters and kept letters.
    letters: Vec<LetterExport>,
}

#[derive(Debug, Serialize)]
struct CustomerExport {
    customer_id: Uuid,
    /// The rows of the Web Store's database, by table.
    web_store: BTreeMap<String, Vec<Value>>,
    /// The rows of Marketing's table `customers`.
    marketing: Vec<ReceivedRow>,
}

#[derive(Debug, Serialize)]
struct LetterExport {
    /// The queue that has the letter.
    place: String,
    letter: Value,
}

/// Prints the data. Returns the exit status that [`Arguments`] describes.
///
/// # Errors
/// Returns an error if standard output cannot be written, unless its reader has closed it.
pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match Box::pin(export(arguments)).await {
        Ok(Some(text)) => {
            write_stdout(&text)?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(None) => {
            eprintln!("console: no server has data of this address");
            Ok(ExitCode::from(3))
        }
        Err(error) => {
            eprintln!("console: {error:#}");
            Ok(ExitCode::from(2))
        }
    }
}

/// Returns the data as JSON, or `None` if there is none. The journal has the export before it is returned.
async fn export(arguments: &Arguments) -> anyhow::Result<Option<String>> {
    let Arguments { connections, operator, email, why } = arguments;
    let operator = operator.name()?;
    let Some(found) = Search::run(connections, Some(email), &[], why).await? else { return Ok(None) };
    let Search { mut web_store, mut marketing, subject, letters } = found;
    let customers = read_customers(&subject, &mut web_store, &mut marketing).await?;
    let letters = export_letters(&letters)?;
    let mut journal = Journal::open(connections.brokers.source(), &operator).await?;
    let event =
        Event::Exported { customers: subject.ids(), letters: letters.len() as u64, why: why.to_owned() };
    journal.append(Uuid::now_v7(), event).await?;
    let export = Export { email: email.to_owned(), exported_at: Utc::now(), customers, letters };
    Ok(Some(serde_json::to_string_pretty(&export)? + "\n"))
}

async fn read_customers(
    subject: &Subject,
    web_store: &mut WebStore,
    marketing: &mut Marketing,
) -> anyhow::Result<Vec<CustomerExport>> {
    let rows = marketing.received(&subject.ids()).await?;
    let mut customers = Vec::new();
    for customer_id in subject.ids() {
        let mut tables: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (table, row) in web_store.stored(customer_id).await? {
            tables.entry(table).or_default().push(row);
        }
        let id = customer_id.to_string();
        let own = rows.iter().filter(|found| found.row.customer_id == id);
        customers.push(CustomerExport { customer_id, web_store: tables, marketing: own.cloned().collect() });
    }
    Ok(customers)
}

fn export_letters(letters: &Letters) -> anyhow::Result<Vec<LetterExport>> {
    let export = |found: &FoundLetter| {
        let letter = serde_json::to_value(Shown::new(found, true))?;
        Ok(LetterExport { place: found.place.clone(), letter })
    };
    letters.own.iter().map(export).collect()
}
