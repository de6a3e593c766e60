//! The transformer: maps one application's events to another's commands. Integration logic lives here.

pub mod config;
pub mod flow;
pub mod route;
pub mod routes;
