//! The poison messages of a fault run: messages of every kind of the fuzzer, among the load.

use std::{
    collections::HashSet,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use contracts::topology::{MARKETING_COMMANDS, QUEUES, WEB_STORE_EVENTS};
use futures_util::future::join_all;
use system_tests::TestEnvironment;

use crate::fuzz::{Account, FuzzMessage, KINDS, Publisher, Report, connect, find_number_in, number_of};

/// Connections that publish simultaneously. RabbitMQ needs seconds for thousands of tables in each other.
const PUBLISHERS: usize = 8;

const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// All poison messages of a run, and their dead letters.
pub(crate) struct PoisonMessages {
    seed: u64,
    /// The number of the next message.
    next: AtomicU64,
    account: Mutex<Account>,
}

impl PoisonMessages {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, next: AtomicU64::new(0), account: Mutex::default() }
    }

    /// Publishes one message of each kind at the events exchange, and one at the commands exchange. If the broker
    /// is unavailable, the remaining messages are not published.
    pub(crate) async fn publish(&self, environment: &TestEnvironment) {
        let number = || self.next.fetch_add(1, Ordering::Relaxed);
        let generate = |kind, exchange| FuzzMessage::generate_at(exchange, self.seed, number(), kind);
        let exchanges = [WEB_STORE_EVENTS, MARKETING_COMMANDS];
        let messages: Vec<_> =
            KINDS.iter().flat_map(|kind| exchanges.map(|exchange| generate(kind.name, exchange))).collect();
        let messages = Mutex::new(messages.into_iter());
        join_all((0..PUBLISHERS).map(async |_| {
            let mut publisher = Publisher::new(environment, REPLY_TIMEOUT);
            loop {
                let next = messages.lock().expect("no thread panics while it holds this lock").next();
                let Some(message) = next else { return };
                let Ok(outcome) = publisher.publish(&message).await else { return };
                self.account().note_sent(message, outcome);
            }
        }))
        .await;
    }

    /// Takes all dead letters from their queues, and notes those that are not a bad message.
    ///
    /// Returns the ids of the bad messages among the dead letters.
    ///
    /// # Errors
    /// Returns an error if the broker is unavailable.
    pub(crate) async fn take_dead_letters(
        &self,
        environment: &TestEnvironment,
        bad_message_header: &str,
        bad_messages: &HashSet<String>,
    ) -> anyhow::Result<HashSet<String>> {
        let mut found = HashSet::new();
        let mut connection = connect(environment).await?;
        for queue in QUEUES {
            while let Some(letter) = connection.get(&queue.dead_letter_queue()).await? {
                // Marketing rejects the commands of bad messages that the transformer has accepted. Such a command
                // identifies the bad message as its cause.
                let headers = [bad_message_header, "causation-id"];
                let mut ids = headers.iter().filter_map(|name| letter.properties.header(name));
                let id = ids.find_map(|id| bad_messages.get(str::from_utf8(id).ok()?));
                match id {
                    Some(id) => {
                        found.insert(id.clone());
                    }
                    None => self.account().note_dead_letter(queue.name, &letter, find_number_in(&letter)),
                }
            }
        }
        Ok(found)
    }

    /// Compares the poison messages with the dead letters so far and the ids of Marketing's rows.
    pub(crate) fn report(&self, rows: &HashSet<String>) -> Report {
        self.account().report_bad(&rows.iter().filter_map(|id| number_of(id)).collect())
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().expect("no thread panics while it holds this lock")
    }
}
