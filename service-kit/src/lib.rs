//! What the process of every service does in the same way: settings, logging, health, serving, shutdown.

mod config;
mod failure_log;
mod health;
mod logging;
mod process;
mod proxies;
mod rate_limit;
mod security_headers;
mod server;
mod stylesheet;

pub use config::parse_config;
pub use failure_log::FailureLog;
pub use health::{HealthCheck, health, probe_health};
pub use logging::Logging;
pub use process::{fix_mmap_threshold, shutdown_on_signal, write_stdout};
pub use proxies::TrustedProxies;
pub use rate_limit::RateLimit;
pub use server::{bind, serve};
pub use stylesheet::Stylesheet;
