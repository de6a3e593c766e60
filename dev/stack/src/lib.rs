#![doc = include_str!("../README.md")]

pub mod affinity;
mod banner;
pub mod broker;
mod broker_files;
pub mod cli;
pub mod command;
pub mod connection_urls;
pub mod console;
pub mod mysql;
pub mod ports;
pub mod postgres;
pub mod process;
mod process_tree;
mod renamed;
pub mod resource_usage;
mod run;
pub mod servers;
pub mod service;
pub mod site;
pub mod stop_signal;
mod supervisor;
pub mod terminal;
mod up;
mod work_dir;
