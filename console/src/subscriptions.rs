//! `console subscriptions`: lists, pauses, throttles, and resumes the consumers of a queue.

use std::{fmt::Write, num::NonZeroU32, process::ExitCode, ptr};

use anyhow::{Context, ensure};
use chrono::{DateTime, SubsecRound, Utc};
use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use contracts::{
    operations::{OPERATIONS_SUBSCRIPTIONS, SubscriptionChange, SubscriptionState},
    topology::Queue,
};
use dead_letters::journal::{Event, Journal};
use futures_util::future::join_all;
use messaging::{BrokerUrl, PublishOutcome, QueueState, Session};
use readers::{
    connections::{Brokers, work_queues},
    letter_queue::lock,
};
use serde::Serialize;
use service_kit::write_stdout;
use uuid::Uuid;

use crate::operator::Operator;

/// Lists, pauses, throttles, and resumes subscriptions
///
/// A subscription is a queue with its consumers. A change applies to all instances of the service within about a second,
/// also to those that start later, and survives restarts. Messages that an instance has already received are processed
/// first, and all others wait in the queue. No message is lost, and no delivery is counted.
///
/// The exit status is 0 if the subscription has the state afterwards, and 2 if an argument is wrong or a server cannot
/// be used.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: ListArguments,
}

#[derive(Debug, Clone, Args)]
struct ListArguments {
    #[command(flatten)]
    brokers: Brokers,
    /// Prints each subscription as one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Stops the consumers of a queue; its messages wait
    Pause(PauseArguments),
    /// Limits the messages per second of all consumers of a queue together
    Throttle(ThrottleArguments),
    /// Ends a pause or a limit
    Resume(ResumeArguments),
}

#[derive(Debug, Args)]
struct PauseArguments {
    #[command(flatten)]
    target: Target,
    /// The reason, for the health of the service and the journal
    #[arg(long)]
    why: String,
}

#[derive(Debug, Args)]
struct ThrottleArguments {
    #[command(flatten)]
    target: Target,
    /// The largest number of messages per second
    #[arg(long, value_name = "NUMBER")]
    rate: NonZeroU32,
    /// The reason, for the health of the service and the journal
    #[arg(long)]
    why: Option<String>,
}

#[derive(Debug, Args)]
struct ResumeArguments {
    #[command(flatten)]
    target: Target,
    /// A note for the journal
    #[arg(long)]
    why: Option<String>,
}

#[derive(Debug, Args)]
struct Target {
    #[command(flatten)]
    brokers: Brokers,
    #[command(flatten)]
    operator: Operator,
    /// The queue
    #[arg(value_parser = queue_parser())]
    queue: Queue,
}

/// Returns a parser of the name of a queue with a consumer.
fn queue_parser() -> impl TypedValueParser<Value = Queue> {
    let names = PossibleValuesParser::new(work_queues().map(|queue| queue.name));
    names.try_map(|name| work_queues().find(|queue| queue.name == name).copied().ok_or("unknown queue"))
}

/// Runs the command. Returns the exit status that [`Arguments`] describes.
///
/// # Errors
/// Returns an error if standard output cannot be written, unless its reader has closed it.
pub async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let result = match &arguments.command {
        None => return list(&arguments.list).await,
        Some(Command::Pause(PauseArguments { target, why })) => {
            change_target(target, SubscriptionState::Paused, Some(why)).await
        }
        Some(Command::Throttle(ThrottleArguments { target, rate, why })) => {
            change_target(target, SubscriptionState::Throttled { rate: *rate }, why.as_deref()).await
        }
        Some(Command::Resume(ResumeArguments { target, why })) => {
            change_target(target, SubscriptionState::Running, why.as_deref()).await
        }
    };
    match result {
        Ok(text) => write_stdout(&text).map(|()| ExitCode::SUCCESS).map_err(Into::into),
        Err(error) => {
            eprintln!("console: {error:#}");
            Ok(ExitCode::from(2))
        }
    }
}

/// A subscription as `console subscriptions` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Subscription {
    pub(crate) queue: &'static str,
    #[serde(flatten)]
    pub(crate) state: SubscriptionState,
    pub(crate) since: Option<DateTime<Utc>>,
    pub(crate) operator: Option<String>,
    pub(crate) why: Option<String>,
    /// The number of consumers.
    pub(crate) consumers: u32,
    /// The number of messages that no consumer holds.
    pub(crate) ready: u32,
}

impl Subscription {
    fn new(queue: &Queue, change: Option<SubscriptionChange>, depth: QueueState) -> Self {
        let QueueState { ready_messages: ready, consumers } = depth;
        let (mut since, mut operator, mut why, mut state) = Default::default();
        if let Some(change) = change {
            (since, operator) = (Some(change.at), Some(change.operator));
            (why, state) = (change.why, change.state);
        }
        Self { queue: queue.name, state, since, operator, why, consumers, ready }
    }
}

