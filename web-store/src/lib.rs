//! The Web Store: registers customers and tells whoever wants to know, through the events
//! `CustomerRegistered` and `CustomerDetailsChanged`.

pub mod attempt;
pub mod config;
pub mod customer;
pub mod edit_key;
pub mod http;
pub mod outbox;
pub mod relay;
pub mod republish;
pub mod store;
pub mod version;
