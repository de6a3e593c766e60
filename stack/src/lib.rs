//! The whole system on one machine: its servers, its services, and support for tests of it.

pub mod addresses;
pub mod broker;
mod broker_files;
pub mod console;
mod installed;
pub mod mysql;
pub mod ports;
pub mod postgres;
pub mod process;
mod process_tree;
pub mod servers;
pub mod service;
