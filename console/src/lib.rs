#![doc = include_str!("../README.md")]

pub mod dead_letters;
pub mod erasure;
pub mod export;
pub mod find;
mod inventory;
pub mod journal;
mod letter;
mod mask;
mod operator;
pub mod page;
pub mod reconcile;
mod subject;
pub mod subscriptions;
