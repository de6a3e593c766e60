//! From the start of a process to its being ready, with the servers up and the schema there; and its size.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};

use super::Bench;
use super::connection::Connection;
use super::figures::Figures;
use super::pipeline::Pipeline;
use crate::service::{Program, Service};

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
        let kib = f64::from(u32::try_from(bytes >> 10)?);
        figures.add(format!("size of the binary: {}", program.name()), "MiB", kib / 1024.0);
    }
    Ok(())
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
