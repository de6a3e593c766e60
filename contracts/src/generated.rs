//! The documents for other teams, generated from the contracts: JSON Schemas, samples, AsyncAPI, and a page.
//!
//! They are committed. `cargo run -p contracts --features generated --example documents` regenerates them.

mod asyncapi;
mod contract;
mod page;

use serde_json::Value;

use crate::{
    CreateCustomer, CustomerDetailsChanged, CustomerErased, CustomerRegistered, CustomersRequested,
    EraseCustomer, ForgetCustomer, ReplayCustomers, ReplayProgressed, UpdateCustomer, envelope,
};
pub use contract::Contract;

/// A file that is generated from the contracts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The path, relative to this crate's directory.
    pub path: String,
    /// The complete content.
    pub text: String,
}

/// Returns all contracts, in the order of the documents. A new message needs a line here.
#[must_use]
pub fn contracts() -> Vec<Contract> {
    vec![
        Contract::from_type::<CustomerRegistered>(),
        Contract::from_type::<CustomerDetailsChanged>(),
        Contract::from_type::<CustomerErased>(),
        Contract::from_type::<EraseCustomer>(),
        Contract::from_type::<ReplayCustomers>(),
        Contract::from_type::<ReplayProgressed>(),
        Contract::from_type::<CreateCustomer>(),
        Contract::from_type::<UpdateCustomer>(),
        Contract::from_type::<ForgetCustomer>(),
        Contract::from_type::<CustomersRequested>(),
    ]
}

/// Returns the schemas that a release keeps, by name: one per message, and the envelope's.
#[must_use]
pub fn schemas() -> Vec<(String, Value)> {
    let messages =
        contracts().into_iter().map(|contract| (contract.message_type.to_owned(), contract.schema));
    messages.chain([("envelope.v1".to_owned(), contract::schema::<envelope::Properties>())]).collect()
}

/// Returns all documents with their current content.
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
