//! The bodies of the messages, from their parser to the effect of their consumers.
//!
//! - A body that matches the published schema, without fractions, is parsed. A parsed body has a stable text.
//! - A parsed message is processed, or it breaks a rule. No other rejection occurs behind the parser.
//! - The command that a flow makes of a valid event is valid, and Marketing accepts it unless the name is unreadable.
//! - A command that Marketing accepts is valid when it is written again.
//! - An operator who opens a body in the editor and sends it without a change sends the same message.

use chrono::Utc;
use console::dead_letters::{compact, readable};
use contracts::{EraseCustomer, Message, ReplayCustomers};
use marketing::subscriptions::SUBSCRIPTIONS;
use messaging::{Envelope, Incoming, Outgoing, Rejection};
use serde_json::Value;
use transformer::flows::FLOWS;
use uuid::Uuid;
use web_store::{check_erase_request, check_replay_request};

use crate::schema;

pub(crate) fn check<M: Message>(body: &[u8]) {
    let parsed = parse::<M>(body);
    // A repeated field has its last value in a schema, and is an error for the services.
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let valid = value.filter(|value| schema::is_valid::<M>(value) && !has_fraction(value));
    if let Some(valid) = &valid {
        assert!(parse::<M>(valid.to_string().as_bytes()).is_ok(), "valid, but unreadable: {valid}");
    }
    let Ok(message) = parsed else { return };
    let text = message.to_json();
    assert_eq!(parse::<M>(text.as_bytes()).map(|again| again.to_json()).as_ref(), Ok(&text));

    let shown = readable(body).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let edited = parse::<M>(&compact(shown.as_bytes()));
    assert_eq!(edited.map(|edited| edited.to_json()).as_ref(), Ok(&text));

    match consume(M::TYPE, &incoming::<M>(text.as_bytes()), valid.is_some()) {
        Ok(()) => {}
        Err(Rejection::RuleBroken(rule)) => {
            let is_explained = rule.starts_with("full_name") || M::TYPE == ReplayCustomers::TYPE;
            assert!(valid.is_none() || is_explained, "valid, but rejected: {rule}: {text}");
        }
        Err(rejection) => panic!("{rejection}: {text}"),
    }
}

/// Returns whether a number is written with a fraction or an exponent. A schema allows `2.0` as an integer, and the
/// services do not.
fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(values) => values.iter().any(has_fraction),
        Value::Object(fields) => fields.values().any(has_fraction),
        _ => false,
    }
}

/// Passes a message through its consumers without an effect, from the transformer to Marketing.
///
/// # Errors
/// Returns the [`Rejection`] of the first consumer that would dead-letter it.
fn consume(message_type: &str, message: &Incoming, valid: bool) -> Result<(), Rejection> {
    if let Some(flow) = FLOWS.iter().find(|flow| flow.event_type == message_type) {
        let Some(command) = (flow.forward)(message)? else { return Ok(()) };
        if valid {
            schema::assert_valid(flow.command_type, &command.body);
        }
        return consume(flow.command_type, &Incoming::from_outgoing(&command), valid);
    }
    if let Some(subscription) = SUBSCRIPTIONS.iter().find(|one| one.queue.routing_key == message_type) {
        (subscription.parse)(message)?;
        schema::assert_valid(message_type, message.body());
        return Ok(());
    }
    match message_type {
        ReplayCustomers::TYPE => check_replay_request(message),
        EraseCustomer::TYPE => check_erase_request(message),
        _ => Ok(()),
    }
}

fn parse<M: Message>(body: &[u8]) -> Result<M, Rejection> {
    incoming::<M>(body).parse()
}

/// Returns a message as its consumer receives it.
fn incoming<M: Message>(body: &[u8]) -> Incoming {
    let message_id = Uuid::from_u128(1);
    let envelope = Envelope {
        message_id,
        message_type: M::TYPE.into(),
        correlation_id: message_id.to_string(),
        causation_id: None,
        traceparent: String::new(),
        timestamp: Utc::now(),
        app_id: "fuzz",
        is_replay: false,
    };
    Incoming::from_outgoing(&Outgoing { exchange: M::EXCHANGE, envelope, body: body.to_owned() })
}
