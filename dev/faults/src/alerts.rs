//! Raises each alert by its cause, and checks that nothing else fires and that all alerts resolve.

mod cause;
mod prometheus;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display, Formatter},
    net::SocketAddr,
    time::Duration,
};

use anyhow::ensure;
use service_kit::write_stdout;
use stack::{ports::free_port, servers::Servers, service::Program};
use tokio::time::{Instant, sleep};

use self::{cause::Cause, prometheus::Prometheus};
use crate::{load::Load, system::System};

/// The longest time until an alert fires. `OutboxWaits` and `WatchFails` need a minute of age.
const FIRE_TIMEOUT: Duration = Duration::from_mins(3);

/// How long a cause holds after its alerts fire, so that wrong alerts fire too.
const SETTLE_TIME: Duration = Duration::from_secs(30);

/// The longest time until an alert resolves. `CustomersLost` looks back 10 minutes, and the objective 30 minutes.
const RESOLVE_TIMEOUT: Duration = Duration::from_mins(35);

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Starts the system with a load, Prometheus, and the shipped alert rules, and raises each alert by its cause
///
/// Prints which alerts fired after which time, and when they resolved. The exit status is 0 only if each cause raised
/// exactly its alerts, if all of them resolved, if no alert fired without a cause, and if each alert fired once.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct AlertArguments {
    /// Minutes without a cause before the first one, in which no alert may fire
    #[arg(long, value_name = "MINUTES", default_value_t = 2.0)]
    quiet_minutes: f64,
    /// Registrations per second
    #[arg(long, default_value_t = 5)]
    rate: u32,
}

/// Runs all causes, and returns whether the alerts were those of the table.
///
/// # Errors
/// Returns an error if the system or Prometheus does not start, or if alerts do not resolve.
pub(crate) async fn run(servers: &Servers, arguments: AlertArguments, log: fn(&str)) -> anyhow::Result<bool> {
    let mut targets = Vec::new();
    let mut settings = vec![("PROBE_INTERVAL_SECONDS", None, "10".to_owned())];
    for program in Program::ALL {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        targets.push((program.name(), address));
        settings.push(("METRICS_LISTEN", Some(program), format!("{address}")));
    }
    let system = System::start_with(servers, &settings).await?;
    let console_address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    targets.push(("console", console_address));
    let _console = system.environment.start_console(&[("METRICS_LISTEN", &console_address.to_string())])?;
    let load = Load::start(system.url(Program::WebStore), arguments.rate)?;
    load.wait_confirmed(1).await;
    system.wait_ready().await?;

    let mut report = Report::default();
    let prometheus = Prometheus::start(&targets).await?;
    log(&format!("{} minutes without a cause", arguments.quiet_minutes));
    let end = Instant::now() + Duration::from_secs_f64(arguments.quiet_minutes * 60.0);
    while Instant::now() < end {
        report.wrong.extend(prometheus.firing().await?.into_iter().map(|alert| ("no cause", alert)));
        sleep(POLL_INTERVAL).await;
    }
    let defined = prometheus.defined().await?;
    drop(prometheus);
    for cause in Cause::ALL {
        log(cause.name());
        // Without the history of the cause before.
        let prometheus = Prometheus::start(&targets).await?;
        report.observe(cause, &system, &prometheus).await?;
        system.wait_ready().await?;
    }
    load.pause().await;
    report.missing_rules = defined.difference(&report.fired).cloned().collect();
    write_stdout(&report.to_string())?;
    ensure!(report.is_clean(), "the alerts differ from the table");
    Ok(true)
}

/// The alerts that fired.
#[derive(Debug, Default)]
struct Report {
    /// One line for each cause and alert.
    rows: Vec<String>,
    fired: BTreeSet<String>,
    wrong: BTreeMap<&'static str, (String, String)>,
    missing: Vec<String>,
    missing_rules: Vec<String>,
}

impl Report {
    async fn observe(
        &mut self,
        cause: Cause,
        system: &System,
        prometheus: &Prometheus,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        let fired: RefCell<BTreeMap<String, (Duration, String)>> = RefCell::default();
        let complete_since = RefCell::new(None::<Instant>);
        let poll = async || {
            for (alert, summary) in prometheus.firing().await? {
                fired.borrow_mut().entry(alert).or_insert((start.elapsed(), summary));
            }
            let is_complete = cause.expected().iter().all(|alert| fired.borrow().contains_key(*alert));
            let since = *complete_since.borrow_mut().get_or_insert_with(Instant::now);
            if !is_complete {
                *complete_since.borrow_mut() = None;
            }
            anyhow::Ok(is_complete && since.elapsed() >= SETTLE_TIME)
        };
        cause.hold(system, FIRE_TIMEOUT, poll).await?;
        let possible = cause.possible();
        let lifted = Instant::now();
        let mut resolved: BTreeMap<String, Duration> = BTreeMap::new();
        loop {
            let firing = prometheus.firing().await?;
            for alert in fired.borrow().keys().filter(|alert| !firing.contains_key(*alert)) {
                resolved.entry(alert.clone()).or_insert(lifted.elapsed());
            }
            // An alert may fire only now, for example for customers that are late because of the cause.
            for (alert, summary) in firing {
                resolved.remove(&alert);
                fired.borrow_mut().entry(alert).or_insert((start.elapsed(), summary));
            }
            // The objective looks back for half an hour. Only the cause that must raise its alerts waits for them.
            let is_awaited = |alert: &&String| !possible.contains(&alert.as_str());
            if fired.borrow().keys().filter(is_awaited).all(|alert| resolved.contains_key(alert)) {
                break;
            }
            ensure!(
                lifted.elapsed() < RESOLVE_TIMEOUT,
                "{}: {:?} do not resolve",
                cause.name(),
                fired.borrow()
            );
            sleep(POLL_INTERVAL).await;
        }
        let fired = fired.into_inner();
        for (alert, (after, summary)) in &fired {
            let resolved = resolved.get(alert).map(|time| format!("{:.0} s", time.as_secs_f64()));
            let (after, resolved) = (after.as_secs_f64(), resolved.unwrap_or_default());
            self.rows.push(format!("| {} | {alert} | {after:.0} s | {resolved} | {summary} |", cause.name()));
            if !cause.expected().contains(&alert.as_str()) && !possible.contains(&alert.as_str()) {
                self.wrong.insert(cause.name(), (alert.clone(), summary.clone()));
            }
        }
        let missing = cause.expected().iter().filter(|alert| !fired.contains_key(**alert));
        self.missing.extend(missing.map(|alert| format!("{}: {alert}", cause.name())));
        self.fired.extend(fired.into_keys());
        Ok(())
    }

    fn is_clean(&self) -> bool {
        self.wrong.is_empty() && self.missing.is_empty() && self.missing_rules.is_empty()
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "| cause | alert | fired after | resolved after | summary |")?;
        writeln!(f, "| --- | --- | ---: | ---: | --- |")?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        for (cause, (alert, summary)) in &self.wrong {
            writeln!(f, "wrong alert at {cause}: {alert}: {summary}")?;
        }
        for missing in &self.missing {
            writeln!(f, "missing alert at {missing}")?;
        }
        for rule in &self.missing_rules {
            writeln!(f, "no cause raised {rule}")?;
        }
        writeln!(
            f,
            "alerts={} wrong={} missing={} never_raised={}",
            self.fired.len(),
            self.wrong.len(),
            self.missing.len(),
            self.missing_rules.len()
        )
    }
}
