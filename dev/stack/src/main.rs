//! The program `stack`.

use std::process::ExitCode;

use stack::cli;

/// Uses one thread that lives until the program ends: the kernel kills the children when it ends.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = service_kit::parse_config::<cli::Arguments>();
    cli::run(&arguments).await.unwrap_or_else(|error| {
        eprintln!("stack: {error:#}");
        ExitCode::FAILURE
    })
}
