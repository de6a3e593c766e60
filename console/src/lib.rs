#![doc = include_str!("../README.md")]

pub mod dead_letters;
pub mod erasure;
pub mod export;
pub mod find;
pub mod journal;
mod operator;
pub mod page;
pub mod reconcile;
mod subject;
pub mod subscriptions;
