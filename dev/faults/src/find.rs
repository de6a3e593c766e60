//! Puts many customers into each state, and asks `console find` for the state of each one.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
    time::Duration,
};

use anyhow::{Context, ensure};
use contracts::topology::{MARKETING_CREATE_CUSTOMER, TRANSFORMER_CUSTOMER_REGISTERED};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use sqlx::{Connection, Executor, MySqlConnection};
use stack::{servers::Servers, service::Program};
use system_tests::{
    customers::{outbox_depth, register_at},
    eventually,
    programs::{console_command, dead_letters, run as run_program},
};
use uuid::Uuid;

use crate::{link::Link, system::System};

/// The time in which the customers of one state must be there.
const TIMEOUT: Duration = Duration::from_mins(2);

/// The names that Marketing's database rejects begin with this text.
const REJECTED: &str = "Rejected";

/// Puts customers into each state that `console find` reports, and verifies each report
///
/// The exit status is 0 only if each customer is reported with the state in which it is.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct FindArguments {
    /// Customers in each state
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=250))]
    customers: u32,
    /// Commands that run simultaneously
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..))]
    parallel: u32,
}

/// The correctly reported customers of each state, and the wrong reports.
struct Report {
    customers: u32,
    correct: BTreeMap<&'static str, u32>,
    /// Each customer with a wrong report: the state, the id, and the reported state.
    wrong: Vec<String>,
}

/// Makes the proof, and prints its result. Returns whether each report was correct.
///
/// # Errors
/// Returns an error if a server or a service does not start, or if a customer does not get into its state.
pub(crate) async fn run(servers: &Servers, arguments: FindArguments, log: fn(&str)) -> anyhow::Result<bool> {
    let system = System::start(servers).await?;
    let mut report = Report { customers: arguments.customers, correct: BTreeMap::new(), wrong: Vec::new() };
    let proof = Proof { system: &system, arguments, log };

    let settled = proof.settle().await?;
    for (state, customers) in settled {
        proof.verify(state, &customers, &mut report).await?;
    }

    let relay = system.proxy(Link::WebStoreToBroker);
    relay.cut();
    let (waiting, parked) = (proof.register("Waiting").await?, proof.register("Parked").await?);
    let park =
        "UPDATE outbox SET attempts = 3, last_refusal = 'returned', retry_at = now() + interval '1 hour'
        FROM customers WHERE outbox.message_id = customers.message_id AND customers.id = ANY ($1)";
    sqlx::query(park).bind(&parked).execute(&system.web_store_database).await?;
    proof.verify("in-outbox", &waiting, &mut report).await?;
    proof.verify("parked", &parked, &mut report).await?;
    sqlx::query("UPDATE outbox SET retry_at = now()").execute(&system.web_store_database).await?;
    relay.restore();
    proof.wait_for_empty_outbox().await?;

    let transformer = system.proxy(Link::TransformerToSource);
    transformer.cut();
    let on_the_way = proof.register("Traveling").await?;
    proof.wait_for_empty_outbox().await?;
    proof.verify("on-the-way", &on_the_way, &mut report).await?;
    let management = system.environment.management();
    management.purge(TRANSFORMER_CUSTOMER_REGISTERED.name).await?;
    transformer.restore();
    system.wait_ready().await?;

    let url = system.environment.connection_urls().marketing_database_url("root");
    let mut administrator = MySqlConnection::connect(&url).await?;
    administrator.execute("SET GLOBAL read_only = 1").await?;
    let held = proof.register("Held").await?;
    eventually(TIMEOUT, "Marketing holds the messages", async || {
        let queues = management.queues().await.ok()?;
        let queue = queues.get(MARKETING_CREATE_CUSTOMER.name)?;
        (queue.messages_unacknowledged >= u64::from(arguments.customers)).then_some(())
    })
    .await?;
    proof.verify("held", &held, &mut report).await?;
    administrator.execute("SET GLOBAL read_only = 0").await?;

    for wrong in &report.wrong {
        log(wrong);
    }
    service_kit::write_stdout(&format!("{report}\n"))?;
    Ok(report.wrong.is_empty())
}

struct Proof<'a> {
    system: &'a System,
    arguments: FindArguments,
    log: fn(&str),
}

