//! The versions of a customer, and the one builder of events.

use chrono::{DateTime, SubsecRound, Utc};
use contracts::{CustomerDetailsChanged, CustomerRegistered, Message};
use uuid::Uuid;

use crate::{
    customer::{Customer, Email, Name},
    outbox::OutboxEvent,
};

/// The start of version numbers: 2020-01-01T00:00:00Z, in seconds since 1970. The numbers fit into 31 bits until 2088.
const VERSION_EPOCH: i64 = 1_577_836_800;

/// Returns the number of a version that is created at this time, if the previous version has a lower one.
pub(crate) fn clock_number(time: DateTime<Utc>) -> i32 {
    i32::try_from((time.timestamp() - VERSION_EPOCH).max(0)).unwrap_or(i32::MAX)
}

/// Returns the number of a version that is created at this time, after a version with the number `previous`.
pub(crate) fn number_above(previous: i32, time: DateTime<Utc>) -> i32 {
    previous.saturating_add(1).max(clock_number(time))
}

/// One version of a customer: the registration or a later change.
#[derive(Debug, Clone)]
pub struct CustomerVersion {
    /// All details of the customer in this version.
    pub customer: Customer,
    /// The registration is version 1. Each change has a higher number: the seconds since 2020, or the number after the
    /// previous one if that is higher. After a restore of the database, a change therefore has a higher number than
    /// the changes that were lost.
    pub number: i32,
    /// When the change was accepted, in whole microseconds. `None` for the registration.
    pub changed_at: Option<DateTime<Utc>>,
}

/// The details that a customer can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetailsUpdate {
    /// The new name.
    pub name: Name,
    /// Whether the customer agrees to receive marketing messages.
    pub marketing_consent: bool,
}

impl CustomerVersion {
    /// Returns the first version of a customer.
    #[must_use]
    pub fn first(customer: Customer) -> Self {
        Self { customer, number: 1, changed_at: None }
    }

    /// Returns the next version, changed now, or `None` if the update changes nothing.
    #[must_use]
    pub fn next(&self, update: &DetailsUpdate) -> Option<Self> {
        let DetailsUpdate { name, marketing_consent } = update;
        if self.customer.name == *name && self.customer.marketing_consent == *marketing_consent {
            return None;
        }
        let customer =
            Customer { name: name.clone(), marketing_consent: *marketing_consent, ..self.customer.clone() };
        Some(Self { customer, ..self.above(self.number) })
    }

    /// Returns the same details as a later version, changed now, whose number is higher than `number` and than that of
    /// this version.
    #[must_use]
    pub(crate) fn above(&self, number: i32) -> Self {
        let now = Utc::now();
        let number = number_above(self.number.max(number), now);
        Self { customer: self.customer.clone(), number, changed_at: Some(now.trunc_subsecs(6)) }
    }

    /// Builds the event for this version. Type, time, and body depend on the version only, so republishing
    /// yields the same event.
    #[must_use]
    pub fn event(&self, message_id: Uuid, traceparent: String) -> OutboxEvent {
        let (message_type, occurred_at, body) = match self.changed_at {
            None => {
                (CustomerRegistered::TYPE, self.customer.registered_at, self.customer_registered().to_json())
            }
            Some(changed_at) => {
                (CustomerDetailsChanged::TYPE, changed_at, self.details_changed(changed_at).to_json())
            }
        };
        OutboxEvent { message_id, message_type, traceparent, occurred_at, body }
    }

    fn customer_registered(&self) -> CustomerRegistered {
        let customer = &self.customer;
        CustomerRegistered {
            customer_id: customer.id,
            name: customer.name.as_str().to_owned(),
            email: customer.email.as_str().to_owned(),
            marketing_consent: customer.marketing_consent,
            registered_at: customer.registered_at,
        }
    }

    fn details_changed(&self, changed_at: DateTime<Utc>) -> CustomerDetailsChanged {
        let customer = &self.customer;
        CustomerDetailsChanged {
            customer_id: customer.id,
            version: self.number.unsigned_abs(),
            name: customer.name.as_str().to_owned(),
            email: customer.email.as_str().to_owned(),
            marketing_consent: customer.marketing_consent,
            registered_at: customer.registered_at,
            changed_at,
        }
    }
}

/// A version as the database stores it, with the message id of its event.
#[derive(Debug)]
pub(crate) struct StoredVersion {
    pub(crate) customer_id: Uuid,
    pub(crate) version: i32,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) marketing_consent: bool,
    pub(crate) registered_at: DateTime<Utc>,
    pub(crate) changed_at: Option<DateTime<Utc>>,
    pub(crate) message_id: Uuid,
}

impl From<StoredVersion> for CustomerVersion {
    fn from(stored: StoredVersion) -> Self {
        let customer = Customer {
            id: stored.customer_id,
            name: Name::from_stored(stored.name),
            email: Email::from_stored(stored.email),
            marketing_consent: stored.marketing_consent,
            registered_at: stored.registered_at,
        };
        Self { customer, number: stored.version, changed_at: stored.changed_at }
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use contracts::{CustomerDetailsChanged, CustomerRegistered, Message};
    use uuid::Uuid;

    use super::{CustomerVersion, DetailsUpdate, clock_number};
    use crate::customer::{Customer, Email, Name};

    fn registered() -> CustomerVersion {
        let (name, email) = (Name::parse("Ann").unwrap(), Email::parse("ann@example.org").unwrap());
        CustomerVersion::first(Customer::new(name, email, false))
    }

    #[test]
    fn event_of_a_version_is_always_the_same() {
        let update = DetailsUpdate { name: Name::parse("Bea").unwrap(), marketing_consent: true };
        let first = registered();
        let second = first.next(&update).unwrap();
        for (version, message_type) in
            [(first, CustomerRegistered::TYPE), (second, CustomerDetailsChanged::TYPE)]
        {
            let events = [(); 2].map(|()| version.event(Uuid::nil(), String::new()));
            assert_eq!(events[0], events[1]);
            assert_eq!(events[0].message_type, message_type);
        }
    }

    #[test]
    fn update_without_a_change_has_no_next_version() {
        let version = registered();
        let same = DetailsUpdate { name: version.customer.name.clone(), marketing_consent: false };
        assert!(version.next(&same).is_none());
        assert!(version.next(&DetailsUpdate { marketing_consent: true, ..same }).unwrap().number > 1);
    }

    #[test]
    fn number_of_next_version_follows_clock_and_previous_version() {
        let update =
            |consent| DetailsUpdate { name: Name::parse("Ann").unwrap(), marketing_consent: consent };
        let before = clock_number(Utc::now());
        let second = registered().next(&update(true)).unwrap();
        assert!((before..=clock_number(Utc::now())).contains(&second.number));
        let ahead = CustomerVersion { number: second.number + 1000, ..second };
        assert_eq!(ahead.next(&update(false)).unwrap().number, ahead.number + 1);
        assert_eq!(ahead.above(ahead.number + 7).number, ahead.number + 8);
        let details = (ahead.customer.name.clone(), ahead.customer.marketing_consent);
        let above = ahead.above(1).customer;
        assert_eq!((above.name, above.marketing_consent), details);
    }

    #[test]
    fn version_numbers_fit_until_2088() {
        let number = |time: &str| clock_number(time.parse().unwrap());
        assert_eq!(number("2020-01-01T00:01:00Z"), 60);
        assert_eq!(number("1999-01-01T00:00:00Z"), 0);
        assert_eq!(number("2088-01-19T03:14:06Z"), i32::MAX - 1);
        assert_eq!(number("2100-01-01T00:00:00Z"), i32::MAX);
    }
}
