//! The directions of a link, and how bytes pass in a direction.

use std::time::Duration;

/// The direction of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the service to the server.
    Upstream,
    /// From the server to the service.
    Downstream,
}

impl Direction {
    /// Both directions.
    pub const ALL: [Self; 2] = [Self::Upstream, Self::Downstream];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Downstream => "downstream",
        }
    }
}

/// How bytes pass in one direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Traffic {
    /// Without a delay.
    Open,
    /// Not at all, although the connection stays open. A link that is frozen in one direction is half open.
    Frozen,
    /// Each piece after this delay.
    Delayed(Duration),
    /// At this rate, in bytes per second.
    Throttled(u32),
}
