//! RabbitMQ alone: messages through one quorum queue, and through both in sequence, at maximum rate.

use std::collections::VecDeque;

use anyhow::Context;
use contracts::{
    CreateCustomer, CustomerRegistered, Message,
    topology::{MARKETING_CREATE_CUSTOMER, TRANSFORMER_CUSTOMER_REGISTERED},
};
use futures_util::{FutureExt, future::BoxFuture};
use tokio::{task::JoinSet, time::Instant};

use super::broker::{BATCH, BrokerClient, await_confirms, next_batch};
use crate::fake_customer::{FakeCustomer, USUAL_NAME};

/// More unconfirmed messages than the services allow, so that the broker never waits for a publisher.
const MAX_UNCONFIRMED: usize = 4 * BATCH;

/// Returns the messages per second through one queue, from the first publish to the last ack.
pub(super) async fn one_queue_rate(url: String, messages: u32) -> anyhow::Result<f64> {
    let publisher = BrokerClient::connect(&url).await?;
    let consumer = BrokerClient::connect(&url).await?;
    let began = Instant::now();
    run_in_parallel(vec![
        publish(publisher, messages).boxed(),
        consume(consumer, TRANSFORMER_CUSTOMER_REGISTERED.name, messages).boxed(),
    ])
    .await?;
    Ok(f64::from(messages) / began.elapsed().as_secs_f64())
}

/// Returns the messages per second through both queues. Both are empty before and after.
pub(super) async fn two_queues_rate(url: String, messages: u32) -> anyhow::Result<f64> {
    let publisher = BrokerClient::connect(&url).await?;
    let source = BrokerClient::connect(&url).await?;
    let target = BrokerClient::connect(&url).await?;
    let consumer = BrokerClient::connect(&url).await?;
    let began = Instant::now();
    run_in_parallel(vec![
        publish(publisher, messages).boxed(),
        forward(source, target, messages).boxed(),
        consume(consumer, MARKETING_CREATE_CUSTOMER.name, messages).boxed(),
    ])
    .await?;
    Ok(f64::from(messages) / began.elapsed().as_secs_f64())
}

/// Runs each client as a task, so that they use all CPUs. The first error ends all of them.
async fn run_in_parallel(clients: Vec<BoxFuture<'static, anyhow::Result<()>>>) -> anyhow::Result<()> {
    let mut tasks: JoinSet<_> = clients.into_iter().collect();
    while let Some(outcome) = tasks.join_next().await {
        outcome.context("a client's task panicked")??;
    }
    Ok(())
}

async fn publish(broker: BrokerClient, messages: u32) -> anyhow::Result<()> {
    let body = FakeCustomer::new(1, USUAL_NAME).event().to_json();
    let mut pending = VecDeque::with_capacity(MAX_UNCONFIRMED);
    let mut remaining = messages as usize;
    while remaining > 0 {
        let batch = BATCH.min(remaining);
        let confirms = broker.publish::<CustomerRegistered>(&vec![body.as_bytes(); batch]).await?;
        pending.extend(confirms.into_iter().map(|confirm| (confirm, ())));
        await_confirms(&mut pending, MAX_UNCONFIRMED - BATCH).await?;
        remaining -= batch;
    }
    await_confirms(&mut pending, 0).await?;
    Ok(())
}

async fn consume(broker: BrokerClient, queue: &'static str, messages: u32) -> anyhow::Result<()> {
    let mut deliveries = broker.consume(queue).await?;
    let mut consumed = 0;
    while consumed < messages {
        let batch = next_batch(&mut deliveries).await?;
        consumed += u32::try_from(batch.len())?;
        broker.ack_up_to(batch[batch.len() - 1].delivery_tag).await?;
    }
    Ok(())
}

/// Forwards messages from the first queue to the second, and acks each after its confirm.
///
/// While the confirms of a batch are outstanding, the next batch is forwarded.
async fn forward(source: BrokerClient, target: BrokerClient, messages: u32) -> anyhow::Result<()> {
    let mut events = source.consume(TRANSFORMER_CUSTOMER_REGISTERED.name).await?;
    let mut pending = VecDeque::with_capacity(2 * BATCH);
    let mut forwarded = 0;
    while forwarded < messages {
        let batch = next_batch(&mut events).await?;
        let bodies: Vec<_> = batch.iter().map(|delivery| &delivery.data[..]).collect();
        let confirms = target.publish::<CreateCustomer>(&bodies).await?;
        forwarded += u32::try_from(batch.len())?;
        pending.extend(confirms.into_iter().zip(batch.iter().map(|delivery| delivery.delivery_tag)));
        let outstanding = if forwarded < messages { BATCH } else { 0 };
        if let Some(delivery_tag) = await_confirms(&mut pending, outstanding).await? {
            source.ack_up_to(delivery_tag).await?;
        }
    }
    Ok(())
}
