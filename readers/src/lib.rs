#![doc = include_str!("../README.md")]

pub mod connections;
mod database;
pub mod letter_queue;
pub mod marketing;
pub mod web_store;