/// The subscriptions of the brokers that can be read.
#[derive(Debug, Default)]
pub(crate) struct Overview {
    pub(crate) subscriptions: Vec<Subscription>,
    /// The error of each other broker.
    pub(crate) unreadable: Vec<anyhow::Error>,
}

/// Reads the subscriptions of all brokers.
pub(crate) async fn read(brokers: &Brokers) -> Overview {
    let mut overview = Overview::default();
    for read in join_all(brokers.all().map(|broker| read_broker(brokers, broker))).await {
        match read {
            Ok(subscriptions) => overview.subscriptions.extend(subscriptions),
            Err(error) => overview.unreadable.push(error),
        }
    }
    overview
}

/// Returns the subscriptions of one broker.
async fn read_broker(brokers: &Brokers, broker: &BrokerUrl) -> anyhow::Result<Vec<Subscription>> {
    let read = async {
        let session = Session::open(broker, "console").await?;
        let changes = session.subscriptions().await.context("the states cannot be read")?;
        let mut subscriptions = Vec::new();
        for queue in work_queues().filter(|queue| ptr::eq(brokers.of(queue), broker)) {
            let depth = session.queue_state(queue.name).await?.unwrap_or_default();
            subscriptions.push(Subscription::new(queue, changes.of(queue.name).cloned(), depth));
        }
        session.close().await;
        anyhow::Ok(subscriptions)
    };
    read.await.with_context(|| Brokers::remedy(brokers.variable(broker)))
}

/// Prints the subscriptions that can be read, and then the errors.
async fn list(arguments: &ListArguments) -> anyhow::Result<ExitCode> {
    let Overview { subscriptions, unreadable } = read(&arguments.brokers).await;
    if !subscriptions.is_empty() {
        write_stdout(&listing(&subscriptions, arguments.json)?)?;
    }
    for error in &unreadable {
        eprintln!("console: {error:#}");
    }
    Ok(if unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn listing(subscriptions: &[Subscription], json: bool) -> anyhow::Result<String> {
    let mut text = String::new();
    if json {
        for subscription in subscriptions {
            writeln!(text, "{}", serde_json::to_string(subscription)?)?;
        }
        return Ok(text);
    }
    writeln!(
        text,
        "{:<36}{:>10}{:>8}  {:<26}{:<21}{:<14}why",
        "queue", "consumers", "ready", "state", "since", "operator"
    )?;
    for Subscription { queue, state, since, operator, why, consumers, ready } in subscriptions {
        let since = since.map(|since| since.format("%Y-%m-%d %H:%M:%S").to_string());
        let row = format!(
            "{queue:<36}{consumers:>10}{ready:>8}  {:<26}{:<21}{:<14}{}",
            state.to_string(),
            since.unwrap_or_default(),
            operator.as_deref().unwrap_or_default(),
            why.as_deref().unwrap_or_default()
        );
        writeln!(text, "{}", row.trim_end())?;
    }
    Ok(text)
}

async fn change_target(
    target: &Target,
    state: SubscriptionState,
    why: Option<&str>,
) -> anyhow::Result<String> {
    let Target { brokers, operator, queue } = target;
    Ok(match change(brokers, queue, &operator.name()?, state, why).await? {
        None => format!("{} is {state}\n", queue.name),
        Some(current) => {
            let (since, by) = (current.at.format("%Y-%m-%d %H:%M:%S UTC"), current.operator);
            format!("{} is already {state}, since {since} by {by}\n", queue.name)
        }
    })
}

/// Changes the state of a subscription, and notes that in the journal. A change to the same state has no effect, and the
/// earlier change is returned.
///
/// # Errors
/// Returns an error if a broker cannot be used. The consumers may still get the state.
pub(crate) async fn change(
    brokers: &Brokers,
    queue: &Queue,
    operator: &str,
    state: SubscriptionState,
    why: Option<&str>,
) -> anyhow::Result<Option<SubscriptionChange>> {
    let session = Session::open(brokers.of(queue), "console").await?;
    lock(&session, OPERATIONS_SUBSCRIPTIONS).await?;
    let mut subscriptions = session.subscriptions().await.context("the states cannot be read")?;
    if let Some(current) = subscriptions.of(queue.name).filter(|current| current.state == state) {
        return Ok(Some(current.clone()));
    }
    let why = why.map(str::to_owned);
    let mut journal = Journal::open(brokers.source(), operator).await?;
    let event = Event::SubscriptionChanged { queue: queue.name.to_owned(), state, why: why.clone() };
    journal.append(Uuid::now_v7(), event).await?;
    let (at, operator) = (Utc::now().trunc_subsecs(3), operator.to_owned());
    subscriptions.set(SubscriptionChange { queue: queue.name.to_owned(), state, at, operator, why });
    let published = session.publish_subscriptions(&subscriptions).await?;
    ensure!(published == PublishOutcome::Confirmed, "the broker refuses the state: {published:?}");
    session.close().await;
    Ok(None)
}
