//! What the process of every service does in the same way: settings, logging, health, serving, shutdown.

mod command;
mod health;
mod logging;
mod memory;
mod proxies;
mod rate_limit;
mod security_headers;
mod server;
mod settings;
mod shutdown;
mod stylesheet;

pub use command::Command;
pub use health::{HealthCheck, health};
pub use logging::Logging;
pub use memory::fix_mmap_threshold;
pub use proxies::TrustedProxies;
pub use rate_limit::RateLimit;
pub use server::{bind, serve};
pub use settings::parse_config;
pub use shutdown::shutdown_on_signal;
pub use stylesheet::Stylesheet;
