//! The golden samples: every message on the wire, byte for byte.

use std::fmt::Debug;

use chrono::{DateTime, Utc};
use contracts::{CreateCustomer, CustomerRegistered, Message};
use serde_json::{Value, json};

fn customer_registered() -> CustomerRegistered {
    CustomerRegistered {
        customer_id: "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71".parse().unwrap(),
        name: "Zoë Ó Dálaigh 王".into(),
        email: "zoe@example.org".into(),
        marketing_consent: true,
        registered_at: time(),
    }
}

fn create_customer() -> CreateCustomer {
    CreateCustomer {
        customer_id: "01938c5e-7b1a-7c3e-9f00-5d2a8e4b6c71".parse().unwrap(),
        full_name: "Zoë Ó Dálaigh 王".into(),
        email_address: "zoe@example.org".into(),
        email_opt_in: true,
        source: "web-store".into(),
        customer_since: time(),
    }
}

fn time() -> DateTime<Utc> {
    "2026-01-02T03:04:05.0006Z".parse().unwrap()
}

#[test]
fn customer_registered_is_written_and_read_as_its_sample() {
    let sample = include_str!("../samples/web-store.customer-registered.v1.json");
    assert_written_and_read_as(sample, &customer_registered());
}

#[test]
fn create_customer_is_written_and_read_as_its_sample() {
    let sample = include_str!("../samples/marketing.create-customer.v1.json");
    assert_written_and_read_as(sample, &create_customer());
}

#[test]
fn a_field_that_the_reader_does_not_know_is_ignored() {
    let mut body: Value = serde_json::to_value(customer_registered()).unwrap();
    body["loyalty_tier"] = json!({"name": "gold"});
    let read: CustomerRegistered = serde_json::from_value(body).unwrap();
    assert_eq!(read, customer_registered());
}

#[test]
fn a_missing_field_is_refused_by_name() {
    let mut body: Value = serde_json::to_value(create_customer()).unwrap();
    body.as_object_mut().unwrap().remove("email_address");
    let error = serde_json::from_value::<CreateCustomer>(body).unwrap_err();
    assert!(error.to_string().contains("email_address"), "{error}");
}

#[test]
fn a_time_with_another_offset_is_the_same_instant() {
    let mut body: Value = serde_json::to_value(create_customer()).unwrap();
    body["customer_since"] = json!("2026-01-02T05:04:05.0006+02:00");
    let read: CreateCustomer = serde_json::from_value(body).unwrap();
    assert_eq!(read, create_customer());
}

fn assert_written_and_read_as<M: Message + PartialEq + Debug>(sample: &str, message: &M) {
    assert_eq!(serde_json::to_string(message).unwrap(), sample.trim_end());
    assert_eq!(serde_json::from_str::<M>(sample).unwrap(), *message);
}
