//! Replays: sends events again into one queue, at the request of its subscriber.
//!
//! [`request`] consumes the command `ReplayCustomers`, and stores each request as a row of the table `replays`. The
//! [`replayer`] works on these rows, one [`page`] of customers after another. A page is published and confirmed before
//! the commit that moves the row's position. So a crash of this process repeats at most one page, and several instances
//! share the replays by the locks of their rows.
//!
//! A replay reads the tables and not the outbox. It has lower priority than new events:
//!
//! - It pauses while the relay has a full batch waiting.
//! - It adds nothing to a queue with more than [`MAX_READY_MESSAGES`](replayer::MAX_READY_MESSAGES).

mod page;
mod replayer;
mod request;
mod table;

pub(crate) use replayer::Replayer;
pub use request::check_replay_request;
pub(crate) use request::session as accept_requests;
