//! Marketing: keeps its own list of customers, filled by the commands `CreateCustomer` and `UpdateCustomer`.

pub mod command;
pub mod config;
pub mod customer;
pub mod handler;
pub mod http;
pub mod list;
pub mod operator;
pub mod schema;
pub mod segment;
pub mod session;
pub mod store;
pub mod totals;
