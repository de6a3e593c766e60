//! Retries dead letters while the command, Marketing, and the broker are killed at random moments.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display, Formatter},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, ensure};
use contracts::{CreateCustomer, Message, topology::MARKETING_CREATE_CUSTOMER};
use futures_util::future::try_join_all;
use lapin::{BasicProperties, Channel};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use stack::{servers::Servers, service::Program};
use system_tests::{
    broker_client::{open_channel, properties, publish},
    eventually,
    programs::{console_command, dead_letters, run as run_program},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStderr},
    time::{Instant, sleep},
};
use uuid::Uuid;

use crate::system::System;

/// The time in which the remaining letters must be moved, and their rows must exist.
const TIMEOUT: Duration = Duration::from_mins(5);

/// Letters that are published before their confirms are awaited.
const BATCH: usize = 500;

/// Retries all dead letters of a queue, and kills what takes part in that
///
/// More letters arrive meanwhile. After each kill, the operation is resumed. The exit status is 0 only if each letter of
/// the operation became exactly one row, if no letter of it is left, and if all later letters are still there.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct LetterArguments {
    /// Letters of the operation
    #[arg(long, default_value_t = 10_000)]
    letters: u32,
    /// Letters that arrive during the operation
    #[arg(long, default_value_t = 500)]
    later: u32,
    /// Kills during the operation
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// Letters per second, so that the kills meet the operation
    #[arg(long, default_value_t = 400)]
    rate: u32,
    /// Seed of the moments and of the order of the kills
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The process that a kill ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Command,
    Marketing,
    Broker,
}

/// The result. Its line is for scripts, so the names of its fields do not change.
struct Report {
    letters: u32,
    rows: u64,
    missing: usize,
    unexpected: usize,
    left: usize,
    later_left: usize,
    later: u32,
    kills: BTreeMap<Victim, u32>,
    resumes: u32,
    journal_is_intact: bool,
    seed: u64,
}

/// Makes the run, and prints its result. Returns whether it is clean.
///
/// # Errors
/// Returns an error if a server or a service does not start, or if the operation does not end in time.
pub(crate) async fn run(
    servers: &mut Servers,
    arguments: LetterArguments,
    log: fn(&str),
) -> anyhow::Result<bool> {
    let LetterArguments { letters, later, kills, rate, seed } = arguments;
    let mut random = StdRng::seed_from_u64(seed);
    let system = System::start(servers).await?;
    let (_connection, channel) = open_channel(&system.environment).await?;
    let ids: Vec<Uuid> = (0..letters + later).map(|_| Uuid::from_u128(random.random())).collect();
    let (of_operation, of_later) = ids.split_at(letters as usize);
    add_letters(&channel, of_operation).await?;

    let mut operation = Operation::start(&system, rate).await?;
    log(&format!("operation {}: {letters} letters", operation.id));
    add_letters(&channel, of_later).await?;
    let mut counts = BTreeMap::new();
    for kill in 0..kills {
        let victim = [Victim::Command, Victim::Marketing, Victim::Broker][random.random_range(0..3)];
        wait(&mut random).await;
        log(&format!("kill {} of {kills}: {victim:?}", kill + 1));
        *counts.entry(victim).or_default() += 1;
        match victim {
            Victim::Command => operation.kill().await?,
            Victim::Marketing => {
                let mut marketing = system.service(Program::Marketing).await;
                marketing.kill().await?;
                wait(&mut random).await;
                system.restart(&mut marketing, Program::Marketing)?;
            }
            Victim::Broker => {
                servers.broker.process.kill().await?;
                servers.broker.restart().await?;
            }
        }
        operation.resume_if_ended(&system)?;
    }
    operation.finish(&system).await?;
    log("the operation has finished");
    let report = verify(&system, of_operation, of_later, counts, operation.resumes, seed).await?;
    service_kit::write_stdout(&format!("{report}\n"))?;
    Ok(report.is_clean())
}

async fn wait(random: &mut impl Rng) {
    sleep(Duration::from_millis(random.random_range(50..1500))).await;
}

/// Publishes valid commands directly to the dead letters, as if a rule that rejected them had been lifted.
async fn add_letters(channel: &Channel, ids: &[Uuid]) -> anyhow::Result<()> {
    for batch in ids.chunks(BATCH) {
        let letters = batch.iter().map(async |id| {
            let body = json!({
                "customer_id": id, "full_name": format!("Letter {id}"),
                "email_address": format!("{id}@example.org"), "email_opt_in": false, "source": "web-store",
                "customer_since": "2026-01-02T03:04:05Z",
            });
            let properties: BasicProperties =
                properties(CreateCustomer::TYPE).with_message_id(id.to_string().into()).with_delivery_mode(2);
            let queue = MARKETING_CREATE_CUSTOMER;
            publish(channel, queue.dead_letter_exchange, queue.name, properties, body.to_string().as_bytes())
                .await
        });
        try_join_all(letters).await?;
    }
    Ok(())
}

/// The command that executes the operation, or has ended.
struct Operation {
    id: String,
    command: Child,
    resumes: u32,
}

