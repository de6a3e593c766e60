//! A fault run in progress: the system under load, and everything that faults affect.

use std::sync::{Mutex, MutexGuard};

use chrono::{DateTime, NaiveDateTime};
use stack::console::Console;

use crate::{
    bad_messages::BadMessage, load::Load, locked_servers::LockedServers, poison::PoisonMessages,
    system::System,
};

/// A system under load, and everything that faults affect.
pub(crate) struct FaultRun {
    pub(crate) system: System,
    pub(crate) servers: LockedServers,
    pub(crate) load: Load,
    bad_messages: Mutex<Vec<BadMessage>>,
    pub(crate) poison: PoisonMessages,
    /// The process that repairs losses of messages, if the run has one.
    pub(crate) console: Option<Console>,
    /// All customers who were registered until this time have had a row. Known only with a console.
    pub(crate) checked_until: tokio::sync::Mutex<NaiveDateTime>,
}

impl FaultRun {
    pub(crate) fn new(
        system: System,
        servers: LockedServers,
        load: Load,
        seed: u64,
        console: Option<Console>,
    ) -> Self {
        Self {
            system,
            servers,
            load,
            bad_messages: Mutex::default(),
            poison: PoisonMessages::new(seed),
            console,
            checked_until: DateTime::UNIX_EPOCH.naive_utc().into(),
        }
    }

    /// Locks the list of all bad messages so far.
    pub(crate) fn bad_messages(&self) -> MutexGuard<'_, Vec<BadMessage>> {
        self.bad_messages.lock().expect("no thread panics while it holds this lock")
    }
}
