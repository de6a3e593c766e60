//! Delivers every message twice for a while.

use std::time::Duration;

use contracts::topology::Queue;
use futures_util::StreamExt;
use lapin::{
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions,
    },
    types::FieldTable,
};
use system_tests::TestEnvironment;
use tokio::time::{Instant, timeout_at};

use crate::{
    bad_messages::connect,
    system::{REGISTRATION_QUEUES, queue_of},
};

/// Sends a copy of every message that passes an exchange directly into the consumer's queue.
///
/// A temporary queue with the same bindings receives the messages. Ends after `duration`.
pub(crate) async fn deliver_twice(environment: &TestEnvironment, duration: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + duration;
    let (_connection, channel) = connect(environment).await?;
    let exclusive = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
    let temporary = channel.queue_declare("".into(), exclusive, FieldTable::default()).await?.name().clone();
    for Queue { exchange, routing_key, .. } in REGISTRATION_QUEUES {
        let options = QueueBindOptions::default();
        let arguments = FieldTable::default();
        channel
            .queue_bind(temporary.clone(), exchange.into(), routing_key.into(), options, arguments)
            .await?;
    }
    let options = BasicConsumeOptions::default();
    let mut deliveries = channel.basic_consume(temporary, "".into(), options, FieldTable::default()).await?;
    while let Ok(Some(delivery)) = timeout_at(end, deliveries.next()).await {
        let delivery = delivery?;
        let queue = queue_of(delivery.exchange.as_str()).name;
        let options = BasicPublishOptions::default();
        let properties = delivery.properties.clone();
        channel.basic_publish("".into(), queue.into(), options, &delivery.data, properties).await?;
        channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default()).await?;
    }
    Ok(())
}
