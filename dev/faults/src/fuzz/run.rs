//! A run of the fuzzer: publishes messages, reads dead letters, and watches the processes.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    net::SocketAddr,
    time::Duration,
};

use anyhow::Context;
use contracts::topology::QUEUES;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use stack::{
    resource_usage::peak_memory,
    servers::Servers,
    service::{Program, Service},
};
use system_tests::TestEnvironment;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    account::{Account, Row},
    id::find_number_in,
    kinds::KINDS,
    message::FuzzMessage,
    publisher::{Publisher, connect},
    report::{LATE, Report},
};
use crate::load::Load;

/// The connections that publish simultaneously. RabbitMQ needs seconds for thousands of tables in each other.
const PUBLISHERS: usize = 8;

/// The broker has this long to take a message. It may be waiting for frames that never come.
const REPLY_TIMEOUT: Duration = Duration::from_mins(1);

const READY_TIMEOUT: Duration = Duration::from_mins(1);

/// Messages in a block. Every fourth block is sent without pauses.
const BLOCK: u64 = 128;

/// Sends odd and bad messages among good ones
///
/// The messages have random properties, headers, and bodies, valid and invalid. The exit status is 0 only if all
/// registrations arrive within a minute, no process ends, and every bad message is processed or a dead letter.
#[derive(Debug, clap::Args)]
pub(crate) struct FuzzArguments {
    /// Seed of the messages; the same seed gives the same messages
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Duration of the run
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Registrations per second
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// Odd and bad messages per second
    #[arg(long, default_value_t = 50)]
    bad_rate: u32,
    /// Limits the run to kinds of message whose name contains TEXT
    #[arg(long, default_value = "", hide_default_value = true, value_parser = kind, value_name = "TEXT")]
    only: String,
    /// Sends only the message with this number, once a second
    #[arg(long)]
    number: Option<u64>,
}

fn kind(text: &str) -> Result<String, String> {
    let known = KINDS.iter().any(|kind| kind.name.contains(text));
    known.then(|| text.to_owned()).ok_or_else(|| "no kind of message has this text in its name".to_owned())
}

/// The system and everything that was sent to it.
struct Run<'a> {
    arguments: &'a FuzzArguments,
    environment: TestEnvironment,
    account: RefCell<Account>,
    /// The number of the next message.
    next: Cell<u64>,
    started: Instant,
    /// Whether messages are still sent.
    sending: Cell<bool>,
}

/// Sends messages for the duration of the run, and waits until every message is accounted for.
///
/// # Errors
/// Returns an error if the system does not start or its servers fail.
pub(crate) async fn run(
    mut servers: Servers,
    arguments: &FuzzArguments,
    log: fn(&str),
) -> anyhow::Result<Report> {
    let environment = TestEnvironment::on(&servers).await?.without_log_output();
    let mut services = Vec::new();
    for program in Program::ALL {
        let mut service = environment.start(program, &[])?;
        service.wait_ready(READY_TIMEOUT).await?;
        services.push((program, service));
    }
    let load = Load::start(services[0].1.url(), arguments.rate)?;
    let run = Run {
        arguments,
        environment,
        account: RefCell::default(),
        next: Cell::new(0),
        started: Instant::now(),
        sending: Cell::new(true),
    };
    let publish = futures_util::future::join_all((0..PUBLISHERS).map(|_| run.publish()));
    let read = run.read_dead_letters();
    let supervise = run.supervise(&mut services, log);
    let settle = async {
        publish.await;
        run.sending.set(false);
        load.pause().await;
        log("the last message is sent");
        run.wait_until_complete(&load).await
    };
    let report = tokio::select! {
        report = settle => report,
        error = read => Err(error.context("cannot read the dead letters")),
        error = supervise => Err(error),
    };
    let mut report = report?;
    let memory = |(program, service): &(Program, Service)| {
        format!("{} {} MiB", program.name(), peak_memory(service.process.pid()) / 1024)
    };
    report.peak_memory = services.iter().map(memory).collect::<Vec<_>>().join(", ");
    if !report.is_clean() {
        let log = run.environment.log();
        let start = log.char_indices().rev().nth(5000).map_or(0, |(at, _)| at);
        println!("the services' logs end with\n{}", &log[start..]);
    }
    drop(services);
    drop(run);
    servers.stop().await?;
    Ok(report)
}

