//! Erasures: a customer disappears in one commit, which keeps the id and writes the event `CustomerErased`.
//!
//! [`consumer`] receives the command `EraseCustomer`, and [`erased_customer`] has the table of the erased ids. The rows of
//! this table are also the source of replayed events.

mod consumer;
mod erased_customer;

pub use consumer::check_erase_request;
pub(crate) use consumer::session as accept_erasures;
pub(crate) use erased_customer::{ErasedCustomer, after_customer, of_customers};
