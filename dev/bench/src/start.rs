//! The time from the start of a process until it is ready, and the size of its binary and image.

use std::{env, fs, process::Command, time::Duration};

use anyhow::{Context, ensure};
use stack::service::{Program, Service};
use tokio::time::{Instant, sleep};

use crate::{connection::Connection, context::Bench, figures::Figures, pipeline::Pipeline};

const READY_DEADLINE: Duration = Duration::from_mins(1);

/// Measures starts with running servers and an existing schema.
pub(crate) async fn measure(bench: &Bench, figures: &mut Figures) -> anyhow::Result<()> {
    let environment = Pipeline::prepare_environment(&bench.servers).await?;
    // Each service keeps running while the next one starts, as in production.
    let mut running = Vec::new();
    for program in Program::ALL {
        let began = Instant::now();
        let service = environment.start(program, &[])?;
        wait_ready(&service).await.with_context(|| environment.log())?;
        let name = format!("start to ready: {}", program.name());
        figures.add(name, "ms", began.elapsed().as_secs_f64() * 1000.0);
        running.push(service);
    }
    for program in Program::ALL {
        let path = program.path()?;
        let bytes = fs::metadata(&path).with_context(|| path.display().to_string())?.len();
        figures.add(format!("size of the binary: {}", program.name()), "MiB", to_mib(bytes)?);
    }
    for program in Program::ALL {
        if let Some(bytes) = image_size(program) {
            figures.add(format!("size of the image: {}", program.name()), "MiB", to_mib(bytes)?);
        }
    }
    Ok(())
}

fn to_mib(bytes: u64) -> anyhow::Result<f64> {
    Ok(f64::from(u32::try_from(bytes >> 10)?) / 1024.0)
}

/// Returns the size in bytes of the image that `docker compose build` made in this directory, if there is one.
fn image_size(program: Program) -> Option<u64> {
    let directory = env::current_dir().ok()?;
    let project = directory.file_name()?.to_str()?.to_lowercase();
    let image = format!("{project}-{}", program.name());
    let docker = Command::new("docker").args(["image", "inspect", "--format", "{{.Size}}", &image]).output();
    String::from_utf8(docker.ok()?.stdout).ok()?.trim().parse().ok()
}

async fn wait_ready(service: &Service) -> anyhow::Result<()> {
    let give_up = Instant::now() + READY_DEADLINE;
    while !is_ready(service).await {
        ensure!(Instant::now() < give_up, "not ready after {READY_DEADLINE:?}");
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Returns whether the service is ready. At first it does not listen; later it may report 503.
async fn is_ready(service: &Service) -> bool {
    let Ok(mut connection) = Connection::open(service.address()).await else { return false };
    connection.get("/health/ready").await.is_ok_and(|response| response.status == 200)
}
