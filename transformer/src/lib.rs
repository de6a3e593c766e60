#![doc = include_str!("../README.md")]

mod config;
pub mod flow;
pub mod flows;
mod forwarder;
mod replay;
mod service;

pub use config::Config;
pub use service::run;
