//! Two sites, whose link is cut under load: both applications continue with their own data, and catch up afterwards.

use std::{
    fmt::{self, Display, Formatter},
    net::SocketAddr,
    time::Duration,
};

use anyhow::ensure;
use chrono::{DateTime, Utc};
use contracts::topology::MARKETING_CREATE_CUSTOMER;
use reqwest::StatusCode;
use stack::{
    ports::{BrokerPorts, free_port},
    servers::Servers,
    service::Program,
};
use system_tests::{eventually, metrics::Metrics, operator::Operator, programs::reconcile};
use tokio::time::{Instant, sleep};

use crate::{
    customers::Customers,
    link::Link,
    load::Load,
    proxy::{Direction, Protocol, Proxy, Traffic},
    quiescence::pending_messages,
    system::System,
};

/// The time in which Marketing is ready, and in which the customers of the cut arrive.
const TIMEOUT: Duration = Duration::from_mins(10);

/// The seconds of load before the cut, and the seconds of commands that then wait at Marketing's broker.
const WARM_UP_SECONDS: u32 = 10;

const STOP_TIMEOUT: Duration = Duration::from_secs(12);

const OBSERVATION_INTERVAL: Duration = Duration::from_secs(1);

/// A busy machine delays a page.
const SERVED_WITHIN: Duration = Duration::from_secs(10);

/// Cuts the link between two sites under load
///
/// Each application has its own broker. The transformer and the console are at the Web Store's site, and their
/// connections to Marketing's site are cut. Marketing starts during the cut, and processes the commands that have
/// arrived before. The exit status is 0 only if no registration is refused, if both applications serve their pages
/// meanwhile, and if each customer has exactly one row at the end, without a dead letter and without a replay.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct SiteArguments {
    /// Minutes for which the link is cut
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Registrations per second
    #[arg(long, default_value_t = 100)]
    rate: u32,
}

/// The connections of the transformer and of the console to the servers of Marketing's site.
struct SiteLink<'a>([&'a Proxy; 3]);

/// The result.
struct SiteReport {
    /// The number of customers in the Web Store's table.
    registered: usize,
    /// The number of rows in Marketing's table.
    marketing: usize,
    lost: usize,
    duplicated: usize,
    /// The number of registrations with an error or without a response.
    refused: u64,
    dead_lettered: u64,
    /// The number of customers whose messages the console has requested again.
    requested: f64,
    cut: CutReport,
    /// The time from the end of the cut until all customers of that time have a row.
    caught_up_in: Duration,
}

/// The observations while the link was cut.
struct CutReport {
    seconds: f64,
    /// The number of confirmed registrations.
    registered: usize,
    /// The number of rows that Marketing has created from commands at its own broker.
    processed: i64,
    /// The number of messages that waited at the Web Store's site at the end.
    waiting: u64,
    /// The number of observations in which a service was not ready, or Marketing did not serve its list, in time.
    unserved: usize,
}

/// Makes the proof, and prints its result. Returns whether the sites were independent, and nothing was lost.
///
/// # Errors
/// Returns an error if a server or a service does not start, or if the system does not recover from the cut.
pub(crate) async fn run(servers: &Servers, arguments: SiteArguments, log: fn(&str)) -> anyhow::Result<bool> {
    let system = System::start(servers).await?;
    let ports = servers.ports();
    let to_broker = Proxy::to(ports.broker_of_marketing().amqp, Protocol::Amqp).await?;
    let to_mysql = Proxy::to(ports.mysql, Protocol::Mysql).await?;
    let link = SiteLink([system.proxy(Link::TransformerToTarget), &to_broker, &to_mysql]);
    let mut urls = system.environment.connection_urls().clone();
    urls.ports.mysql = to_mysql.port();
    urls.ports.marketing_broker = Some(BrokerPorts { amqp: to_broker.port(), management: 0 });
    let metrics = SocketAddr::from(([127, 0, 0, 1], free_port()?)).to_string();
    let settings = urls.console_settings();
    let settings = settings.iter().map(|(name, url)| (*name, url.as_str()));
    let settings: Vec<_> = settings.chain([("METRICS_LISTEN", metrics.as_str())]).collect();
    let _console = system.environment.start_console(&settings)?;
    let load = Load::start(system.url(Program::WebStore), arguments.rate)?;
    let proof = Proof { system: &system, link, load, log };

    proof.load.wait_confirmed((arguments.rate * WARM_UP_SECONDS) as usize).await;
    proof.collect_commands(u64::from(arguments.rate * WARM_UP_SECONDS)).await?;
    let cut = proof.cut(Duration::from_secs_f64(arguments.minutes * 60.0)).await?;
    let caught_up_in = proof.catch_up().await?;
    let report = proof.evaluate(cut, caught_up_in, &format!("http://{metrics}/metrics")).await?;
    service_kit::write_stdout(&format!("{report}\n"))?;
    Ok(report.is_clean())
}

struct Proof<'a> {
    system: &'a System,
    link: SiteLink<'a>,
    load: Load,
    log: fn(&str),
}

