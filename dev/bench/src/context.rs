//! The context of every measurement: servers, workers, and the selected sizes.

use rustix::process::getpid;
use stack::servers::Servers;

use crate::{
    arrivals::Arrivals,
    load::{Load, Until},
    measurement::Measurement,
    pipeline::Pipeline,
    scale::Scale,
    workers::Workers,
};

/// The context of every measurement.
pub(crate) struct Bench {
    pub(crate) servers: Servers,
    pub(crate) workers: Workers,
    pub(crate) selected: Vec<Measurement>,
    pub(crate) runs: u32,
    pub(crate) scale: Scale,
}

impl Bench {
    /// Registers some customers, so that connections are open, statements prepared, and memory allocated.
    pub(crate) async fn warm_up(&self, pipeline: &Pipeline) -> anyhow::Result<()> {
        let arrivals = Arrivals::from_now(&pipeline.marketing_database).await?;
        let until = Until::Registered(self.scale.registrations.div_ceil(20));
        let outcome = self.workers.run(Load::new(pipeline.web_stores(), 32, until).run()).await?;
        arrivals.wait_for(outcome.registered, &outcome.last).await
    }
}

/// Returns the id of this process, whose CPU time is that of the load.
pub(crate) fn own_pid() -> i32 {
    getpid().as_raw_nonzero().get()
}
