//! `console dead-letters`: lists, checks, and moves rejected messages.

pub(crate) mod edit;
pub(crate) mod output;
mod selection;
mod spool;

use std::{process::ExitCode, ptr};

use access::{MysqlUrl, Secret};
use anyhow::Context;
use clap::{Args, Subcommand};
use dead_letters::{
    inventory::{self, FoundLetter, Place},
    journal::{Action, Event, Journal},
    operation::{Operation, Outcome},
    prediction::predict,
};
use messaging::BrokerUrl;
use readers::{connections::Brokers, marketing::Marketing};
use service_kit::write_stdout;
use tokio::try_join;
use uuid::Uuid;

use crate::operator::Operator;
use output::Summary;
use selection::Selection;
use spool::Spool;

pub use edit::{compact, readable};

/// Lists, checks, retries, edits, and discards dead letters
///
/// A dead letter is a message that a service rejected. Looking at letters changes nothing. Every operation moves exactly
/// the letters that were selected at its start, is written to the journal, and can be resumed after a crash.
///
/// The exit status is 0 if the command did everything. It is 1 if letters would fail or were left, 2 if a server cannot
/// be used, and 3 if no letter matches or another operator has moved it.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the letters by queue, reason, and release
    List(ListArguments),
    /// Prints letters with their headers and bodies; personal data is masked
    Show(ShowArguments),
    /// Passes letters through the code of this release, without an effect
    ///
    /// Reports the command or the row that a retry would make, and the change of the row that is there.
    Check(CheckArguments),
    /// Sends letters back to the queue that they came from, under their own ids
    Retry(RetryArguments),
    /// Edits the body of a letter with $EDITOR, checks it, and sends it back; the original is kept
    Edit(EditArguments),
    /// Moves letters out of the dead letters, and keeps them for `restore`
    Discard(DiscardArguments),
    /// Moves discarded and edited letters back to the dead letters
    Restore(RestoreArguments),
    /// Continues an operation that was interrupted
    Resume(OperationArguments),
    /// Ends an operation; letters that it has not moved stay
    Cancel(OperationArguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    #[command(flatten)]
    brokers: Brokers,
    /// Lists the letters that were discarded or edited
    #[arg(long)]
    kept: bool,
    /// Prints each letter
    #[arg(long)]
    letters: bool,
    /// Prints each letter as one line of JSON
    #[arg(long)]
    json: bool,
}

/// The letters of a command, and the operator who gives it.
#[derive(Debug, Args)]
struct Target {
    #[command(flatten)]
    brokers: Brokers,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    operator: Operator,
}

#[derive(Debug, Args)]
struct ShowArguments {
    #[command(flatten)]
    target: Target,
    /// Also shows personal data; the journal notes it
    #[arg(long)]
    unmask: bool,
}

#[derive(Debug, Args)]
struct CheckArguments {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    database: MarketingDatabase,
    /// Prints each letter with its prediction as one line of JSON
    #[arg(long)]
    json: bool,
    /// Also shows personal data; the journal notes it
    #[arg(long)]
    unmask: bool,
}

#[derive(Debug, Args)]
struct MarketingDatabase {
    /// Database of Marketing, for a user who may read: `mysql://user:password@host:port/database`
    #[arg(long, env = "MARKETING_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    marketing_database_url: Secret<MysqlUrl>,
}

#[derive(Debug, Args)]
struct RetryArguments {
    #[command(flatten)]
    target: Target,
    /// The largest number of letters per second
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// A note for the journal
    #[arg(long)]
    why: Option<String>,
}

#[derive(Debug, Args)]
struct EditArguments {
    #[command(flatten)]
    brokers: Brokers,
    #[command(flatten)]
    database: MarketingDatabase,
    #[command(flatten)]
    operator: Operator,
    /// The id of the letter, its first digits, or the id of its message
    letter: String,
    /// Sends the edited letter without a question
    #[arg(long)]
    yes: bool,
    /// A note for the journal
    #[arg(long)]
    why: Option<String>,
}

#[derive(Debug, Args)]
struct DiscardArguments {
    #[command(flatten)]
    target: Target,
    /// The reason, for the journal
    #[arg(long)]
    why: String,
}

#[derive(Debug, Args)]
struct RestoreArguments {
    #[command(flatten)]
    target: Target,
    /// A note for the journal
    #[arg(long)]
    why: Option<String>,
}

#[derive(Debug, Args)]
struct OperationArguments {
    #[command(flatten)]
    brokers: Brokers,
    #[command(flatten)]
    operator: Operator,
    /// The id of the operation, which the operation and the journal print
    operation: Uuid,
}

