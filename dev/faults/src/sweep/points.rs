//! The points of a sweep: each frame of one registration, on each link, in each direction.

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use anyhow::{Context, ensure};
use stack::service::Program;
use system_tests::customers::register_at;
use tokio::time::sleep;

use crate::{link::Link, proxy::Direction, system::System};

/// The number of registrations whose frames are counted. The minimum of each link is used.
///
/// A slow registration contains more polls. Their frames would be points that other registrations do not reach.
const COUNTED_REGISTRATIONS: u32 = 5;

/// A customer's row is visible before the last ack has passed. This time includes the ack.
const ACK_DELAY: Duration = Duration::from_millis(375);

/// The fault at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Cuts the link.
    Cut,
    /// Kills the service at the link.
    Kill,
}

/// A fault directly before the `nth` frame of a registration, counted from 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) link: Link,
    pub(super) direction: Direction,
    pub(super) nth: u64,
    pub(super) action: Action,
}

impl Display for Point {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { link, direction, nth, action } = self;
        let action = match action {
            Action::Cut => "link cut",
            Action::Kill => "service killed",
        };
        write!(f, "{}, {action} before {} frame {nth}", link.name(), direction.name())
    }
}

/// Counts the frames of some registrations, and returns two points for each frame.
pub(super) async fn count_points(system: &System, log: impl Fn(&str)) -> anyhow::Result<Vec<Point>> {
    let mut minima = [[u64::MAX; 2]; Link::ALL.len()];
    for n in 0..COUNTED_REGISTRATIONS {
        let frames = frames_of_registration(system, &format!("Counted {n}")).await?;
        for (minimum, frames) in minima.as_flattened_mut().iter_mut().zip(frames.as_flattened()) {
            *minimum = (*minimum).min(*frames);
        }
    }
    let mut points = Vec::new();
    for (link, frames) in Link::ALL.into_iter().zip(minima) {
        let [upstream, downstream] = frames;
        log(&format!("{}: {upstream} frames upstream, {downstream} downstream", link.name()));
        for (direction, frames) in Direction::ALL.into_iter().zip(frames) {
            let point = |nth, action| Point { link, direction, nth, action };
            points.extend((1..=frames).flat_map(|nth| [point(nth, Action::Cut), point(nth, Action::Kill)]));
        }
    }
    Ok(points)
}

/// Registers one customer, and returns the number of frames on each link in each direction.
async fn frames_of_registration(system: &System, name: &str) -> anyhow::Result<[[u64; 2]; Link::ALL.len()]> {
    reset_marketing_connection(system);
    let mut frames = frames_passed(system);
    let registered = register_at(&system.client, &system.url(Program::WebStore), name).await;
    registered.with_context(|| format!("cannot register; the log:\n{}", system.environment.log()))?;
    let state = system.wait_until_settled(name).await?;
    ensure!(state.rows == 1, "{name} did not arrive in Marketing");
    sleep(ACK_DELAY).await;
    for (before, after) in frames.as_flattened_mut().iter_mut().zip(frames_passed(system).as_flattened()) {
        *before = after - *before;
    }
    Ok(frames)
}

fn frames_passed(system: &System) -> [[u64; 2]; Link::ALL.len()] {
    Link::ALL.map(|link| Direction::ALL.map(|direction| system.proxy(link).frames_passed(direction)))
}

/// Closes Marketing's connection to its database, which it opens again on demand.
///
/// Otherwise only some registrations would find an open connection, and their frames would differ.
pub(super) fn reset_marketing_connection(system: &System) {
    let proxy = system.proxy(Link::MarketingToMysql);
    proxy.cut();
    proxy.restore();
}
