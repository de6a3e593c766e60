//! A customer in Marketing: parsed once from a command, then valid everywhere.

use std::ops::RangeInclusive;

use chrono::{DateTime, Datelike, Timelike, Utc};
use contracts::{CreateCustomer, ForgetCustomer, UpdateCustomer};
use messaging::Rejection;
use uuid::Uuid;

use crate::name;

/// Version of a customer whose details never changed.
const FIRST_VERSION: u32 = 1;

/// Versions after a change. The contract ends at the largest signed 32-bit number.
const LATER_VERSIONS: RangeInclusive<u32> = 2..=i32::MAX.unsigned_abs();

/// Version of a forgotten customer: the largest number of the column, above every version of the contracts. The
/// statement that keeps the higher version therefore keeps a forgotten customer, in whatever order commands arrive.
pub const FORGOTTEN_VERSION: u32 = u32::MAX;

const MAX_EMAIL_CHARACTERS: usize = 254;
const MAX_SOURCE_BYTES: usize = 50;
const SOURCE_RULE: &str = "source must have 1 to 50 characters of a-z, 0-9 and -";

/// Years of a MySQL DATETIME.
pub(crate) const YEARS: RangeInclusive<i32> = 1000..=9999;

/// One complete version of a customer.
///
/// A forgotten customer is the last version: without a name, without an address, and without consent. The table keeps it
/// as a row that no list shows.
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

/// The details of a customer, without its identity and version.
#[derive(Debug, Clone)]
pub(crate) struct Details {
    pub(crate) full_name: String,
    pub(crate) email_address: String,
    pub(crate) email_opt_in: bool,
    pub(crate) source: String,
    pub(crate) since: DateTime<Utc>,
}

impl Customer {
    /// Returns the first version of a customer with details that need no validation.
    pub(crate) fn from_details(id: Uuid, details: Details) -> Self {
        let Details { full_name, email_address, email_opt_in, source, since } = details;
        let version = FIRST_VERSION;
        Self { id, full_name, email_address, email_opt_in, source, since, version, changed_at: None }
    }

    /// Returns the next version of this customer, with the same details.
    pub(crate) fn next_version(&self) -> Self {
        Self { version: self.version + 1, changed_at: Some(self.since), ..self.clone() }
    }

    /// Returns the first version of a customer.
    ///
    /// # Errors
    /// Returns [`Rejection::RuleBroken`] with the field and its rule if a field is invalid.
    pub fn created(command: CreateCustomer) -> Result<Self, Rejection> {
        let created = Self {
            id: command.customer_id,
            full_name: name::normalize(command.full_name),
            email_address: command.email_address,
            email_opt_in: command.email_opt_in,
            source: command.source,
            since: command.customer_since,
            version: FIRST_VERSION,
            changed_at: None,
        };
        created.validate()
    }

    /// Returns a later version of a customer.
    ///
    /// # Errors
    /// Returns [`Rejection::RuleBroken`] with the field and its rule if a field is invalid.
    pub fn updated(command: UpdateCustomer) -> Result<Self, Rejection> {
        let updated = Self {
            id: command.customer_id,
            full_name: name::normalize(command.full_name),
            email_address: command.email_address,
            email_opt_in: command.email_opt_in,
            source: command.source,
            since: command.customer_since,
            version: command.version,
            changed_at: Some(command.changed_at),
        };
        updated.validate()
    }

    /// Returns the last version of a customer, which has no details.
    ///
    /// # Errors
    /// Returns [`Rejection::RuleBroken`] with the field and its rule if a field is invalid.
    pub fn forgotten(command: ForgetCustomer) -> Result<Self, Rejection> {
        let ForgetCustomer { customer_id, source, erased_at } = command;
        let rules = [
            (is_source(&source), SOURCE_RULE),
            (is_time(erased_at), "erased_at must be in the years 1000 to 9999, and no leap second"),
        ];
        first_broken(&rules)?;
        Ok(Self {
            id: customer_id,
            full_name: String::new(),
            email_address: String::new(),
            email_opt_in: false,
            source,
            // The column cannot be empty, and the time of the registration is not kept.
            since: erased_at,
            version: FORGOTTEN_VERSION,
            changed_at: Some(erased_at),
        })
    }

    /// Verifies the rules of the contracts, which the columns of the table can hold, and that the name can be
    /// read.
    fn validate(self) -> Result<Self, Rejection> {
        let is_version = self.changed_at.is_none() || LATER_VERSIONS.contains(&self.version);
        let rules = [
            (
                name::fits(&self.full_name),
                "full_name must have 1 to 200 characters and no control characters",
            ),
            (name::is_visible(&self.full_name), "full_name must have a visible character"),
            (
                name::closes_directions(&self.full_name),
                "full_name must close each change of the text direction",
            ),
            (
                is_email(&self.email_address),
                "email_address must have at most 254 characters and one @ inside",
            ),
            (is_source(&self.source), SOURCE_RULE),
            (is_time(self.since), "customer_since must be in the years 1000 to 9999, and no leap second"),
            (is_version, "version must be 2 to 2147483647"),
            (
                self.changed_at.is_none_or(is_time),
                "changed_at must be in the years 1000 to 9999, and no leap second",
            ),
        ];
        first_broken(&rules)?;
        Ok(self)
    }