impl Proof<'_> {
    /// Registers the customers of one state.
    async fn register(&self, name: &str) -> anyhow::Result<Vec<Uuid>> {
        let url = self.system.url(Program::WebStore);
        let mut customers = Vec::new();
        for n in 0..self.arguments.customers {
            customers.push(register_at(&self.system.client, &url, &format!("{name} {n}")).await?.parse()?);
        }
        Ok(customers)
    }

    /// Registers customers whose messages become dead letters, and waits for these.
    async fn reject(&self, name: &str) -> anyhow::Result<Vec<Uuid>> {
        let customers = self.register(&format!("{REJECTED} {name}")).await?;
        let letters = MARKETING_CREATE_CUSTOMER.dead_letter_queue();
        let count = u64::from(self.arguments.customers);
        self.system.environment.management().wait_for_depth(&letters, count).await?;
        Ok(customers)
    }

    async fn wait_for_empty_outbox(&self) -> anyhow::Result<()> {
        eventually(TIMEOUT, "an empty outbox", async || {
            (outbox_depth(&self.system.environment).await.ok()? == 0).then_some(())
        })
        .await
    }

    /// Puts customers into the states in which no message is on the way.
    async fn settle(&self) -> anyhow::Result<Vec<(&'static str, Vec<Uuid>)>> {
        let System { environment, web_store_database: store, marketing_database: table, .. } = self.system;
        let rule =
            format!("ALTER TABLE customers ADD CONSTRAINT test CHECK (full_name NOT LIKE '{REJECTED}%')");
        table.execute(sqlx::AssertSqlSafe(rule)).await?;
        let discarded = self.reject("and discarded").await?;
        let output = dead_letters(environment, "discard --all --why proof").await?;
        ensure!(output.status == 0, "the letters cannot be discarded: {}", output.stderr);
        let dead = self.reject("and left").await?;
        let mut arriving = BTreeMap::new();
        for state in ["arrived", "behind", "ahead", "missing", "duplicated", "not-registered"] {
            arriving.insert(state, self.register(state).await?);
        }
        let expected = i64::from(self.arguments.customers) * 6;
        eventually(TIMEOUT, "the customers arrive", async || {
            let count = sqlx::query_scalar("SELECT COUNT(*) FROM customers");
            let count: i64 = count.fetch_one(table).await.ok()?;
            (count == expected).then_some(())
        })
        .await?;
        let change =
            "UPDATE customers SET version = version + 6, changed_at = now(), message_id = gen_random_uuid()
            WHERE id = ANY ($1)";
        sqlx::query(change).bind(&arriving["behind"]).execute(store).await?;
        table.execute("ALTER TABLE customers DROP PRIMARY KEY").await?;
        for (state, statement) in [
            ("ahead", "UPDATE customers SET version = version + 8 WHERE customer_id = ?"),
            ("missing", "DELETE FROM customers WHERE customer_id = ?"),
            ("duplicated", "INSERT INTO customers SELECT * FROM customers WHERE customer_id = ?"),
        ] {
            for customer in &arriving[state] {
                sqlx::query(statement).bind(customer.to_string()).execute(table).await?;
            }
        }
        let strangers: Vec<_> = arriving["not-registered"].iter().map(|_| Uuid::now_v7()).collect();
        for (customer, stranger) in arriving["not-registered"].iter().zip(&strangers) {
            let change = sqlx::query("UPDATE customers SET customer_id = ? WHERE customer_id = ?");
            change.bind(stranger.to_string()).bind(customer.to_string()).execute(table).await?;
        }
        arriving.insert("not-registered", strangers);
        arriving.extend([("dead-lettered", dead), ("discarded", discarded)]);
        Ok(arriving.into_iter().collect())
    }

    /// Asks for the state of each customer.
    async fn verify(
        &self,
        state: &'static str,
        customers: &[Uuid],
        report: &mut Report,
    ) -> anyhow::Result<()> {
        (self.log)(&format!("{state}: {} customers", customers.len()));
        let found = stream::iter(customers).map(|customer| self.find(*customer));
        let found: Vec<_> = found.buffered(self.arguments.parallel as usize).try_collect().await?;
        for (customer, found) in customers.iter().zip(found) {
            if found == state {
                *report.correct.entry(state).or_default() += 1;
            } else {
                report.wrong.push(format!("{customer} is {state}, and it is reported as {found}"));
            }
        }
        Ok(())
    }

    /// Returns the reported state.
    async fn find(&self, customer: Uuid) -> anyhow::Result<String> {
        let mut command = console_command(&self.system.environment)?;
        command.args(["find", &customer.to_string(), "--json"]);
        let output = run_program(command, "").await?;
        let report: Value = serde_json::from_str(&output.stdout).with_context(|| output.stderr.clone())?;
        Ok(report["customers"][0]["state"].as_str().unwrap_or("no customer").to_owned())
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (state, correct) in &self.correct {
            write!(f, "{state}={correct}/{} ", self.customers)?;
        }
        write!(f, "wrong={}", self.wrong.len())
    }
}
