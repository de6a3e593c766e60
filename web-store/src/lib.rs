//! The Web Store: registers customers and tells whoever wants to know, through the event
//! `CustomerRegistered`.

pub mod attempt;
pub mod config;
pub mod customer;
pub mod http;
pub mod outbox;
pub mod relay;
pub mod republish;
pub mod store;
