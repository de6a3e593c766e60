//! A customer in one of their versions, and the event that tells of it.

use chrono::{DateTime, SubsecRound, Utc};
use contracts::{CustomerDetailsChanged, CustomerRegistered, Message};
use uuid::Uuid;

use crate::customer::{Customer, Email, Name};

/// A customer as they were registered, or as they are since a change.
#[derive(Debug, Clone)]
pub struct Version {
    /// The customer: all of them, whatever was changed.
    pub customer: Customer,
    /// 1 is the registration, each change adds 1.
    pub number: i32,
    /// When the change was accepted, in whole microseconds; `None` for the registration.
    pub changed_at: Option<DateTime<Utc>>,
}

/// What tells of a version, apart from its envelope.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) message_type: &'static str,
    pub(crate) occurred_at: DateTime<Utc>,
    pub(crate) body: String,
}

impl Version {
    /// The next version, as of now; `None` where nothing would change.
    #[must_use]
    pub fn next(&self, name: &Name, marketing_consent: bool) -> Option<Self> {
        if self.customer.name == *name && self.customer.marketing_consent == marketing_consent {
            return None;
        }
        let customer = Customer { name: name.clone(), marketing_consent, ..self.customer.clone() };
        Some(Self { customer, number: self.number + 1, changed_at: Some(Utc::now().trunc_subsecs(6)) })
    }

    /// The fact that is to be told: the same for the same version, whenever it is told.
    pub(crate) fn event(&self) -> Event {
        let customer = &self.customer;
        match self.changed_at {
            None => Event {
                message_type: CustomerRegistered::TYPE,
                occurred_at: customer.registered_at,
                body: customer.registered().to_json(),
            },
            Some(changed_at) => Event {
                message_type: CustomerDetailsChanged::TYPE,
                occurred_at: changed_at,
                body: self.details_changed(changed_at).to_json(),
            },
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

/// A version as the database has it, with the message id of its event.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) customer_id: Uuid,
    pub(crate) version: i32,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) marketing_consent: bool,
    pub(crate) registered_at: DateTime<Utc>,
    pub(crate) changed_at: Option<DateTime<Utc>>,
    pub(crate) message_id: Uuid,
}

impl From<Row> for Version {
    fn from(row: Row) -> Self {
        let customer = Customer {
            id: row.customer_id,
            name: Name::stored(row.name),
            email: Email::stored(row.email),
            marketing_consent: row.marketing_consent,
            registered_at: row.registered_at,
        };
        Self { customer, number: row.version, changed_at: row.changed_at }
    }
}
