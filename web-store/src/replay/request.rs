//! Accepts requests: from the command `ReplayCustomers` to a row of the table `replays`.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use contracts::{
    CustomerDetailsChanged, CustomerErased, CustomerRegistered, MAX_REPLAYED_CUSTOMERS, Message,
    ReplayCustomers, ReplayedCustomer,
    topology::{WEB_STORE_REPLAY_CUSTOMERS, WEB_STORE_REPLAYS},
};
use messaging::{
    BrokerUrl, ConnectionStatus, Consumer, Handler, Incoming, Outcome, Rejection, Session,
    SubscriptionControl, Unavailable,
};
use telemetry::create_span;
use tokio_util::sync::CancellationToken;

use super::{
    Replayer,
    page::EventFilter,
    table::{self, KnownCustomer, ReplayRequest},
};
use crate::{
    postgres::{DatabaseUrl, Pool},
    version::clock_number,
};

/// The limit for storing one request.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// A version that a subscriber has is at most this much above the clock. A higher one would use up the numbers of later
/// changes.
const VERSION_TOLERANCE: TimeDelta = TimeDelta::days(1);

/// The reason why a request can never succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum RequestError {
    #[error("queue must have 1 to 255 visible ASCII characters")]
    Queue,
    #[error("event_types must not be empty; without it, registrations and changes are sent")]
    NoTypes,
    #[error(
        "event_types has an unknown type; the types are {}, {}, and {}",
        CustomerRegistered::TYPE,
        CustomerDetailsChanged::TYPE,
        CustomerErased::TYPE
    )]
    UnknownType,
    #[error("since must be before until")]
    EmptyPeriod,
    #[error("a period and customers cannot be combined; send two requests")]
    PeriodAndCustomers,
    #[error("customers must have 1 to {MAX_REPLAYED_CUSTOMERS} entries")]
    CustomerCount,
    #[error("the version of a customer must be at least 1, and not in the future")]
    Version,
}

impl From<RequestError> for Rejection {
    fn from(error: RequestError) -> Self {
        Self::RuleBroken(error.to_string())
    }
}

/// Runs one session that stores requests, until shutdown or until the first error.
///
/// # Errors
/// Returns an error if the broker fails. It then delivers unsettled requests again.
pub(crate) async fn session(
    database: &DatabaseUrl,
    broker: &BrokerUrl,
    replayer: &Replayer,
    status: &ConnectionStatus,
    control: &SubscriptionControl,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let session = Session::open(broker, "web-store replay requests").await?;
    let queue = &WEB_STORE_REPLAY_CUSTOMERS;
    let consumer = Consumer::start(&session, queue, status, control, &replayer.metrics).await?;
    // One connection, which opens with the first request.
    let connections = Pool::new(database.clone(), 1, QUERY_TIMEOUT, "");
    consumer.run(&mut StoreRequests { connections, replayer }, shutdown).await?;
    session.close().await;
    Ok(())
}

struct StoreRequests<'a> {
    connections: Pool,
    replayer: &'a Replayer,
}

impl Handler for StoreRequests<'_> {
    async fn handle(&mut self, batch: &[Incoming]) -> Result<Vec<Outcome>, Unavailable> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for message in batch {
            outcomes.push(match ReplayRequest::parse(message) {
                Ok(request) => self.store(&request).await.map(Ok)?,
                Err(rejection) => Err(rejection),
            });
        }
        self.replayer.wake.notify_one();
        Ok(outcomes)
    }
}

impl StoreRequests<'_> {
    async fn store(&self, request: &ReplayRequest) -> Result<(), Unavailable> {
        let insert = async |connection: &mut _| table::insert(connection, request).await;
        let is_new = self.connections.run(insert).await.map_err(Unavailable::from_error)?;
        if is_new {
            tracing::info!(replay = %request.id, queue = request.queue, "accepted a replay");
        }
        Ok(())
    }
}

/// Returns the reason why a command `ReplayCustomers` can never succeed.
///
/// # Errors
/// Returns the [`Rejection`] with which the Web Store would dead-letter the command.
pub fn check_replay_request(message: &Incoming) -> Result<(), Rejection> {
    ReplayRequest::parse(message).map(drop)
}

impl ReplayRequest {
    fn parse(message: &Incoming) -> Result<Self, Rejection> {
        let id = message.message_id()?;
        let ReplayCustomers { queue, event_types, since, until, customers } = message.parse()?;
        if !(1..=255).contains(&queue.len()) || !queue.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(RequestError::Queue.into());
        }
        let filter = EventFilter::new(event_types.as_deref(), since, until)?;
        if customers.is_some() && (since.is_some() || until.is_some()) {
            return Err(RequestError::PeriodAndCustomers.into());
        }
        let customers = customers.map(|customers| known_customers(&customers, Utc::now())).transpose()?;
        Ok(Self {
            id,
            queue,
            filter,
            customers,
            reply_to: text("reply_to", message.reply_to())?,
            correlation_id: text("correlation_id", message.correlation_id())?
                .unwrap_or_else(|| id.to_string()),
            traceparent: create_span(message.traceparent().as_deref(), WEB_STORE_REPLAYS),
        })
    }
}

