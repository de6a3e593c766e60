#![doc = include_str!("../README.md")]

mod config;
mod connections;
mod digits;
mod failure_log;
mod head_deadline;
mod health;
mod logging;
#[cfg(feature = "login")]
mod login;
mod metrics;
mod process;
mod process_metrics;
mod rate_limit;
mod request_trace;
mod secret_files;
mod server;
mod shutdown;
mod stylesheet;
mod trusted_proxies;

pub use config::{parse_config, parse_seconds, required};
pub use connections::HttpLimits;
pub use digits::{group_digits, thousands};
pub use failure_log::FailureLog;
pub use health::{HealthCheck, health, probe_health};
pub use logging::Logging;
#[cfg(feature = "login")]
pub use login::{Login, LoginRefusal, PasswordHash, hash_password, is_cross_site};
pub use metrics::{HttpMetrics, MetricsEndpoint, PoolMetrics, metrics_registry, serve_metrics};
pub use process::{fix_mmap_threshold, write_stdout};
pub use rate_limit::RateLimit;
pub use request_trace::RequestTrace;
pub use server::{bind, serve};
pub use shutdown::{Shutdown, shutdown_on_signal};
pub use stylesheet::{BASE_STYLE, Stylesheet};
pub use trusted_proxies::TrustedProxies;
