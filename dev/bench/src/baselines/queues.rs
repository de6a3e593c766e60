//! RabbitMQ alone: messages through one of our quorum queues, and through both in a row, as fast as it goes.

use std::collections::VecDeque;

use anyhow::{Context, Result};
use contracts::topology::{MARKETING_CREATE_CUSTOMER, TRANSFORMER_CUSTOMER_REGISTERED};
use contracts::{CreateCustomer, CustomerRegistered, Message};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::fake_customer::{FakeCustomer, USUAL_NAME};
use super::broker::{BATCH, Broker, next_batch, settle};

/// More than our services leave unconfirmed: the broker is to wait for nobody.
const OUTSTANDING: usize = 4 * BATCH;

/// Publishing and consuming at once; messages a second, from the first publish to the last ack.
pub(super) async fn one(url: String, messages: u32) -> Result<f64> {
    let (publisher, consumer) = (Broker::connect(&url).await?, Broker::connect(&url).await?);
    let began = Instant::now();
    each_on_its_own(vec![
        publish(publisher, messages).boxed(),
        consume(consumer, TRANSFORMER_CUSTOMER_REGISTERED.name, messages).boxed(),
    ])
    .await?;
    Ok(f64::from(messages) / began.elapsed().as_secs_f64())
}

/// Publishing, passing on and consuming at once. Both queues are empty before, and after.
pub(super) async fn two(url: String, messages: u32) -> Result<f64> {
    let (publisher, source) = (Broker::connect(&url).await?, Broker::connect(&url).await?);
    let (target, consumer) = (Broker::connect(&url).await?, Broker::connect(&url).await?);
    let began = Instant::now();
    each_on_its_own(vec![
        publish(publisher, messages).boxed(),
        pass_on(source, target, messages).boxed(),
        consume(consumer, MARKETING_CREATE_CUSTOMER.name, messages).boxed(),
    ])
    .await?;
    Ok(f64::from(messages) / began.elapsed().as_secs_f64())
}

/// Each as a task, so that they use all CPUs. The first error ends them all.
async fn each_on_its_own(parties: Vec<BoxFuture<'static, Result<()>>>) -> Result<()> {
    let mut tasks: JoinSet<_> = parties.into_iter().collect();
    while let Some(ended) = tasks.join_next().await {
        ended.context("a client's task")??;
    }
    Ok(())
}

async fn publish(broker: Broker, messages: u32) -> Result<()> {
    let body = FakeCustomer::new(1, USUAL_NAME).event().to_json();
    let (mut pending, mut left) = (VecDeque::with_capacity(OUTSTANDING), messages as usize);
    while left > 0 {
        let batch = BATCH.min(left);
        let sent = broker.publish::<CustomerRegistered>(&vec![body.as_bytes(); batch]).await?;
        pending.extend(sent.into_iter().map(|confirm| (confirm, ())));
        settle(&mut pending, OUTSTANDING - BATCH).await?;
        left -= batch;
    }
    settle(&mut pending, 0).await?;
    Ok(())
}

async fn consume(broker: Broker, queue: &'static str, messages: u32) -> Result<()> {
    let mut deliveries = broker.consume(queue).await?;
    let mut consumed = 0;
    while consumed < messages {
        let batch = next_batch(&mut deliveries).await?;
        consumed += u32::try_from(batch.len())?;
        broker.ack(batch[batch.len() - 1].delivery_tag).await?;
    }
    Ok(())
}

/// Acks what is confirmed. While confirms are on their way, the next batch is passed on.
async fn pass_on(source: Broker, target: Broker, messages: u32) -> Result<()> {
    let mut events = source.consume(TRANSFORMER_CUSTOMER_REGISTERED.name).await?;
    let (mut pending, mut passed_on) = (VecDeque::with_capacity(2 * BATCH), 0);
    while passed_on < messages {
        let batch = next_batch(&mut events).await?;
        let bodies: Vec<_> = batch.iter().map(|delivery| &delivery.data[..]).collect();
        let sent = target.publish::<CreateCustomer>(&bodies).await?;
        passed_on += u32::try_from(batch.len())?;
        pending.extend(sent.into_iter().zip(batch.iter().map(|delivery| delivery.delivery_tag)));
        let outstanding = if passed_on < messages { BATCH } else { 0 };
        if let Some(delivery_tag) = settle(&mut pending, outstanding).await? {
            source.ack(delivery_tag).await?;
        }
    }
    Ok(())
}
