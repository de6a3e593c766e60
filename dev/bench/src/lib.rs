#![doc = include_str!("../README.md")]

mod arguments;
mod arrivals;
mod baselines;
mod connection;
mod context;
mod disk;
mod drain;
mod end_to_end;
mod fake_customer;
mod figures;
mod http;
mod latency;
mod load;
mod measurement;
mod page;
mod pipeline;
mod ratios;
mod replay;
mod replicas;
mod report;
mod run;
mod scale;
mod scaling;
mod start;
mod workers;

pub use crate::{arguments::Arguments, run::run};
