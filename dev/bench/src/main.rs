//! The program `bench`.

use std::process::ExitCode;

/// Uses one thread that lives until the program ends: the kernel kills the children when it ends.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = service_kit::parse_config::<bench::Arguments>();
    bench::run(&arguments).await.unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::FAILURE
    })
}
