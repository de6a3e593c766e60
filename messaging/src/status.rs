//! Status reports: each consumer publishes once a second how many messages it holds, and operators' programs
//! subscribe to the reports.
//!
//! Reconciliation needs them because the broker does not reveal which messages a consumer holds, and inspecting a
//! queue by consuming has side effects.

use std::convert::Infallible;

use contracts::{
    operations::{ConsumerStatus, OPERATIONS_STATUS, ProbeArrival, STATUS_INTERVAL, SubscriptionState},
    topology::Queue,
};
use futures_util::{FutureExt, StreamExt};
use lapin::{
    BasicProperties, Channel,
    message::Delivery,
    options::{BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::time::{Duration, MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use crate::{
    Backoff, Session, SessionError, SubscriptionControl, probe::LastProbe, session::with_reply_timeout,
    transport::MessageCounts,
};

/// The wait after a refusal. An operator may grant the permission meanwhile.
const REFUSED_DELAY: Duration = Duration::from_mins(1);

/// The maximum of reports that wait for a subscriber. The broker drops the oldest beyond it.
const MAX_WAITING_REPORTS: i32 = 10_000;

const TRANSIENT: u8 = 1;

/// Returns the status of a consumer. A message that is settled meanwhile counts as in flight.
fn consumer_status(
    counts: &MessageCounts,
    queue: &Queue,
    consumer: Uuid,
    subscription: SubscriptionState,
    probe: Option<ProbeArrival>,
) -> ConsumerStatus {
    // In this order, because `received` never falls behind `settled`.
    let settled = counts.settled();
    let received = counts.received();
    ConsumerStatus {
        queue: queue.name.to_owned(),
        consumer,
        service: queue.consumer().to_owned(),
        in_flight: received.saturating_sub(settled),
        received,
        settled,
        subscription,
        probe,
    }
}

/// Reports the messages of a consumer's session in an interval. Never returns.
///
/// It has a connection of its own: an alarm of the broker blocks a connection that publishes, together with its acks.
/// A failure does not affect the consumer. Without reports, reconciliation assumes that the consumer holds messages.
pub(crate) async fn keep_reporting(
    session: &Session,
    queue: &Queue,
    control: &SubscriptionControl,
    probe: &LastProbe,
) -> Infallible {
    let consumer = Uuid::new_v4();
    let mut backoff = Backoff::default();
    let mut logged = false;
    loop {
        let error = match report(session, queue, consumer, control, probe).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        if error.is_refusal() {
            if !logged {
                tracing::warn!(queue = queue.name, %error, "cannot report the messages in flight");
                logged = true;
            }
            sleep(REFUSED_DELAY).await;
        } else {
            sleep(backoff.next_delay()).await;
        }
    }
}

/// Reports until the connection fails.
async fn report(
    session: &Session,
    queue: &Queue,
    consumer: Uuid,
    control: &SubscriptionControl,
    probe: &LastProbe,
) -> Result<Infallible, SessionError> {
    let reports = Session::open_publisher(&session.broker, "status").await?;
    reports.declare_exchange(OPERATIONS_STATUS).await?;
    // Not in confirm mode: a lost report is replaced by the next one.
    let channel = reports.open_channel().await?;
    let mut ticks = interval(STATUS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let counts = session.transport.counts();
        let status = consumer_status(counts, queue, consumer, control.applied(), probe.get());
        // While an alarm of the broker blocks publishers, the publish waits without a timeout.
        tokio::select! {
            published = publish(&channel, queue, &status) => published?,
            () = reports.wait_closed() => return Err(SessionError::Lost),
        }
        if let Some(error) = closed(&channel) {
            return Err(error);
        }
    }
}

async fn publish(channel: &Channel, queue: &Queue, status: &ConsumerStatus) -> lapin::Result<()> {
    let body = serde_json::to_vec(status).unwrap_or_default();
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(TRANSIENT)
        .with_app_id(queue.consumer().into());
    let options = BasicPublishOptions::default();
    channel.basic_publish(OPERATIONS_STATUS.into(), queue.name.into(), options, &body, properties).await?;
    Ok(())
}

/// Returns an error if the broker has closed the channel, as it does when it refuses a publish.
fn closed(channel: &Channel) -> Option<SessionError> {
    (!channel.status().connected()).then_some(SessionError::ReportsRefused)
}

/// A subscription to the status reports of all consumers of one broker.
pub struct StatusReports {
    reports: lapin::Consumer,
    // Dropping it would close the channel.
    _channel: Channel,
}

impl Session {
    /// Subscribes to the status reports of all consumers, with an exclusive queue `<application>.status.<id>`. The
    /// broker deletes it with the session.
    ///
    /// # Errors
    /// Returns an error if the session broke, or if a permission is missing.
    pub async fn status_reports(&self, application: &str) -> Result<StatusReports, SessionError> {
        self.declare_exchange(OPERATIONS_STATUS).await?;
        let channel = self.open_channel().await?;
        let name = format!("{application}.status.{}", Uuid::new_v4());
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(MAX_WAITING_REPORTS));
        let declare = channel.queue_declare(name.as_str().into(), options, arguments);
        with_reply_timeout("declare a queue", declare).await?;
        let bind = channel.queue_bind(
            name.as_str().into(),
            OPERATIONS_STATUS.into(),
            "#".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        with_reply_timeout("bind a queue", bind).await?;
        let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..Default::default() };
        let consume = channel.basic_consume(name.as_str().into(), "".into(), options, FieldTable::default());
        let reports = with_reply_timeout("consume", consume).await?;
        Ok(StatusReports { reports, _channel: channel })
    }
}

impl StatusReports {
    /// Waits for the next report. Skips messages that are no reports.
    ///
    /// # Errors
    /// Returns [`SessionError::Lost`] if the session or the subscription ended.
    pub async fn next(&mut self) -> Result<ConsumerStatus, SessionError> {
        loop {
            let delivery = self.reports.next().await.ok_or(SessionError::Lost)??;
            if let Some(status) = parse(&delivery) {
                return Ok(status);
            }
        }
    }

    /// Returns the next report if it has already arrived.
    ///
    /// # Errors
    /// Returns [`SessionError::Lost`] if the session or the subscription ended.
    pub fn next_ready(&mut self) -> Result<Option<ConsumerStatus>, SessionError> {
        self.next().now_or_never().transpose()
    }
}

fn parse(delivery: &Delivery) -> Option<ConsumerStatus> {
    serde_json::from_slice(&delivery.data).ok()
}

#[cfg(test)]
mod tests {
    use contracts::{operations::SubscriptionState, topology::MARKETING_CREATE_CUSTOMER};
    use uuid::Uuid;

    use super::consumer_status;
    use crate::transport::MessageCounts;

    #[test]
    fn message_in_flight_is_received_and_not_settled() {
        let counts = MessageCounts::default();
        counts.set_received(5);
        counts.add_settled(2);
        counts.add_settled(1);
        let status = consumer_status(
            &counts,
            &MARKETING_CREATE_CUSTOMER,
            Uuid::nil(),
            SubscriptionState::Paused,
            None,
        );
        assert_eq!(status.subscription, SubscriptionState::Paused);
        assert_eq!((status.received, status.settled, status.in_flight), (5, 3, 2));
        assert_eq!(
            (status.queue.as_str(), status.service.as_str()),
            ("marketing.create-customer", "marketing")
        );
    }
}
