//! From the start of a process to its being ready, with the servers up and the schema there; and its size.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};

use super::Bench;
use super::connection::Connection;
use super::figures::Figures;
use super::pipeline::Pipeline;
use stack::service::{Program, Service};

const READY: Duration = Duration::from_mins(1);

pub(super) async fn measure(bench: &Bench, figures: &mut Figures) -> Result<()> {
    let site = Pipeline::prepared_site(&bench.servers).await?;
    // Each stays, as it would, while the next one starts.
    let mut started = Vec::new();
    for program in Program::ALL {
        let began = Instant::now();
        let service = site.start(program, &[]);
        until_ready(&service).await.with_context(|| site.log())?;
        let name = format!("start to ready: {}", program.name());
        figures.add(name, "ms", began.elapsed().as_secs_f64() * 1000.0);
        started.push(service);
    }
    for program in Program::ALL {
        let path = program.path()?;
        let bytes = std::fs::metadata(&path).with_context(|| path.display().to_string())?.len();
        figures.add(format!("size of the binary: {}", program.name()), "MiB", mib(bytes)?);
    }
    for program in Program::ALL {
        if let Some(bytes) = image_size(program) {
            figures.add(format!("size of the image: {}", program.name()), "MiB", mib(bytes)?);
        }
    }
    Ok(())
}

fn mib(bytes: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(bytes >> 10)?) / 1024.0)
}

/// Of the image that `docker compose build` in this directory has made, if it has.
fn image_size(program: Program) -> Option<u64> {
    let directory = std::env::current_dir().ok()?;
    let project = directory.file_name()?.to_str()?.to_lowercase();
    let image = format!("{project}-{}", program.name());
    let docker = Command::new("docker").args(["image", "inspect", "--format", "{{.Size}}", &image]).output();
    String::from_utf8(docker.ok()?.stdout).ok()?.trim().parse().ok()
}

async fn until_ready(service: &Service) -> Result<()> {
    let give_up = Instant::now() + READY;
    while !is_ready(service).await {
        ensure!(Instant::now() < give_up, "not ready after {READY:?}");
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Nobody listens at first, and then not all is there at once.
async fn is_ready(service: &Service) -> bool {
    let Ok(mut connection) = Connection::open(service.address()).await else { return false };
    connection.get("/health/ready").await.is_ok_and(|answer| answer.status == 200)
}
