//! Registrations, as a form and as JSON, from the request to Marketing's customer.
//!
//! - Parsed fields parse to the same fields, in both formats.
//! - The event of an accepted registration and its command are valid.
//! - Marketing accepts every registered customer, with the same details.

use contracts::{
    CreateCustomer, CustomerRegistered, Message,
    topology::{MARKETING_CREATE_CUSTOMER, WEB_STORE_EVENTS},
};
use marketing::subscriptions::SUBSCRIPTIONS;
use messaging::Incoming;
use serde_json::json;
use transformer::flows::FLOWS;
use uuid::Uuid;
use web_store::{RegistrationForm, customer::Customer, version::CustomerVersion};

use crate::schema;

pub(crate) fn check_form(body: &[u8]) {
    if let Ok(form) = RegistrationForm::from_urlencoded(body) {
        check(&form);
    }
}

pub(crate) fn check_json(body: &[u8]) {
    if let Ok(form) = RegistrationForm::from_json(body) {
        check(&form);
    }
}

fn check(form: &RegistrationForm) {
    let Ok(customer) = form.parse_customer() else { return };
    for again in [form_of(&customer), json_of(&customer)] {
        let again = again.parse_customer().expect("a parsed field is valid");
        assert_eq!(details(&again), details(&customer));
    }

    let event = CustomerVersion::first(customer.clone()).event(Uuid::from_u128(1), String::new());
    schema::assert_valid(CustomerRegistered::TYPE, event.body.as_bytes());
    let event = Incoming::from_outgoing(&event.into_message(WEB_STORE_EVENTS, false));
    let flow = FLOWS.iter().find(|flow| flow.event_type == CustomerRegistered::TYPE);
    let command = (flow.expect("the event has a flow").forward)(&event);
    let command = command.expect("the event is processed").expect("the event requires a command");
    schema::assert_valid(CreateCustomer::TYPE, &command.body);
    let subscription = SUBSCRIPTIONS.iter().find(|one| one.queue.name == MARKETING_CREATE_CUSTOMER.name);
    let parse = subscription.expect("the command has a subscription").parse;
    let received = parse(&Incoming::from_outgoing(&command)).expect("Marketing accepts the customer");
    assert_eq!((received.id(), received.since()), (customer.id, customer.registered_at));
    let received = (received.full_name(), received.email_address(), received.email_opt_in());
    assert_eq!(received, details(&customer));
}

fn details(customer: &Customer) -> (&str, &str, bool) {
    (customer.name.as_str(), customer.email.as_str(), customer.marketing_consent)
}

fn form_of(customer: &Customer) -> RegistrationForm {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("name", customer.name.as_str()).append_pair("email", customer.email.as_str());
    if customer.marketing_consent {
        form.append_pair("marketing_consent", "on");
    }
    RegistrationForm::from_urlencoded(form.finish().as_bytes()).expect("the form is well-formed")
}

fn json_of(customer: &Customer) -> RegistrationForm {
    let (name, email, consent) = details(customer);
    let body = json!({"name": name, "email": email, "marketing_consent": consent});
    RegistrationForm::from_json(body.to_string().as_bytes()).expect("the body is well-formed")
}
