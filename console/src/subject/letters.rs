//! The dead letters and the kept letters of a person.

use contracts::topology::ERASURE_QUEUES;
use dead_letters::{
    inventory::{self, FoundLetter},
    letter::Letter,
};
use messaging::Incoming;
use readers::{connections::Brokers, marketing::Marketing, web_store::WebStore};
use reconciliation::DeadLetter;
use serde_json::Value;
use uuid::Uuid;

use super::Subject;

/// The letters of a person, each with its message.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    /// Dead letters and kept letters that name a customer of the person, or contain an address.
    pub(crate) own: Vec<FoundLetter>,
    /// Dead letters that request the erasure of a customer. They contain no name and no address, and stay.
    pub(crate) erasures: Vec<Letter>,
}

/// Finds the letters of a person in all queues, and adds the customers to the person that only letters name.
///
/// # Errors
/// Returns an error if a server cannot be read.
pub(crate) async fn find_letters(
    brokers: &Brokers,
    subject: &mut Subject,
    web_store: &mut WebStore,
    marketing: &mut Marketing,
) -> anyhow::Result<Letters> {
    let letters = read(brokers, subject).await?;
    let customer = |found: &FoundLetter| {
        let customer = DeadLetter::of(&found.message)?.customer;
        (!subject.customers.contains(&customer)).then_some(customer)
    };
    let found: Vec<Uuid> = letters.own.iter().filter_map(customer).collect();
    let known = subject.customers.len();
    subject.add(found, web_store, marketing).await?;
    // Other letters may name a customer that was found in a letter.
    if subject.customers.len() > known { read(brokers, subject).await } else { Ok(letters) }
}

async fn read(brokers: &Brokers, subject: &Subject) -> anyhow::Result<Letters> {
    let mut letters = Letters::default();
    for place in inventory::all_letters(brokers) {
        let visit = |letter: Letter, message: &Incoming| {
            let is_mentioned = is_mentioned(subject, message);
            let is_erasure = ERASURE_QUEUES.iter().any(|queue| queue.name == letter.queue);
            let is_named = is_named(subject, message);
            if is_mentioned || (is_named && !is_erasure) {
                letters.own.push(FoundLetter::of(&place, letter, message));
            } else if is_named {
                letters.erasures.push(letter);
            }
        };
        place.visit(visit).await?;
    }
    Ok(letters)
}

/// Returns whether a message names a customer of the person, or is a message of one of the versions.
fn is_named(subject: &Subject, message: &Incoming) -> bool {
    let is_customer = |customer| subject.customers.contains(&customer);
    let is_message = |id| subject.messages.contains(&id);
    DeadLetter::of(message).is_some_and(|letter| is_customer(letter.customer))
        || message.message_id().is_ok_and(is_message)
}

/// Returns whether the body, a header, or a property contains an address of the person.
fn is_mentioned(subject: &Subject, message: &Incoming) -> bool {
    let in_head = [message.headers_as_json(), message.properties_as_json()];
    let is_in_body = match serde_json::from_slice(message.body()) {
        Ok(body) => is_in_json(subject, &body),
        Err(_) => subject.is_mentioned_in(&String::from_utf8_lossy(message.body())),
    };
    is_in_body || in_head.iter().any(|head| is_in_json(subject, head))
}

fn is_in_json(subject: &Subject, value: &Value) -> bool {
    match value {
        Value::String(text) => subject.is_mentioned_in(text),
        Value::Array(values) => values.iter().any(|value| is_in_json(subject, value)),
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| subject.is_mentioned_in(name) || is_in_json(subject, value))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use messaging::MessageCopy;
    use uuid::Uuid;

    use super::{Subject, is_mentioned, is_named};

    fn subject(customer: Uuid) -> Subject {
        let addresses = ["ann@example.org".to_owned()].into();
        Subject { customers: [customer].into(), addresses, ..Subject::default() }
    }

    #[test]
    fn letter_is_found_by_id_in_body_and_by_address_anywhere() {
        let customer = Uuid::now_v7();
        let subject = subject(customer);
        let message = |body: &str| MessageCopy::new(body.as_bytes().to_vec());
        let by_id = message(&format!(r#"{{"customer_id":"{customer}"}}"#)).received();
        assert!(is_named(&subject, &by_id) && !is_mentioned(&subject, &by_id));
        for letter in [
            message(r#"{"a":[{"b":"ANN\u0040example.org"}]}"#),
            message("no JSON, ann@example.org"),
            message("{}").with_header("rejection-reason", "Duplicate entry 'ann@example.org'"),
        ] {
            assert!(is_mentioned(&subject, &letter.received()));
        }
        let other = message(r#"{"email":"joann@example.org"}"#).received();
        assert!(!is_mentioned(&subject, &other) && !is_named(&subject, &other));
    }
}
