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
pub use health::{Part, health};
pub use logging::Logging;
pub use memory::return_freed_memory;
pub use proxies::Proxies;
pub use rate_limit::RateLimit;
pub use server::{bind, serve};
pub use settings::settings;
pub use shutdown::shutdown_on_signal;
pub use stylesheet::Stylesheet;
