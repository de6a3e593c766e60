//! Marketing: keeps its own list of customers, filled by the command `CreateCustomer`.

pub mod config;
pub mod customer;
pub mod handler;
pub mod schema;
pub mod session;
pub mod store;