impl Run<'_> {
    /// Publishes messages until the time is over.
    async fn publish(&self) {
        let mut publisher = Publisher::new(&self.environment, REPLY_TIMEOUT);
        let end = self.started + Duration::from_secs_f64(self.arguments.minutes * 60.0);
        while let Some(message) = self.next_message(end).await {
            let outcome = loop {
                match publisher.publish(&message).await {
                    Ok(outcome) => break outcome,
                    Err(_) => sleep(Duration::from_millis(100)).await,
                }
            };
            self.account.borrow_mut().note_sent(message, outcome);
        }
    }

    /// Waits until the next message is due, and generates it. Returns `None` after the end.
    async fn next_message(&self, end: Instant) -> Option<FuzzMessage> {
        let number = self.next.get();
        self.next.set(number + 1);
        let FuzzArguments { seed, only, bad_rate, .. } = self.arguments;
        let is_burst = number / BLOCK % 4 == 3;
        let place = if is_burst { number / BLOCK * BLOCK } else { number };
        let due = match self.arguments.number {
            Some(_) => Duration::from_secs(number),
            None => Duration::from_secs(1) / (*bad_rate).max(1) * u32::try_from(place).unwrap_or(u32::MAX),
        };
        let due = self.started + due;
        if due.max(Instant::now()) > end {
            return None;
        }
        sleep_until(due).await;
        let mut message = FuzzMessage::generate(*seed, self.arguments.number.unwrap_or(number), only);
        message.number = self.arguments.number.unwrap_or(number);
        Some(message)
    }

    /// Takes all dead letters from their queues. Returns the error that ends this.
    async fn read_dead_letters(&self) -> anyhow::Error {
        let read = async {
            let mut connection = connect(&self.environment).await?;
            let queues = QUEUES.iter().map(|queue| (queue.name, queue.dead_letter_queue()));
            let queues: Vec<_> = queues.collect();
            loop {
                for (queue, dead_letters) in &queues {
                    while let Some(letter) = connection.get(dead_letters).await? {
                        let number = find_number_in(&letter);
                        self.account.borrow_mut().note_dead_letter(queue, &letter, number);
                    }
                }
                sleep(Duration::from_millis(200)).await;
            }
        };
        let result: anyhow::Result<std::convert::Infallible> = read.await;
        match result {
            Err(error) => error,
        }
    }

    /// Checks that all processes run, and restarts one that has ended. Sometimes freezes a consumer for a while,
    /// so that messages form larger batches. Returns only if it fails, with the error.
    async fn supervise(&self, services: &mut [(Program, Service)], log: fn(&str)) -> anyhow::Error {
        let mut random = StdRng::seed_from_u64(self.arguments.seed);
        let mut next_freeze = Instant::now() + Duration::from_secs(10);
        let mut next_line = Instant::now() + Duration::from_secs(30);
        loop {
            for (program, service) in &mut *services {
                match service.process.exit_status() {
                    Ok(None) => {}
                    Ok(Some(status)) => {
                        let text = format!("{} ended with {status}", program.name());
                        log(&text);
                        self.account.borrow_mut().processes_died.push(text);
                        let address: SocketAddr = service.address();
                        match self.environment.start_at(address, *program, &[]) {
                            Ok(restarted) => *service = restarted,
                            Err(error) => return error,
                        }
                    }
                    Err(error) => return error,
                }
            }
            let now = Instant::now();
            if self.sending.get() && now > next_freeze {
                let (_, service) = &services[random.random_range(1..services.len())];
                service.process.pause();
                sleep(Duration::from_secs_f64(random.random_range(0.5..3.0))).await;
                service.process.resume();
                next_freeze = Instant::now() + Duration::from_secs(random.random_range(10..30));
            }
            if now > next_line {
                let sent = self.account.borrow().sent();
                log(&format!("{} s: {sent} messages sent", self.started.elapsed().as_secs()));
                next_line = now + Duration::from_secs(30);
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Waits until all messages are accounted for, for up to a minute.
    async fn wait_until_complete(&self, load: &Load) -> anyhow::Result<Report> {
        let end = Instant::now() + LATE;
        loop {
            let last = Instant::now() > end;
            let rows = self.rows().await?;
            let mut registered: HashSet<String> = load.confirmed();
            registered.extend(self.saved_customers().await?);
            let mut report = self.account.borrow().report(&rows, &registered);
            if report.is_complete() || last {
                report.seed = self.arguments.seed;
                return Ok(report);
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    async fn rows(&self) -> anyhow::Result<Vec<Row>> {
        let select =
            "SELECT customer_id, email_address, TIMESTAMPDIFF(MICROSECOND, customer_since, received_at)
            FROM customers";
        let rows: Vec<(String, String, i64)> = sqlx::query_as(select)
            .fetch_all(&self.environment.marketing_database())
            .await
            .context("Marketing's rows")?;
        let row = |(customer_id, email_address, delay)| Row { customer_id, email_address, delay };
        Ok(rows.into_iter().map(row).collect())
    }

    async fn saved_customers(&self) -> anyhow::Result<Vec<String>> {
        sqlx::query_scalar("SELECT id::text FROM customers")
            .fetch_all(&self.environment.web_store_database())
            .await
            .context("the Web Store's customers")
    }
}
