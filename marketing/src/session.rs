//! Marketing's session: consume commands, commit, then ack.

use messaging::{BrokerUrl, ConnectionStatus, Consumer, Session};
use sqlx::mysql::MySqlConnectOptions;
use tokio_util::sync::CancellationToken;

use crate::{command::Command, handler::SaveCustomers, schema, store::Store};

/// One session of a command: until shutdown, or until the broker's connection breaks.
///
/// The database comes first: while it is away nothing is taken from the queue.
///
/// # Errors
/// The database is away at the start, or the broker broke. What was not acknowledged will come again.
pub async fn session(
    command: &Command,
    database: &MySqlConnectOptions,
    broker: &BrokerUrl,
    link: &ConnectionStatus,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    schema::check(database).await?;
    let session = Session::open(broker, "marketing").await?;
    let consumer = Consumer::start(&session, &command.queue).await?;
    link.up();
    let mut handler = SaveCustomers { parse: command.parse, store: Store::new(database.clone()) };
    consumer.run(&mut handler, shutdown).await?;
    session.close().await;
    Ok(())
}