    /// Returns the id that the source assigned.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Returns the name: 1 to 200 characters, in Unicode's form NFC.
    #[must_use]
    pub fn full_name(&self) -> &str {
        &self.full_name
    }

    /// Returns the e-mail address: at most 254 characters.
    #[must_use]
    pub fn email_address(&self) -> &str {
        &self.email_address
    }

    /// Returns whether the customer accepts marketing e-mail.
    #[must_use]
    pub fn email_opt_in(&self) -> bool {
        self.email_opt_in
    }

    /// Returns the application that registered the customer.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the time of the registration at the source.
    #[must_use]
    pub fn since(&self) -> DateTime<Utc> {
        self.since
    }

    /// Returns the version: 1 at first, and 1 more after each change at the source.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Returns the time of the change that made this version, or `None` for the first version.
    #[must_use]
    pub fn changed_at(&self) -> Option<DateTime<Utc>> {
        self.changed_at
    }
}

/// Returns the rejection of the first rule that does not hold.
fn first_broken(rules: &[(bool, &'static str)]) -> Result<(), Rejection> {
    match rules.iter().find(|(valid, _)| !valid) {
        Some((_, rule)) => Err(Rejection::RuleBroken((*rule).into())),
        None => Ok(()),
    }
}

fn is_email(address: &str) -> bool {
    let has_inner_at = address
        .split_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
    has_inner_at
        && address.chars().count() <= MAX_EMAIL_CHARACTERS
        && !address.contains(|c: char| c.is_control() || c.is_whitespace())
}

fn is_source(source: &str) -> bool {
    (1..=MAX_SOURCE_BYTES).contains(&source.len())
        && source.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// In a leap second, chrono counts more than 1,000,000,000 ns. MySQL has no leap seconds.
fn is_time(time: DateTime<Utc>) -> bool {
    YEARS.contains(&time.year()) && time.nanosecond() < 1_000_000_000
}

#[cfg(test)]
mod tests {
    use contracts::{CreateCustomer, ForgetCustomer, UpdateCustomer};
    use messaging::Rejection;

    use super::Customer;

    fn command() -> CreateCustomer {
        serde_json::from_str(include_str!("../../contracts/samples/marketing.create-customer.v1.json"))
            .unwrap()
    }

    #[test]
    fn valid_command_gives_customer() {
        let customer = Customer::created(command()).unwrap();
        assert_eq!(customer.full_name(), command().full_name);
        assert_eq!(customer.id(), command().customer_id);
    }

    #[test]
    fn name_is_normalized() {
        let decomposed = CreateCustomer { full_name: "Zoe\u{308}".into(), ..command() };
        assert_eq!(Customer::created(decomposed).unwrap().full_name(), "Zo\u{eb}");
    }

    #[test]
    fn rejection_names_invalid_field() {
        type BreakIt = fn(&mut CreateCustomer);
        let broken: [(&str, BreakIt); 12] = [
            ("full_name", |c| c.full_name = "\u{200b}\u{200b}".into()),
            ("full_name", |c| c.full_name = "abc\u{202e}def".into()),
            ("full_name", |c| c.full_name = " ".into()),
            ("full_name", |c| c.full_name = "x".repeat(201)),
            ("full_name", |c| c.full_name = "a\0".into()),
            ("email_address", |c| c.email_address = "ann".into()),
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
    fn forgotten_customer_has_highest_version_and_no_details() {
        let command = include_str!("../../contracts/samples/marketing.forget-customer.v1.json");
        let command: ForgetCustomer = serde_json::from_str(command).unwrap();
        let forgotten = Customer::forgotten(command.clone()).unwrap();
        assert_eq!((forgotten.id(), forgotten.source()), (command.customer_id, "web-store"));
        assert_eq!(
            (forgotten.full_name(), forgotten.email_address(), forgotten.email_opt_in()),
            ("", "", false)
        );
        assert_eq!((forgotten.since(), forgotten.changed_at()), (command.erased_at, Some(command.erased_at)));
        assert!(forgotten.version() > *super::LATER_VERSIONS.end());
        let source = "Web Store".to_owned();
        assert!(Customer::forgotten(ForgetCustomer { source, ..command.clone() }).is_err());
        let erased_at = "0999-12-31T00:00:00Z".parse().unwrap();
        assert!(Customer::forgotten(ForgetCustomer { erased_at, ..command }).is_err());
    }

    #[test]
    fn later_version_has_number_and_time() {
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
