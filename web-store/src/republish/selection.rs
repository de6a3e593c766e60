//! Whose events to send again: what the command line or standard input says.

use std::io::{self, BufRead, IsTerminal};

use anyhow::{Context, anyhow, bail, ensure};
use chrono::{DateTime, Utc};
use clap::Args;
use uuid::Uuid;

/// Some customers, a period, or nothing: then it is standard input's turn.
#[derive(Debug, Args)]
pub struct Arguments {
    /// These customers: their registration and every change of their details
    #[arg(long, value_name = "ID", num_args = 1.., value_parser = customer_id)]
    customer: Vec<Uuid>,

    /// What happened then or later, whoever's it was: RFC 3339, such as 2026-01-31T09:30:00Z
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "customer")]
    since: Option<DateTime<Utc>>,

    /// What happened before that
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "customer")]
    until: Option<DateTime<Utc>>,
}

/// Whose events to send again.
#[derive(Debug)]
pub(super) enum Selection {
    /// In order, each once.
    Customers(Vec<Uuid>),
    /// From `since` on and before `until`, each as far as it is given.
    Period { since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>> },
}

impl Arguments {
    /// All ids are read before anything is done, so a malformed one leaves nothing half done.
    pub(super) fn selection(self) -> anyhow::Result<Selection> {
        let Self { customer, since, until } = self;
        if let (Some(since), Some(until)) = (since, until) {
            ensure!(since < until, "--since has to be before --until");
        }
        if since.is_some() || until.is_some() {
            return Ok(Selection::Period { since, until });
        }
        let mut ids = if customer.is_empty() { from_standard_input()? } else { customer };
        ids.sort_unstable();
        ids.dedup();
        Ok(Selection::Customers(ids))
    }
}

fn from_standard_input() -> anyhow::Result<Vec<Uuid>> {
    let input = io::stdin().lock();
    if input.is_terminal() {
        bail!(
            "say whose events to send again: --customer ID, --since TIME, --until TIME, or ids on standard input"
        );
    }
    let mut ids = Vec::new();
    for (n, line) in (1..).zip(input.lines()) {
        let line = line.with_context(|| format!("line {n} of standard input; nothing was written"))?;
        if !line.trim().is_empty() {
            let id = customer_id(line.trim());
            ids.push(id.map_err(|error| anyhow!("line {n}: {error}; nothing was written"))?);
        }
    }
    Ok(ids)
}

fn customer_id(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| format!("`{text}` is not a customer's id, which is a UUID"))
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    text.parse().map_err(|_| format!("`{text}` is not a time like 2026-01-31T09:30:00Z"))
}