impl Proof<'_> {
    /// Stops Marketing, and waits until commands wait at its broker.
    async fn collect_commands(&self, commands: u64) -> anyhow::Result<()> {
        self.system.service(Program::Marketing).await.terminate(STOP_TIMEOUT).await?;
        self.system.wait_for_depth(&MARKETING_CREATE_CUSTOMER, commands).await
    }

    /// Cuts the link for some time, and starts Marketing meanwhile. In the first half of the time, the link is silent. In
    /// the second half, connections are refused.
    async fn cut(&self, duration: Duration) -> anyhow::Result<CutReport> {
        self.link.silence();
        let started = Instant::now();
        (self.log)("the link is silent");
        let (rows, confirmed) = (self.rows().await?, self.load.confirmed().len());
        let mut marketing = self.system.service(Program::Marketing).await;
        self.system.restart(&mut marketing, Program::Marketing)?;
        marketing.wait_ready(TIMEOUT).await?;
        let operator = Operator::log_in(&marketing).await?;
        let (mut unserved, mut is_silent) = (0, true);
        while started.elapsed() < duration {
            if is_silent && started.elapsed() > duration / 2 {
                self.link.cut();
                (self.log)("the link refuses connections");
                is_silent = false;
            }
            sleep(OBSERVATION_INTERVAL).await;
            let are_served = async || {
                let list = operator.get("/customers").await.ok()?;
                let are_ready =
                    self.is_ready(Program::WebStore).await && self.is_ready(Program::Marketing).await;
                (are_ready && list.status() == StatusCode::OK).then_some(())
            };
            unserved += usize::from(eventually(SERVED_WITHIN, "served pages", are_served).await.is_err());
        }
        let waiting = pending_messages(&self.system.environment, &self.system.web_store_database)
            .await
            .unwrap_or_default();
        let left =
            self.system.environment.marketing_management().depth(MARKETING_CREATE_CUSTOMER.name).await?;
        ensure!(left == 0, "{left} commands still wait in Marketing at the end of the cut");
        Ok(CutReport {
            seconds: started.elapsed().as_secs_f64(),
            registered: self.load.confirmed().len() - confirmed,
            processed: self.rows().await? - rows,
            waiting,
            unserved,
        })
    }

    /// Restores the link. Returns the time until all customers have a row who were registered before.
    async fn catch_up(&self) -> anyhow::Result<Duration> {
        let (restored_at, restored) = (Utc::now(), Instant::now());
        let stored = sqlx::query_scalar("SELECT count(*) FROM customers WHERE registered_at <= $1");
        let stored: i64 = stored.bind(restored_at).fetch_one(&self.system.web_store_database).await?;
        self.link.restore();
        (self.log)("the link is restored");
        eventually(TIMEOUT, "the customers of the cut arrive", async || {
            (self.rows_until(restored_at).await.ok()? >= stored).then_some(())
        })
        .await?;
        Ok(restored.elapsed())
    }

    /// Stops the load, waits until the system is quiescent, and compares both applications.
    async fn evaluate(
        &self,
        cut: CutReport,
        caught_up_in: Duration,
        console_metrics: &str,
    ) -> anyhow::Result<SiteReport> {
        let Self { system, load, .. } = self;
        load.pause().await;
        system.wait_until_quiescent().await?;
        system.wait_ready().await?;
        let output = reconcile(&system.environment, &[]).await?;
        ensure!(
            output.status == 0,
            "reconciliation reports a difference:\n{}{}",
            output.stdout,
            output.stderr
        );
        let customers =
            Customers::read(&system.web_store_database, &system.marketing_database, load.confirmed()).await?;
        let queues = system.environment.queues().await?;
        let letters = queues.values().filter(|queue| queue.name.ends_with(".dead-letters"));
        let metrics = Metrics::scrape(console_metrics).await?;
        Ok(SiteReport {
            registered: customers.stored.len(),
            marketing: customers.rows,
            lost: customers.lost(),
            duplicated: customers.duplicated(),
            refused: load.refused(),
            dead_lettered: letters.map(|queue| queue.messages).sum(),
            requested: metrics.sum("reconcile_requested_customers_total", &[]),
            cut,
            caught_up_in,
        })
    }

    async fn is_ready(&self, program: Program) -> bool {
        let request = self.system.client.get(format!("{}/health/ready", self.system.url(program)));
        request.send().await.is_ok_and(|response| response.status() == StatusCode::OK)
    }

    async fn rows(&self) -> anyhow::Result<i64> {
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM customers");
        Ok(count.fetch_one(&self.system.marketing_database).await?)
    }

    async fn rows_until(&self, time: DateTime<Utc>) -> anyhow::Result<i64> {
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM customers WHERE customer_since <= ?");
        Ok(count.bind(time.naive_utc()).fetch_one(&self.system.marketing_database).await?)
    }
}

impl SiteLink<'_> {
    /// Lets no byte pass, as a network that drops all packets.
    fn silence(&self) {
        for proxy in self.0 {
            for direction in Direction::ALL {
                proxy.set_traffic(direction, Traffic::Frozen);
            }
        }
    }

    /// Closes all connections, and refuses new ones, as a network without a route.
    fn cut(&self) {
        self.0.iter().for_each(|proxy| proxy.cut());
    }

    fn restore(&self) {
        self.0.iter().for_each(|proxy| proxy.restore());
    }
}

impl SiteReport {
    fn is_clean(&self) -> bool {
        let Self { lost, duplicated, refused, dead_lettered, requested, cut, .. } = self;
        (*lost, *duplicated, *refused, *dead_lettered, cut.unserved) == (0, 0, 0, 0, 0)
            && *requested < 1.0
            && cut.registered > 0
            && cut.processed > 0
    }
}

impl Display for SiteReport {
    /// Writes one line. Scripts read its fields, so their names do not change.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { registered, marketing, lost, duplicated, refused, dead_lettered, requested, .. } = self;
        let CutReport { seconds, registered: during, processed, waiting, unserved } = &self.cut;
        write!(
            f,
            "registered={registered} marketing={marketing} lost={lost} doubled={duplicated} refused={refused} \
             dead_lettered={dead_lettered} requested={requested} cut_seconds={seconds:.0} \
             registered_in_cut={during} processed_in_cut={processed} waiting={waiting} unserved={unserved} \
             caught_up_in={:.1}",
            self.caught_up_in.as_secs_f64()
        )
    }
}