/// Returns a property of the envelope. Postgres cannot store a null character.
fn text(property: &str, value: Option<&str>) -> Result<Option<String>, Rejection> {
    match value {
        Some(value) if value.contains('\0') => {
            Err(Rejection::BadEnvelope(format!("{property} must not contain a null character")))
        }
        value => Ok(value.filter(|value| !value.is_empty()).map(str::to_owned)),
    }
}

/// Returns the customers in the order of their ids, each once, with the highest version.
fn known_customers(
    customers: &[ReplayedCustomer],
    now: DateTime<Utc>,
) -> Result<Vec<KnownCustomer>, RequestError> {
    if !(1..=MAX_REPLAYED_CUSTOMERS).contains(&customers.len()) {
        return Err(RequestError::CustomerCount);
    }
    let highest = clock_number(now + VERSION_TOLERANCE);
    let known = |customer: &ReplayedCustomer| {
        let version = match customer.version {
            None => 0,
            Some(version) => i32::try_from(version)
                .ok()
                .filter(|version| (1..=highest).contains(version))
                .ok_or(RequestError::Version)?,
        };
        Ok(KnownCustomer { id: customer.customer_id, version })
    };
    let mut customers = customers.iter().map(known).collect::<Result<Vec<_>, _>>()?;
    customers.sort_by_key(|customer| (customer.id, -customer.version));
    customers.dedup_by_key(|customer| customer.id);
    Ok(customers)
}

impl EventFilter {
    fn new(
        event_types: Option<&[String]>,
        since: Option<DateTime<Utc>>,
        until: Option<DateTime<Utc>>,
    ) -> Result<Self, RequestError> {
        if since.zip(until).is_some_and(|(since, until)| since >= until) {
            return Err(RequestError::EmptyPeriod);
        }
        let Some(types) = event_types else {
            // Subscribers of the first revision expect no other type.
            let (with_registrations, with_changes, with_erasures) = (true, true, false);
            return Ok(Self { with_registrations, with_changes, with_erasures, since, until });
        };
        let known = [CustomerRegistered::TYPE, CustomerDetailsChanged::TYPE, CustomerErased::TYPE];
        if types.is_empty() {
            return Err(RequestError::NoTypes);
        }
        if !types.iter().all(|one| known.contains(&one.as_str())) {
            return Err(RequestError::UnknownType);
        }
        let [with_registrations, with_changes, with_erasures] =
            known.map(|known| types.iter().any(|one| one == known));
        Ok(Self { with_registrations, with_changes, with_erasures, since, until })
    }
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, Utc};
    use contracts::{CustomerDetailsChanged, CustomerErased, CustomerRegistered, Message, ReplayedCustomer};
    use uuid::Uuid;

    use super::{EventFilter, KnownCustomer, RequestError, known_customers};
    use crate::version::clock_number;

    #[test]
    fn event_types_select_and_unknown_type_is_rejected() {
        let filter = |types: &[&str]| {
            let types: Vec<_> = types.iter().map(ToString::to_string).collect();
            EventFilter::new(Some(&types), None, None)
                .map(|filter| (filter.with_registrations, filter.with_changes, filter.with_erasures))
        };
        assert_eq!(filter(&[CustomerRegistered::TYPE]), Ok((true, false, false)));
        let twice = [CustomerDetailsChanged::TYPE, CustomerDetailsChanged::TYPE];
        assert_eq!(filter(&twice), Ok((false, true, false)));
        assert_eq!(filter(&[CustomerErased::TYPE]), Ok((false, false, true)));
        assert!(!EventFilter::new(None, None, None).unwrap().with_erasures);
        assert_eq!(filter(&[]), Err(RequestError::NoTypes));
        assert_eq!(filter(&[CustomerRegistered::TYPE, "web-store.x.v1"]), Err(RequestError::UnknownType));
    }

    #[test]
    fn period_includes_since_and_excludes_until() {
        let since = Utc::now();
        let until = since + TimeDelta::seconds(1);
        let filter = EventFilter::new(None, Some(since), Some(until)).unwrap();
        let microsecond = TimeDelta::microseconds(1);
        for (time, is_selected) in
            [(since - microsecond, false), (since, true), (until - microsecond, true), (until, false)]
        {
            assert_eq!(filter.has_registration_at(time), is_selected);
            assert_eq!(filter.has_change_at(time), is_selected);
        }
        assert_eq!(EventFilter::new(None, Some(since), Some(since)), Err(RequestError::EmptyPeriod));
    }

    #[test]
    fn known_customers_are_unique_and_versions_are_not_in_future() {
        let now = Utc::now();
        let [one, two] = [Uuid::from_u128(1), Uuid::from_u128(2)];
        let customer = |customer_id, version| ReplayedCustomer { customer_id, version };
        let known =
            known_customers(&[customer(two, None), customer(one, Some(2)), customer(one, Some(5))], now);
        let expected = [KnownCustomer { id: one, version: 5 }, KnownCustomer { id: two, version: 0 }];
        assert_eq!(known.unwrap(), expected);
        assert_eq!(known_customers(&[], now), Err(RequestError::CustomerCount));
        assert_eq!(known_customers(&vec![customer(one, None); 1001], now), Err(RequestError::CustomerCount));
        let highest = clock_number(now + TimeDelta::days(1)).unsigned_abs();
        assert!(known_customers(&[customer(one, Some(highest))], now).is_ok());
        for version in [0, highest + 1, u32::MAX] {
            assert_eq!(known_customers(&[customer(one, Some(version))], now), Err(RequestError::Version));
        }
    }
}
