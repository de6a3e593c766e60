#![doc = include_str!("../README.md")]

mod connections;
mod database;
pub mod dead_letters;
pub mod erasure;
pub mod export;
pub mod find;
mod inventory;
pub mod journal;
mod letter;
mod letter_queue;
mod marketing;
mod mask;
mod operator;
pub mod page;
pub mod reconcile;
mod subject;
pub mod subscriptions;
mod web_store;

pub use connections::{Brokers, Connections};
