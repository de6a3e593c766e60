//! Killed, terminated, frozen, and additional processes.

use std::time::Duration;

use anyhow::ensure;
use stack::service::Program;
use tokio::time::sleep;

use super::description::Description;
use crate::{
    fault_run::FaultRun,
    locked_servers::{Server, freeze},
};

/// Exceeds the time in which a service completes its current work.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// A fault of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcessFault {
    Kill(Program),
    Terminate(Program),
    Freeze(Program),
    SecondInstance(Program),
    KillServer(Server),
    FreezeServer(Server),
}

impl ProcessFault {
    pub(super) fn all() -> Vec<Self> {
        let programs = Program::ALL.into_iter().flat_map(|program| {
            [
                Self::Kill(program),
                Self::Terminate(program),
                Self::Freeze(program),
                Self::SecondInstance(program),
            ]
        });
        let servers =
            Server::ALL.into_iter().flat_map(|server| [Self::KillServer(server), Self::FreezeServer(server)]);
        programs.chain(servers).collect()
    }

    pub(super) fn describe(self) -> Description {
        match self {
            Self::Kill(program) => Description::event(format!("kill -9 {}", program.name())),
            Self::Terminate(program) => Description::event(format!("SIGTERM {}", program.name())),
            Self::Freeze(program) => Description::lasting(format!("SIGSTOP {}", program.name()), 20),
            Self::SecondInstance(program) => {
                Description::lasting(format!("second instance of {} started and killed", program.name()), 4)
            }
            Self::KillServer(server) => Description::event(format!("kill -9 {}", server.name())),
            Self::FreezeServer(server) => Description::lasting(format!("SIGSTOP {}", server.name()), 20),
        }
    }

    pub(super) async fn inject(self, run: &FaultRun, duration: Duration) -> anyhow::Result<()> {
        match self {
            Self::Kill(program) => kill(run, program).await,
            Self::Terminate(program) => terminate(run, program).await,
            Self::Freeze(program) => {
                freeze(&run.system.service(program).await.process, duration).await;
                Ok(())
            }
            Self::SecondInstance(program) => run_second_instance(run, program, duration).await,
            Self::KillServer(server) => run.servers.kill(server).await,
            Self::FreezeServer(server) => {
                run.servers.freeze(server, duration).await;
                Ok(())
            }
        }
    }
}

/// Kills a service (`kill -9`), and starts it again.
pub(super) async fn kill(run: &FaultRun, program: Program) -> anyhow::Result<()> {
    let mut service = run.system.service(program).await;
    service.kill().await?;
    run.system.restart(&mut service, program)
}

/// Terminates a service (SIGTERM), and starts it again.
pub(super) async fn terminate(run: &FaultRun, program: Program) -> anyhow::Result<()> {
    let mut service = run.system.service(program).await;
    // A service that has just started does not handle signals yet.
    service.wait_live(SHUTDOWN_TIMEOUT).await?;
    let status = service.terminate(SHUTDOWN_TIMEOUT).await?;
    ensure!(status.success(), "{} ended with {status}", program.name());
    run.system.restart(&mut service, program)
}

/// Starts a second instance of a service, and kills it after `duration`.
async fn run_second_instance(run: &FaultRun, program: Program, duration: Duration) -> anyhow::Result<()> {
    let mut instance = run.system.start_instance(program)?;
    let url = instance.url();
    if program == Program::WebStore {
        run.load.add_web_store(url.clone());
    }
    sleep(duration).await;
    run.load.remove_web_store(&url);
    instance.kill().await
}
