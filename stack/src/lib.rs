//! The whole system on one machine: its servers, its services, and support for tests of it.

pub mod addresses;
pub mod bench;
pub mod broker;
mod broker_files;
mod checkout;
mod command;
pub mod console;
pub mod faults;
mod installed;
mod leftovers;
pub mod memory;
pub mod mysql;
pub mod ports;
pub mod postgres;
mod postgres_programs;
pub mod private_servers;
pub mod process;
mod process_tree;
pub mod proxy;
pub mod reconcile;
pub mod servers;
pub mod service;
mod stop_signal;
#[allow(clippy::missing_panics_doc, reason = "a panic is how a test is told of any failure")]
pub mod testing;
pub mod up;
mod usage;
mod welcome;
