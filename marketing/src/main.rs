//! Marketing's program.

use std::env;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Before the settings are parsed, so that an invalid hash in the environment does not prevent a new one.
    if env::args().nth(1).as_deref() == Some("hash-password") {
        return marketing::hash_password();
    }
    marketing::run(service_kit::parse_config()).await
}
