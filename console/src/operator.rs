//! The operator, who is named in the journal.

use std::env;

use anyhow::Context;
use clap::Args;
use dead_letters::journal::{Event, Journal};
use readers::connections::Brokers;
use uuid::Uuid;

#[derive(Debug, Args)]
pub(crate) struct Operator {
    /// Name for the journal [default: the name of the user]
    #[arg(long = "operator", env = "CONSOLE_OPERATOR", value_name = "NAME")]
    name: Option<String>,
}

impl Operator {
    /// Returns the name.
    ///
    /// # Errors
    /// Returns an error if there is none.
    pub(crate) fn name(&self) -> anyhow::Result<String> {
        let user = || env::var("USER").or_else(|_| env::var("LOGNAME")).ok();
        let name = self.name.clone().or_else(user).filter(|name| !name.is_empty());
        name.context("the journal needs a name; set --operator")
    }

    /// Writes to the journal that the operator sees personal data. Call it before the data is printed.
    ///
    /// # Errors
    /// Returns an error if the operator has no name, or if the journal cannot be written.
    pub(crate) async fn note_unmasked(&self, brokers: &Brokers, event: Event) -> anyhow::Result<()> {
        let mut journal = Journal::open(brokers.source(), &self.name()?).await?;
        journal.append(Uuid::now_v7(), event).await
    }
}
