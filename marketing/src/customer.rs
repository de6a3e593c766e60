//! What Marketing takes for a customer: parsed once from the command, and trusted from then on.

use chrono::{DateTime, Datelike, Timelike, Utc};
use contracts::CreateCustomer;
use messaging::Rejection;
use uuid::Uuid;

const NAME_CHARACTERS: usize = 200;
const EMAIL_CHARACTERS: usize = 254;
const SOURCE_BYTES: usize = 50;

/// The years that a MySQL DATETIME can hold.
const YEARS: std::ops::RangeInclusive<i32> = 1000..=9999;

/// A customer as Marketing keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    id: Uuid,
    full_name: String,
    email_address: String,
    email_opt_in: bool,
    source: String,
    since: DateTime<Utc>,
}

impl Customer {
    /// Parses a command.
    ///
    /// # Errors
    /// [`Rejection::RuleBroken`], with the field and its rule.
    pub fn parse(command: CreateCustomer) -> Result<Self, Rejection> {
        let CreateCustomer { customer_id, full_name, email_address, email_opt_in, source, customer_since } =
            command;
        let rules = [
            (is_name(&full_name), "full_name has to have 1 to 200 characters and no control characters"),
            (is_address(&email_address), "email_address has to have at most 254 characters and one @ inside"),
            (is_source(&source), "source has to have 1 to 50 characters of a-z, 0-9 and -"),
            (
                is_time(customer_since),
                "customer_since has to be in the years 1000 to 9999, and no leap second",
            ),
        ];
        match rules.into_iter().find(|(kept, _)| !kept) {
            Some((_, rule)) => Err(Rejection::RuleBroken(rule.into())),
            None => Ok(Self {
                id: customer_id,
                full_name,
                email_address,
                email_opt_in,
                source,
                since: customer_since,
            }),
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
}

fn is_name(name: &str) -> bool {
    !name.trim().is_empty() && name.chars().count() <= NAME_CHARACTERS && !name.contains(char::is_control)
}

fn is_address(address: &str) -> bool {
    let at_inside = address
        .split_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
    at_inside
        && address.chars().count() <= EMAIL_CHARACTERS
        && !address.contains(|c: char| c.is_control() || c.is_whitespace())
}

fn is_source(source: &str) -> bool {
    (1..=SOURCE_BYTES).contains(&source.len())
        && source.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// The client has 59 s and more than 1,000,000,000 ns for a leap second; MySQL has none at all.
fn is_time(time: DateTime<Utc>) -> bool {
    YEARS.contains(&time.year()) && time.nanosecond() < 1_000_000_000
}

#[cfg(test)]
mod tests {
    use contracts::CreateCustomer;
    use messaging::Rejection;

    use super::Customer;

    fn command() -> CreateCustomer {
        serde_json::from_str(include_str!("../../contracts/samples/marketing.create-customer.v1.json"))
            .unwrap()
    }

    #[test]
    fn a_command_within_the_rules_is_a_customer() {
        let customer = Customer::parse(command()).unwrap();
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
            match Customer::parse(command) {
                Err(Rejection::RuleBroken(rule)) => assert!(rule.starts_with(field), "{rule}"),
                other => panic!("{field}: {other:?}"),
            }
        }
    }
}
