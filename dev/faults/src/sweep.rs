//! A sweep: for one registration, stops each link before each of its frames, and injects a fault there.

mod points;
mod tally;

use std::{cell::Cell, num::NonZeroUsize, time::Duration};

use anyhow::Context;
use futures_util::future::try_join_all;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use stack::{servers::Servers, service::Program};
use system_tests::customers::register_at;
use tokio::time::timeout;

pub use self::tally::Tally;
use self::{
    points::{Action, Point, count_points, reset_marketing_connection},
    tally::Violation,
};
use crate::{link::Link, system::System};

/// A frame that has not come this long after the customer's row does not come at all.
///
/// The relay polls the outbox every second, which adds frames on the link to PostgreSQL. On a busy machine, the
/// counted registrations take longer and contain more polls. This time includes three polls.
const LAST_FRAME_TIMEOUT: Duration = Duration::from_millis(3500);

const DEFAULT_SYSTEMS: NonZeroUsize = NonZeroUsize::new(6).expect("6 is not zero");

/// Injects a fault at every frame of one registration.
///
/// Stops each link between a service and a server before each of its frames. Cuts the link there, and in
/// another registration kills the service there.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct SweepArguments {
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
    /// Number of systems, each with a part of the points
    ///
    /// A visit mostly waits, so several systems are faster than one.
    #[arg(long, default_value_t = DEFAULT_SYSTEMS)]
    pub systems: NonZeroUsize,
}

impl Default for SweepArguments {
    /// All points.
    fn default() -> Self {
        Self { sample: None, seed: 1, link: None, fail_fast: false, systems: DEFAULT_SYSTEMS }
    }
}

/// Visits the points, with one registration for each, and returns the counts of their outcomes.
///
/// # Errors
/// Returns an error if the system does not start, or does not recover after a point.
pub async fn sweep(
    servers: &Servers,
    arguments: SweepArguments,
    log: impl Fn(&str),
) -> anyhow::Result<Tally> {
    let count = arguments.systems.get();
    let systems = try_join_all((0..count).map(|_| System::start(servers))).await?;
    let mut points = count_points(&systems[0], &log).await?;
    points.retain(|point| arguments.link.is_none_or(|link| link == point.link));
    if let Some(sample) = arguments.sample {
        points.shuffle(&mut StdRng::seed_from_u64(arguments.seed));
        points.truncate(sample);
    }
    let ended = Cell::new(false);
    let parts = systems.into_iter().enumerate().map(async |(n, system)| {
        let mut sweep = Sweep { system, tally: Tally::default() };
        for point in points.iter().skip(n).step_by(count) {
            if ended.get() {
                break;
            }
            let violation = sweep.visit(point, &log).await.with_context(|| format!("at {point}"))?;
            if let Some(violation) = violation {
                log(&format!("{violation} at {point}"));
                ended.set(arguments.fail_fast);
            }
        }
        anyhow::Ok(sweep.tally)
    });
    Ok(try_join_all(parts).await?.into_iter().sum())
}

struct Sweep {
    system: System,
    tally: Tally,
}

impl Sweep {
    /// Registers one customer with a fault at `point`, and checks the customer's rows.
    async fn visit(&mut self, point: &Point, log: impl Fn(&str)) -> anyhow::Result<Option<Violation>> {
        self.system.wait_ready().await?;
        reset_marketing_connection(&self.system);
        self.tally.points += 1;
        let name = format!("Point {}", self.tally.points);
        let proxy = self.system.proxy(point.link);
        let mut stopped = proxy.stop_before(point.direction, point.nth);
        let registration = tokio::spawn({
            let client = self.system.client.clone();
            let url = self.system.url(Program::WebStore);
            let name = name.clone();
            async move { register_at(&client, &url, &name).await }
        });
        let reached = tokio::select! {
            result = &mut stopped => result.is_ok(),
            state = self.system.wait_until_settled(&name) => {
                state?;
                timeout(LAST_FRAME_TIMEOUT, stopped).await.is_ok()
            }
        };
        let program = point.link.service();
        match (reached, point.action) {
            (false, _) => {
                log(&format!("passed over: {point}"));
                self.tally.passed_over += 1;
            }
            (true, Action::Cut) => self.tally.cut += 1,
            (true, Action::Kill) => {
                self.system.service(program).await.kill().await?;
                self.tally.killed += 1;
            }
        }
        proxy.cut();
        proxy.restore();
        if reached && point.action == Action::Kill {
            self.system.restart(&mut *self.system.service(program).await, program)?;
        }
        let confirmed = registration.await?.is_ok();
        let state = self.system.wait_until_settled(&name).await?;
        self.tally.check(confirmed, state)
    }
}
