//! Where one customer is, asked of both databases until it has come to rest.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep};

use super::system::System;
use system_tests::customers::email;

/// In this time everything is back and has arrived, or it is lost.
const SETTLE: Duration = Duration::from_secs(30);

/// Where one customer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// In the Web Store: 0 or 1.
    pub(super) saved: i64,
    /// In the outbox, theirs or not.
    waiting: i64,
    /// In Marketing.
    pub(super) rows: i64,
}

impl System {
    /// Waits until everything about a customer has come to rest, or until it should have.
    pub(super) async fn settled(&self, name: &str) -> Result<State> {
        let give_up = Instant::now() + SETTLE;
        let mut last = None;
        loop {
            let state = self.state(name).await?;
            let at_rest = state.rows >= state.saved && state.waiting == 0;
            // Seen twice: what was under way at the first look has come to its end by the second.
            if (at_rest && last == Some(state)) || Instant::now() > give_up {
                return Ok(state);
            }
            last = Some(state);
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn state(&self, name: &str) -> Result<State> {
        let look = "SELECT (SELECT count(*) FROM customers WHERE email = $1), (SELECT count(*) FROM outbox)";
        let (saved, waiting) =
            sqlx::query_as(look).bind(email(name)).fetch_one(&self.customers).await.context("Postgres")?;
        let look = "SELECT count(*) FROM customers WHERE email_address = ?";
        let rows = sqlx::query_scalar(look).bind(email(name)).fetch_one(&self.rows).await.context("MySQL")?;
        Ok(State { saved, waiting, rows })
    }
}
