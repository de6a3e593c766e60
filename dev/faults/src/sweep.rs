//! Every frame: for one registration, stop each link before each of its messages, and cut it there, or kill
//! the service there.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::process::ExitCode;
use tokio::time::{sleep, timeout};

use super::customer::State;
use super::link::Link;
use super::system::System;
use super::tally::Tally;
use crate::on_own_servers;
use crate::proxy::Direction;
use stack::servers::Servers;
use stack::service::Program;
use system_tests::customers::register_at;

/// A message that has not come so long after the customer's arrival does not come at all. The outbox is
/// polled each second, so on that link there is always a next one.
const NO_MORE: Duration = Duration::from_millis(1500);

/// What happens to a link at a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Cut,
    Kill,
}

/// Just before the `nth` message after a registration begins.
#[derive(Clone, Copy, Debug)]
struct Point {
    link: Link,
    direction: Direction,
    nth: u64,
    action: Action,
}

/// Injects a fault at every frame of one registration.
///
/// Stops each link between a service and a server before each of its messages. Cuts the link there, and in
/// another registration kills the service there.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Arguments {
    /// Limits the sweep to a random sample of points
    #[arg(long, value_name = "POINTS")]
    pub sample: Option<usize>,
    /// Seed of the random sample
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Limits the sweep to the points of one link
    #[arg(long)]
    pub link: Option<Link>,
    /// Stops after the first point at which a customer is lost or duplicated
    #[arg(long)]
    pub fail_fast: bool,
}

/// Runs the sweep on servers of its own. The exit status is 0 only if no customer is lost or duplicated.
///
/// # Errors
/// Returns an error if the system does not start or does not recover from a fault.
pub async fn run(arguments: &Arguments) -> Result<ExitCode> {
    on_own_servers(async |servers, log| {
        let mut servers = servers;
        let tally = sweep(&servers, *arguments, log).await?;
        println!("{tally}");
        servers.stop().await?;
        Ok(tally.is_clean())
    })
    .await
}

/// Goes through the points, one registration for each.
///
/// # Errors
/// If the system does not start, or does not come back after a point.
pub async fn sweep(servers: &Servers, which: Arguments, say: impl Fn(&str)) -> Result<Tally> {
    let system = System::start(servers).await?;
    let mut run = Run { system, tally: Tally::default() };
    let mut points = run.points(&say).await?;
    points.retain(|point| which.link.is_none_or(|link| link == point.link));
    if let Some(sample) = which.sample {
        points.shuffle(&mut StdRng::seed_from_u64(which.seed));
        points.truncate(sample);
    }
    for point in points {
        let trouble = run.go_through(point).await.with_context(|| format!("at {point:?}"))?;
        if let Some(trouble) = trouble {
            say(&format!("{trouble} at {point:?}"));
            if which.fail_fast {
                break;
            }
        }
    }
    Ok(run.tally)
}

struct Run {
    system: System,
    tally: Tally,
}

impl Run {
    /// Watches a few registrations, and makes two points of every message that crosses a link.
    async fn points(&mut self, say: impl Fn(&str)) -> Result<Vec<Point>> {
        let mut most = [[0; 2]; Link::ALL.len()];
        for n in 0..3 {
            self.let_marketing_connect_anew();
            let before = self.passed();
            let name = format!("Watched {n}");
            let told = register_at(&self.system.client, &self.system.url(Program::WebStore), &name).await;
            ensure!(told.is_ok(), "nobody can be registered\n{}", self.system.site.log());
            ensure!(self.system.settled(&name).await?.rows == 1, "{name} did not arrive in Marketing");
            // The last acknowledgement is on its way when the row is there.
            sleep(NO_MORE / 4).await;
            for (link, passed) in self.passed().into_iter().enumerate() {
                for (direction, passed) in passed.into_iter().enumerate() {
                    most[link][direction] = most[link][direction].max(passed - before[link][direction]);
                }
            }
        }
        let mut points = Vec::new();
        for link in Link::ALL {
            let [to_server, to_service] = most[link as usize];
            say(&format!("{}: {to_server} messages to the server, {to_service} back", link.name()));
            for (direction, most) in Direction::ALL.into_iter().zip([to_server, to_service]) {
                for nth in 1..=most {
                    points.extend([Action::Cut, Action::Kill].map(|action| Point {
                        link,
                        direction,
                        nth,
                        action,
                    }));
                }
            }
        }
        Ok(points)
    }

    /// Marketing connects to its database when it next needs to. So that the same messages pass each time,
    /// each registration finds it without a connection.
    fn let_marketing_connect_anew(&self) {
        let link = self.system.proxy(Link::MarketingToMysql);
        link.cut();
        link.restore();
    }

    fn passed(&self) -> [[u64; 2]; Link::ALL.len()] {
        Link::ALL.map(|link| Direction::ALL.map(|direction| self.system.proxy(link).frames_passed(direction)))
    }

    /// One registration with one fault; what went wrong, if anything did.
    async fn go_through(&mut self, point: Point) -> Result<Option<&'static str>> {
        self.system.wait_ready().await?;
        self.let_marketing_connect_anew();
        self.tally.points += 1;
        let name = format!("Point {}", self.tally.points);
        let mut stopped = self.system.proxy(point.link).stop_before(point.direction, point.nth);
        let (client, url) = (self.system.client.clone(), self.system.url(Program::WebStore));
        let registered = name.clone();
        let registering = tokio::spawn(async move { register_at(&client, &url, &registered).await });
        let reached = tokio::select! {
            stopped = &mut stopped => stopped.is_ok(),
            arrived = self.system.settled(&name) => {
                arrived?;
                timeout(NO_MORE, stopped).await.is_ok()
            }
        };
        let service = point.link.service();
        match (reached, point.action) {
            (false, _) => self.tally.passed_over += 1,
            (true, Action::Cut) => self.tally.cut += 1,
            (true, Action::Kill) => {
                self.system.service(service).await.kill().await?;
                self.tally.killed += 1;
            }
        }
        self.system.proxy(point.link).cut();
        self.system.proxy(point.link).restore();
        if reached && point.action == Action::Kill {
            self.system.start_again(&mut *self.system.service(service).await, service)?;
        }
        let told = registering.await?.is_ok();
        self.evaluate(told, &self.system.settled(&name).await?)
    }

    fn evaluate(&mut self, told: bool, state: &State) -> Result<Option<&'static str>> {
        if state.rows > 1 {
            self.tally.doubled += 1;
            return Ok(Some("DOUBLED"));
        }
        if state.rows < state.saved || (told && state.saved == 0) {
            self.tally.lost += 1;
            return Ok(Some("LOST"));
        }
        ensure!(state.rows == state.saved, "Marketing has a row for somebody whom the Web Store refused");
        Ok(None)
    }
}
