//! The documents for other teams, made from the contracts: JSON Schemas, AsyncAPI, a page, samples.
//!
//! They are committed. `cargo run -p contracts --example documents` makes them anew.

mod asyncapi;
mod contract;
mod page;

use serde_json::Value;

use crate::{CreateCustomer, CustomerDetailsChanged, CustomerRegistered, UpdateCustomer, envelope};
pub use contract::Contract;

/// A file that is made from the contracts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Where it belongs, within this crate's directory.
    pub path: String,
    /// All that is in it.
    pub text: String,
}

/// All contracts, in the order of the documents. A new message gets its line here.
#[must_use]
pub fn contracts() -> Vec<Contract> {
    vec![
        Contract::of::<CustomerRegistered>(),
        Contract::of::<CustomerDetailsChanged>(),
        Contract::of::<CreateCustomer>(),
        Contract::of::<UpdateCustomer>(),
    ]
}

/// What is kept when it is released, by name: the schema of every message, and the envelope's.
#[must_use]
pub fn schemas() -> Vec<(String, Value)> {
    let messages =
        contracts().into_iter().map(|contract| (contract.message_type.to_owned(), contract.schema));
    messages.chain([("envelope.v1".to_owned(), contract::schema::<envelope::Properties>())]).collect()
}

/// Every document as it has to be now.
#[must_use]
pub fn documents() -> Vec<Document> {
    let contracts = contracts();
    let document = |path: String, text: String| Document { path, text };
    let mut documents: Vec<Document> = schemas()
        .iter()
        .map(|(name, schema)| document(format!("schemas/{name}.json"), pretty(schema)))
        .collect();
    documents.extend(contracts.iter().map(|contract| {
        document(format!("samples/{}.json", contract.message_type), contract.sample() + "\n")
    }));
    documents.push(document("asyncapi.json".to_owned(), pretty(&asyncapi::asyncapi(&contracts))));
    documents.push(document("README.md".to_owned(), page::page(&contracts)));
    documents
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