impl Operation {
    /// Starts `console dead-letters retry`, and waits until it has written the operation to the journal.
    async fn start(system: &System, rate: u32) -> anyhow::Result<Self> {
        let rate = rate.to_string();
        let (command, errors) = spawn(system, &["retry", "--all", "--rate", &rate])?;
        let mut lines = BufReader::new(errors).lines();
        let line = lines.next_line().await?.context("the command has ended")?;
        let id = line.split([' ', ':']).nth(1).context("no operation")?.to_owned();
        // The pipe must not fill up.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { id, command, resumes: 0 })
    }

    async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.command.kill().await?)
    }

    /// Resumes the operation if its command has ended before the operation.
    fn resume_if_ended(&mut self, system: &System) -> anyhow::Result<()> {
        if self.command.try_wait()?.is_some_and(|status| !status.success()) {
            let (command, mut errors) = spawn(system, &["resume", &self.id])?;
            tokio::spawn(async move { errors.read_to_end(&mut Vec::new()).await });
            self.command = command;
            self.resumes += 1;
        }
        Ok(())
    }

    /// Resumes the operation until the journal has its end.
    async fn finish(&mut self, system: &System) -> anyhow::Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            self.command.wait().await?;
            let entries = journal(system, &["--json", "--operation", &self.id]).await?;
            let is_finished = entries.1.lines().any(|entry| {
                serde_json::from_str::<Value>(entry).is_ok_and(|entry| entry["event"] == "finished")
            });
            if is_finished {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the operation does not finish:\n{}", entries.1);
            sleep(Duration::from_millis(200)).await;
            let (command, mut errors) = spawn(system, &["resume", &self.id])?;
            tokio::spawn(async move { errors.read_to_end(&mut Vec::new()).await });
            self.command = command;
            self.resumes += 1;
        }
    }
}

fn spawn(system: &System, arguments: &[&str]) -> anyhow::Result<(Child, ChildStderr)> {
    let mut command = console_command(&system.environment)?;
    command.arg("dead-letters").args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let errors = child.stderr.take().context("no standard error")?;
    Ok((child, errors))
}

/// Runs `console journal`, and returns its exit status and its output.
async fn journal(system: &System, arguments: &[&str]) -> anyhow::Result<(i32, String)> {
    let mut command = console_command(&system.environment)?;
    command.arg("journal").args(arguments);
    let output = run_program(command, "").await?;
    Ok((output.status, output.stdout))
}

async fn verify(
    system: &System,
    of_operation: &[Uuid],
    of_later: &[Uuid],
    kills: BTreeMap<Victim, u32>,
    resumes: u32,
    seed: u64,
) -> anyhow::Result<Report> {
    let expected: BTreeSet<String> = of_operation.iter().map(Uuid::to_string).collect();
    let rows = async || -> sqlx::Result<Vec<String>> {
        sqlx::query_scalar("SELECT customer_id FROM customers").fetch_all(&system.marketing_database).await
    };
    system.wait_ready().await?;
    eventually(TIMEOUT, "each letter of the operation is a row", async || {
        (rows().await.ok()?.len() >= expected.len()).then_some(())
    })
    .await?;
    let rows = rows().await?;
    let unique: BTreeSet<&String> = rows.iter().collect();
    let list = dead_letters(&system.environment, "list --json").await?;
    ensure!(list.status == 0, "the letters cannot be read: {}", list.stderr);
    let mut letters = BTreeSet::new();
    for line in list.stdout.lines() {
        let letter: Value = serde_json::from_str(line)?;
        letters.insert(letter["message_id"].as_str().unwrap_or_default().to_owned());
    }
    let (status, _) = journal(system, &["verify"]).await?;
    Ok(Report {
        letters: u32::try_from(of_operation.len())?,
        rows: rows.len() as u64,
        missing: expected.iter().filter(|id| !unique.contains(*id)).count(),
        unexpected: unique.iter().filter(|id| !expected.contains(**id)).count(),
        left: expected.intersection(&letters).count(),
        later_left: of_later.iter().filter(|id| letters.contains(&id.to_string())).count(),
        later: u32::try_from(of_later.len())?,
        kills,
        resumes,
        journal_is_intact: status == 0,
        seed,
    })
}

impl Report {
    fn is_clean(&self) -> bool {
        self.rows == u64::from(self.letters)
            && self.missing + self.unexpected + self.left == 0
            && self.later_left == self.later as usize
            && self.journal_is_intact
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { letters, rows, missing, unexpected, left, later_left, later, resumes, seed, .. } = self;
        let kills = |victim| self.kills.get(&victim).copied().unwrap_or(0);
        write!(
            f,
            "letters={letters} rows={rows} missing={missing} unexpected={unexpected} left={left} \
             later={later} later_left={later_left} killed_command={} killed_marketing={} killed_broker={} \
             resumes={resumes} journal_intact={} seed={seed}",
            kills(Victim::Command),
            kills(Victim::Marketing),
            kills(Victim::Broker),
            self.journal_is_intact
        )
    }
}
