//! The program `faults`.

use std::process::ExitCode;

/// Uses one thread that lives until the program ends: the kernel kills the children when it ends.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = service_kit::parse_config::<faults::Arguments>();
    faults::execute(&arguments).await.unwrap_or_else(|error| {
        eprintln!("faults: {error:#}");
        ExitCode::FAILURE
    })
}
