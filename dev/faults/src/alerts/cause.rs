//! The causes of alerts, and the alerts that each of them must and may raise.

use std::time::Duration;

use anyhow::Context;
use contracts::{
    CreateCustomer, Message,
    topology::{MARKETING_CREATE_CUSTOMER, Queue},
};
use sqlx::{Connection, Executor, PgConnection};
use stack::service::Program;
use system_tests::broker_client::{open_channel, properties, publish};
use tokio::time::{Instant, sleep};

use crate::{link::Link, system::System};

/// A cause, which holds until it is lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    MarketingEnded,
    SilentBroker,
    SilentPostgres,
    SilentMysql,
    MissingBinding,
    DeadLetter,
    LostRows,
    UnreadableTables,
}

/// The customers that come late raise these, after some minutes.
const OBJECTIVE: [&str; 2] = ["ObjectiveBurnsFast", "ObjectiveBurnsSlowly"];

impl Cause {
    pub(super) const ALL: [Self; 8] = [
        Self::DeadLetter,
        Self::UnreadableTables,
        Self::MarketingEnded,
        Self::SilentBroker,
        Self::SilentPostgres,
        Self::MissingBinding,
        Self::SilentMysql,
        Self::LostRows,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::MarketingEnded => "Marketing ended",
            Self::SilentBroker => "silent broker: web-store",
            Self::SilentPostgres => "silent PostgreSQL",
            Self::SilentMysql => "silent MySQL",
            Self::MissingBinding => "missing binding of marketing.create-customer",
            Self::DeadLetter => "dead letter",
            Self::LostRows => "rows deleted in Marketing",
            Self::UnreadableTables => "tables that the console cannot read",
        }
    }

    /// Returns the alerts that must fire while the cause holds.
    pub(super) fn expected(self) -> &'static [&'static str] {
        match self {
            Self::MarketingEnded => &["QueueWithoutConsumer", "ServiceDown"],
            Self::SilentBroker => &["ConnectionDown", "OutboxWaits", "ProbesLate"],
            Self::SilentPostgres => {
                &["ConnectionDown", "ProbesLate", "RegistrationsFail", "WebStoreDatabaseDown"]
            }
            Self::SilentMysql => {
                &["MessagesHeld", "ObjectiveBurnsFast", "ObjectiveBurnsSlowly", "ProbesLate"]
            }
            Self::MissingBinding => &["EventsRefused", "MessagesHeld", "ProbesLate"],
            Self::DeadLetter => &["DeadLetters"],
            Self::LostRows => &["CustomersLost"],
            Self::UnreadableTables => &["WatchFails"],
        }
    }

    /// Returns the alerts that may fire too: they depend on the load and on the moment.
    pub(super) fn possible(self) -> Vec<&'static str> {
        let more: &[_] = match self {
            // The console requests again what it cannot see arriving.
            Self::MissingBinding | Self::MarketingEnded => &["CustomersLost"],
            _ => &[],
        };
        OBJECTIVE.iter().chain(more).copied().filter(|alert| !self.expected().contains(alert)).collect()
    }

    /// Begins the cause, and holds it for `duration`, but only until `is_complete`.
    pub(super) async fn hold(
        self,
        system: &System,
        duration: Duration,
        is_complete: impl AsyncFn() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        self.begin(system).await?;
        let end = Instant::now() + duration;
        while Instant::now() < end && !is_complete().await? {
            if self == Self::MissingBinding {
                // Marketing binds its queue again.
                let Queue { name, exchange, .. } = MARKETING_CREATE_CUSTOMER;
                let key = MARKETING_CREATE_CUSTOMER.binding_key();
                system.environment.management().unbind(name, exchange, &key).await?;
            }
            sleep(Duration::from_millis(500)).await;
        }
        self.lift(system).await
    }

    /// Returns the link whose server accepts connections and never replies.
    fn silent_link(self) -> Option<Link> {
        match self {
            Self::SilentBroker => Some(Link::WebStoreToBroker),
            Self::SilentPostgres => Some(Link::WebStoreToPostgres),
            Self::SilentMysql => Some(Link::MarketingToMysql),
            _ => None,
        }
    }

    async fn begin(self, system: &System) -> anyhow::Result<()> {
        if let Some(link) = self.silent_link() {
            system.proxy(link).silence();
        }
        match self {
            Self::MarketingEnded => system.service(Program::Marketing).await.kill().await,
            Self::MissingBinding | Self::SilentBroker | Self::SilentPostgres | Self::SilentMysql => Ok(()),
            Self::DeadLetter => {
                let (_connection, channel) = open_channel(&system.environment).await?;
                let (exchange, key) = (CreateCustomer::EXCHANGE, CreateCustomer::TYPE);
                publish(&channel, exchange, key, properties(key), b"{}").await.map(drop)
            }
            Self::LostRows => {
                let delete = "DELETE FROM customers ORDER BY received_at LIMIT 20";
                sqlx::query(delete).execute(&system.marketing_database).await?;
                Ok(())
            }
            Self::UnreadableTables => owner(system, "REVOKE SELECT ON customers FROM console").await,
        }
    }

    async fn lift(self, system: &System) -> anyhow::Result<()> {
        if let Some(link) = self.silent_link() {
            system.proxy(link).restore();
        }
        match self {
            Self::MarketingEnded => {
                let mut service = system.service(Program::Marketing).await;
                system.restart(&mut service, Program::Marketing)
            }
            Self::MissingBinding
            | Self::LostRows
            | Self::SilentBroker
            | Self::SilentPostgres
            | Self::SilentMysql => Ok(()),
            Self::DeadLetter => {
                let queue = MARKETING_CREATE_CUSTOMER.dead_letter_queue();
                system.environment.management().purge(&queue).await
            }
            Self::UnreadableTables => owner(system, "GRANT SELECT ON customers TO console").await,
        }
    }
}

async fn owner(system: &System, statement: &'static str) -> anyhow::Result<()> {
    let url = system.environment.connection_urls().web_store_database_url("web_store_owner");
    let mut owner = PgConnection::connect(&url).await.context("cannot connect as the owner")?;
    owner.execute(statement).await?;
    Ok(())
}
