//! The selection of events, from the command line or from standard input.

use std::io::{self, BufRead, IsTerminal};

use anyhow::{Context, anyhow, bail, ensure};
use chrono::{DateTime, Utc};
use clap::Args;
use uuid::Uuid;

/// Customers or a period. Without either, ids are read from standard input.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selection")]
pub(crate) struct Arguments {
    /// Publishes the registration and every details change of these customers
    #[arg(long, value_name = "ID", num_args = 1.., value_parser = parse_customer_id)]
    customer: Vec<Uuid>,

    /// Publishes the events of all customers from this time on: RFC 3339, such as 2026-01-31T09:30:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "customer")]
    since: Option<DateTime<Utc>>,

    /// Publishes the events of all customers before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "customer")]
    until: Option<DateTime<Utc>>,
}

/// The events to publish again.
#[derive(Debug)]
pub(super) enum Selection {
    /// All events of these customers. The ids are sorted and unique.
    Customers(Vec<Uuid>),
    /// The events from `since` on and before `until`. `None` is no limit.
    Period { since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>> },
}

impl Arguments {
    /// Returns the selection. All ids are read first, so after a malformed id nothing is half done.
    ///
    /// # Errors
    /// Returns an error if an id is malformed, the period is empty, or nothing is selected.
    pub(super) fn selection(self) -> anyhow::Result<Selection> {
        let Self { customer, since, until } = self;
        if let (Some(since), Some(until)) = (since, until) {
            ensure!(since < until, "--since has to be before --until");
        }
        if since.is_some() || until.is_some() {
            return Ok(Selection::Period { since, until });
        }
        let mut ids = if customer.is_empty() { read_ids_from_stdin()? } else { customer };
        ids.sort_unstable();
        ids.dedup();
        Ok(Selection::Customers(ids))
    }
}

fn read_ids_from_stdin() -> anyhow::Result<Vec<Uuid>> {
    let input = io::stdin().lock();
    if input.is_terminal() {
        bail!("select events: --customer ID, --since TIME, --until TIME, or ids on standard input");
    }
    let mut ids = Vec::new();
    for (n, line) in (1..).zip(input.lines()) {
        let line = line.with_context(|| format!("line {n} of standard input; nothing was written"))?;
        if !line.trim().is_empty() {
            let id = parse_customer_id(line.trim());
            ids.push(id.map_err(|error| anyhow!("line {n}: {error}; nothing was written"))?);
        }
    }
    Ok(ids)
}

fn parse_customer_id(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| format!("`{text}` is not a customer's id, which is a UUID"))
}

fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    text.parse().map_err(|_| format!("`{text}` is not a time like 2026-01-31T09:30:00Z"))
}
