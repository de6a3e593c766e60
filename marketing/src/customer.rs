//! What Marketing takes for a customer: parsed once from a command, and trusted from then on.

mod rules;

use chrono::{DateTime, Utc};
use contracts::{CreateCustomer, UpdateCustomer};
use messaging::Rejection;
use uuid::Uuid;

use rules::{is_address, is_name, is_source, is_time};

/// Of a customer whose details never changed.
const FIRST_VERSION: u32 = 1;

/// Of a customer whose details did. Counters end somewhere, and many where this one does.
const LATER_VERSIONS: std::ops::RangeInclusive<u32> = 2..=i32::MAX.unsigned_abs();

/// A customer as Marketing keeps them: one version of them, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    id: Uuid,
    full_name: String,
    email_address: String,
    email_opt_in: bool,
    source: String,
    since: DateTime<Utc>,
    version: u32,
    changed_at: Option<DateTime<Utc>>,
}

impl Customer {
    /// Parses a command: the customer's first version.
    ///
    /// # Errors
    /// [`Rejection::RuleBroken`], with the field and its rule.
    pub fn created(command: CreateCustomer) -> Result<Self, Rejection> {
        let created = Self {
            id: command.customer_id,
            full_name: command.full_name,
            email_address: command.email_address,
            email_opt_in: command.email_opt_in,
            source: command.source,
            since: command.customer_since,
            version: FIRST_VERSION,
            changed_at: None,
        };
        created.validate()
    }

    /// Parses a command: a later version.
    ///
    /// # Errors
    /// [`Rejection::RuleBroken`], with the field and its rule.
    pub fn updated(command: UpdateCustomer) -> Result<Self, Rejection> {
        let updated = Self {
            id: command.customer_id,
            full_name: command.full_name,
            email_address: command.email_address,
            email_opt_in: command.email_opt_in,
            source: command.source,
            since: command.customer_since,
            version: command.version,
            changed_at: Some(command.changed_at),
        };
        updated.validate()
    }

    fn validate(self) -> Result<Self, Rejection> {
        let is_version = self.changed_at.is_none() || LATER_VERSIONS.contains(&self.version);
        let rules = [
            (is_name(&self.full_name), "full_name has to have 1 to 200 characters and no control characters"),
            (
                is_address(&self.email_address),
                "email_address has to have at most 254 characters and one @ inside",
            ),
            (is_source(&self.source), "source has to have 1 to 50 characters of a-z, 0-9 and -"),
            (is_time(self.since), "customer_since has to be in the years 1000 to 9999, and no leap second"),
            (is_version, "version has to be 2 to 2147483647"),
            (
                self.changed_at.is_none_or(is_time),
                "changed_at has to be in the years 1000 to 9999, and no leap second",
            ),
        ];
        match rules.into_iter().find(|(kept, _)| !kept) {
            Some((_, rule)) => Err(Rejection::RuleBroken(rule.into())),
            None => Ok(self),
        }
    }

    /// The identity that the source gave.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// 1 to 200 characters.
    #[must_use]
    pub fn full_name(&self) -> &str {
        &self.full_name
    }

    /// At most 254 characters.
    #[must_use]
    pub fn email_address(&self) -> &str {
        &self.email_address
    }

    /// Whether marketing messages may be sent there.
    #[must_use]
    pub fn email_opt_in(&self) -> bool {
        self.email_opt_in
    }

    /// The application that the customer comes from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Since when they have been a customer of the source.
    #[must_use]
    pub fn since(&self) -> DateTime<Utc> {
        self.since
    }

    /// Which state of them this is: 1, and 1 more with each change at the source.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// When it became so; `None` for the first version.
    #[must_use]
    pub fn changed_at(&self) -> Option<DateTime<Utc>> {
        self.changed_at
    }
}

#[cfg(test)]
mod tests {
    use contracts::{CreateCustomer, UpdateCustomer};
    use messaging::Rejection;

    use super::Customer;

    fn command() -> CreateCustomer {
        serde_json::from_str(include_str!("../../contracts/samples/marketing.create-customer.v1.json"))
            .unwrap()
    }

    #[test]
    fn a_command_within_the_rules_is_a_customer() {
        let customer = Customer::created(command()).unwrap();
        assert_eq!(customer.full_name(), command().full_name);
        assert_eq!(customer.id(), command().customer_id);
    }

    #[test]
    fn a_command_that_breaks_a_rule_is_rejected_by_the_fields_name() {
        type BreakIt = fn(&mut CreateCustomer);
        let broken: [(&str, BreakIt); 10] = [
            ("full_name", |c| c.full_name = " ".into()),
            ("full_name", |c| c.full_name = "x".repeat(201)),
            ("full_name", |c| c.full_name = "a\0".into()),
            ("email_address", |c| c.email_address = "nobody".into()),
            ("email_address", |c| c.email_address = "a@b@c".into()),
            ("email_address", |c| c.email_address = format!("{}@b", "x".repeat(253))),
            ("source", |c| c.source = String::new()),
            ("source", |c| c.source = "Web Store".into()),
            ("customer_since", |c| c.customer_since = "0999-12-31T00:00:00Z".parse().unwrap()),
            ("customer_since", |c| c.customer_since = "2016-12-31T23:59:60Z".parse().unwrap()),
        ];
        for (field, break_it) in broken {
            let mut command = command();
            break_it(&mut command);
            match Customer::created(command) {
                Err(Rejection::RuleBroken(rule)) => assert!(rule.starts_with(field), "{rule}"),
                other => panic!("{field}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_later_version_has_a_number_and_a_time() {
        let command = include_str!("../../contracts/samples/marketing.update-customer.v1.json");
        let command: UpdateCustomer = serde_json::from_str(command).unwrap();
        let customer = Customer::updated(command.clone()).unwrap();
        assert_eq!((customer.version(), customer.changed_at()), (2, Some(command.changed_at)));
        for version in [0, 1, u32::MAX] {
            let rejection = Customer::updated(UpdateCustomer { version, ..command.clone() }).unwrap_err();
            assert!(rejection.to_string().contains("version"), "{rejection}");
        }
        let changed_at = "0999-12-31T00:00:00Z".parse().unwrap();
        assert!(Customer::updated(UpdateCustomer { changed_at, ..command }).is_err());
    }
}