/// Runs the command. Returns the exit status that [`Arguments`] describes.
///
/// # Errors
/// Returns an error if standard output cannot be written, unless its reader has closed it.
pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let result = match &arguments.command {
        Command::List(arguments) => list(arguments).await,
        Command::Show(arguments) => show(arguments).await,
        Command::Check(arguments) => check(arguments).await,
        Command::Retry(arguments) => retry(arguments).await,
        Command::Edit(arguments) => Box::pin(edit(arguments)).await,
        Command::Discard(arguments) => discard(arguments).await,
        Command::Restore(arguments) => restore(arguments).await,
        Command::Resume(arguments) => resume(arguments).await,
        Command::Cancel(arguments) => cancel(arguments).await,
    };
    result.or_else(|error| {
        eprintln!("console: {error:#}");
        Ok(ExitCode::from(if error.is::<NoMatch>() { 3 } else { 2 }))
    })
}

/// No letter is selected, or a part of the selection fits no letter or several.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoMatch(String);

/// Returns the exit status of a command whose letters did, or did not, all pass.
fn exit_code(is_complete: bool) -> ExitCode {
    if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn list(arguments: &ListArguments) -> anyhow::Result<ExitCode> {
    let places = if arguments.kept {
        inventory::kept_letters(&arguments.brokers)
    } else {
        inventory::dead_letters(&arguments.brokers)
    };
    let mut letters = Vec::new();
    let mut unreadable: Option<(&BrokerUrl, anyhow::Error)> = None;
    for place in &places {
        if unreadable.as_ref().is_some_and(|(broker, _)| ptr::eq(*broker, place.broker)) {
            continue;
        }
        if let Err(error) = place.visit(|letter, _| letters.push(letter)).await {
            unreadable = Some((place.broker, error));
        }
    }
    // With two sites, the letters of one are listed also if the broker of the other cannot be read.
    if let Some((_, error)) = unreadable.take_if(|_| letters.is_empty()) {
        return Err(error);
    }
    let text = match (arguments.json, arguments.letters) {
        (true, _) => output::json_lines(&letters)?,
        (false, true) => output::letters(&letters),
        (false, false) => output::groups(&letters),
    };
    write_stdout(&text)?;
    unreadable.map_or(Ok(ExitCode::SUCCESS), |(_, error)| Err(error))
}

async fn show(arguments: &ShowArguments) -> anyhow::Result<ExitCode> {
    let ShowArguments { target, unmask } = arguments;
    let places = inventory::dead_letters(&target.brokers);
    let mut text = Spool::new()?;
    let add = async |batch: Vec<FoundLetter>| {
        batch.iter().try_for_each(|found| text.add_document(&output::Shown::new(found, *unmask)))
    };
    let letters = target.selection.visit(&places, add).await?;
    if *unmask {
        note_unmasked(target, letters).await?;
    }
    text.print()?;
    Ok(ExitCode::SUCCESS)
}

async fn check(arguments: &CheckArguments) -> anyhow::Result<ExitCode> {
    let CheckArguments { target, database, json, unmask } = arguments;
    let places = inventory::dead_letters(&target.brokers);
    let mut marketing = Marketing::connect(&database.marketing_database_url).await?;
    let mut summary = Summary::default();
    let mut text = Spool::new()?;
    let mut first = None;
    let add = async |batch: Vec<FoundLetter>| {
        for mut prediction in predict(Some(&mut marketing), &batch).await? {
            summary.add(&prediction);
            if !unmask {
                prediction.mask();
            }
            if *json {
                text.add_line(&prediction)?;
            }
            first.get_or_insert(prediction);
        }
        Ok(())
    };
    let letters = target.selection.visit(&places, add).await?;
    if *unmask {
        note_unmasked(target, letters).await?;
    }
    if *json {
        text.print()?;
    } else {
        let details = if letters == 1 { output::details(first.as_ref())? } else { String::new() };
        write_stdout(&(details + &summary.to_text()))?;
    }
    Ok(exit_code(summary.do_all_pass()))
}

async fn note_unmasked(target: &Target, letters: u64) -> anyhow::Result<()> {
    let event = Event::Unmasked { selection: target.selection.to_string(), letters };
    target.operator.note_unmasked(&target.brokers, event).await
}

async fn retry(arguments: &RetryArguments) -> anyhow::Result<ExitCode> {
    let RetryArguments { target, rate, why } = arguments;
    let places = inventory::dead_letters(&target.brokers);
    start(Action::Retry, target, &places, *rate, why.as_deref()).await
}

async fn discard(arguments: &DiscardArguments) -> anyhow::Result<ExitCode> {
    let DiscardArguments { target, why } = arguments;
    let places = inventory::dead_letters(&target.brokers);
    start(Action::Discard, target, &places, None, Some(why)).await
}

async fn restore(arguments: &RestoreArguments) -> anyhow::Result<ExitCode> {
    let RestoreArguments { target, why } = arguments;
    let places = inventory::kept_letters(&target.brokers);
    start(Action::Restore, target, &places, None, why.as_deref()).await
}

/// Selects letters, writes them to the journal, and moves them.
async fn start(
    action: Action,
    target: &Target,
    places: &[Place<'_>],
    rate: Option<u32>,
    why: Option<&str>,
) -> anyhow::Result<ExitCode> {
    let Target { brokers, selection, operator } = target;
    let operator = operator.name()?;
    // The journal is read while the letters are.
    let (mut journal, letters) =
        try_join!(Journal::open(brokers.source(), &operator), selection.list(places))?;
    let operation =
        Operation::start(&mut journal, action, &letters, &selection.to_string(), rate, why).await?;
    execute(&operation, &mut journal, places).await
}

/// Moves the letters of an operation, and reports the outcome.
async fn execute(
    operation: &Operation,
    journal: &mut Journal,
    places: &[Place<'_>],
) -> anyhow::Result<ExitCode> {
    let id = operation.id;
    eprintln!("operation {id}: {} {} letters", operation.action, operation.count());
    let outcome = Box::pin(operation.execute(journal, places)).await.with_context(|| {
        format!("operation {id} is interrupted; letters that it has not moved stay. Continue it with: console dead-letters resume {id}")
    })?;
    match outcome {
        Outcome::Finished { moved, absent } => {
            write_stdout(&output::finished(operation, moved, absent))?;
            Ok(match moved {
                // The interrupted execution has moved the others.
                _ if operation.is_resumed => ExitCode::SUCCESS,
                0 => ExitCode::from(3),
                _ => exit_code(absent == 0),
            })
        }
        Outcome::Cancelled => {
            eprintln!("console: another operator cancelled operation {id}");
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn edit(arguments: &EditArguments) -> anyhow::Result<ExitCode> {
    let EditArguments { brokers, database, operator, letter, yes, why } = arguments;
    let operator = operator.name()?;
    let places = inventory::dead_letters(brokers);
    let selection = Selection::one(letter);
    let mut found = Vec::new();
    let add = async |batch: Vec<FoundLetter>| {
        found.extend(batch);
        Ok(())
    };
    selection.visit(&places, add).await?;
    let [found] = &found[..] else {
        return Err(NoMatch(format!("{letter} selects {} letters; use a letter's id", found.len())).into());
    };
    let Some(edited) = edit::edit_body(found).await? else {
        eprintln!("console: the text is unchanged, so nothing is sent");
        return Ok(ExitCode::FAILURE);
    };
    let mut marketing = Marketing::connect(&database.marketing_database_url).await?;
    let prediction = predict(Some(&mut marketing), &[found.with_body(&edited)]).await?;
    let mut summary = Summary::default();
    for prediction in &prediction {
        summary.add(prediction);
    }
    eprint!("{}{}", output::details(prediction.first())?, summary.to_text());
    if !summary.do_all_pass() {
        eprintln!("console: the edited message would be rejected again, so it is not sent");
        return Ok(ExitCode::FAILURE);
    }
    if !yes && !edit::confirm()? {
        return Ok(ExitCode::FAILURE);
    }
    let mut journal = Journal::open(brokers.source(), &operator).await?;
    let letters = [(found.place.clone(), found.letter.clone())];
    let operation =
        Operation::start(&mut journal, Action::Edit, &letters, &selection.to_string(), None, why.as_deref())
            .await?;
    let operation = operation.with_body(&mut journal, edited).await?;
    execute(&operation, &mut journal, &places).await
}

async fn resume(arguments: &OperationArguments) -> anyhow::Result<ExitCode> {
    let OperationArguments { brokers, operator, operation } = arguments;
    let mut journal = Journal::open(brokers.source(), &operator.name()?).await?;
    let operation = Operation::resume(&mut journal, *operation).await?;
    let places = operation.places(brokers);
    execute(&operation, &mut journal, &places).await
}

async fn cancel(arguments: &OperationArguments) -> anyhow::Result<ExitCode> {
    let OperationArguments { brokers, operator, operation } = arguments;
    let mut journal = Journal::open(brokers.source(), &operator.name()?).await?;
    Operation::cancel(&mut journal, *operation).await?;
    write_stdout(&format!("operation {operation} is cancelled; letters that it has not moved stay\n"))?;
    Ok(ExitCode::SUCCESS)
}
