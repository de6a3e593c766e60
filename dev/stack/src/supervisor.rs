//! Restarts a process that has ended by itself, as `restart: unless-stopped` does in Docker Compose.

use std::{convert::Infallible, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    broker::Broker, console::Console, mysql::Mysql, postgres::Postgres, process::Process, service::Service,
    terminal::print_line,
};

const INITIAL_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(30);

/// After this time without a failure, the next delay is [`INITIAL_DELAY`] again.
const STABLE_AFTER: Duration = Duration::from_mins(1);

/// More than a century. A restarted service may wait for its server for any time.
const NO_DEADLINE: Duration = Duration::from_secs(u32::MAX as u64);

/// A process that can be started again after it has ended.
pub(crate) trait Restart {
    fn process(&mut self) -> &mut Process;

    /// Starts the process again and waits until it is ready.
    async fn restart(&mut self) -> anyhow::Result<()>;
}

/// Restarts a process with exponential backoff whenever it ends. Logs each end and each recovery.
pub(crate) async fn supervise(child: &mut impl Restart) -> Infallible {
    let name = child.process().name().to_owned();
    let mut started = Instant::now();
    let mut last_delay = None;
    let mut failure = wait_for_failure(child).await;
    loop {
        let delay = next_delay(last_delay, started.elapsed());
        print_line("stack", &format!("{failure}; restarting {name} in {} s", delay.as_secs()));
        sleep(delay).await;
        started = Instant::now();
        last_delay = Some(delay);
        failure = match child.restart().await {
            Ok(()) => {
                print_line("stack", &format!("{name} is ready again (process {})", child.process().pid()));
                wait_for_failure(child).await
            }
            Err(error) => format!("{error:#}"),
        };
    }
}

async fn wait_for_failure(child: &mut impl Restart) -> String {
    let process = child.process();
    match process.wait().await {
        Ok(status) => format!("{} ended by itself ({status})", process.name()),
        Err(error) => format!("{error:#}"),
    }
}

fn next_delay(last: Option<Duration>, uptime: Duration) -> Duration {
    match last {
        Some(last) if uptime < STABLE_AFTER => (last * 2).min(MAX_DELAY),
        _ => INITIAL_DELAY,
    }
}

impl Restart for Service {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn restart(&mut self) -> anyhow::Result<()> {
        self.start_again()?;
        self.wait_ready(NO_DEADLINE).await
    }
}

impl Restart for Console {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn restart(&mut self) -> anyhow::Result<()> {
        self.start_again()?;
        self.wait_ready(NO_DEADLINE).await
    }
}

impl Restart for Postgres {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn restart(&mut self) -> anyhow::Result<()> {
        self.restart().await
    }
}

impl Restart for Mysql {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn restart(&mut self) -> anyhow::Result<()> {
        self.restart().await
    }
}

impl Restart for Broker {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn restart(&mut self) -> anyhow::Result<()> {
        self.restart().await
    }
}

#[cfg(test)]
mod tests {
    use std::{iter, time::Duration};

    use super::{STABLE_AFTER, next_delay};

    #[test]
    fn delay_doubles_up_to_half_a_minute() {
        let delays = iter::successors(Some(next_delay(None, Duration::ZERO)), |last| {
            Some(next_delay(Some(*last), Duration::ZERO))
        });
        let seconds: Vec<_> = delays.take(7).map(|delay| delay.as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn delay_is_initial_after_stable_run() {
        assert_eq!(next_delay(Some(Duration::from_secs(30)), STABLE_AFTER), Duration::from_secs(1));
    }
}
