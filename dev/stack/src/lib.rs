//! The servers and the services of the whole system as private child processes of one program.

mod banner;
pub mod broker;
mod broker_files;
pub mod command;
pub mod connection_urls;
mod installed;
mod leftovers;
pub mod mysql;
pub mod ports;
pub mod postgres;
mod postgres_programs;
pub mod process;
mod process_tree;
pub mod renamed;
pub mod resource_usage;
pub mod run;
pub mod servers;
pub mod service;
pub mod stop_signal;
pub mod terminal;
pub mod up;
mod work_dir;
