#![doc = include_str!("../README.md")]

mod connections;
mod database;
pub mod dead_letters;
pub mod journal;
mod letter;
mod letter_queue;
mod marketing;
pub mod reconcile;

pub use connections::{Brokers, Connections};
