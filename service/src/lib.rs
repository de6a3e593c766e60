//! What the process of every service does in the same way: logging, health, shutdown.

mod command;
mod health;
mod logging;
mod server;
mod settings;
mod shutdown;

pub use command::Command;
pub use health::{Part, health};
pub use logging::Logging;
pub use server::{bind, serve};
pub use settings::settings;
pub use shutdown::shutdown_on_signal;
