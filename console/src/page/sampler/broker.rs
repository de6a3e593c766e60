//! Reads the queues of one broker, and the reports of their consumers.

use std::{collections::BTreeMap, convert::Infallible};

use contracts::topology::{QUEUES, Queue};
use futures_util::future::try_join_all;
use messaging::{BrokerUrl, QueueState, Session, StatusReports};
use readers::connections::work_queues;
use tokio::time::Instant;

use super::{Sampler, keep_reading};
use crate::page::history::History;

struct Broker {
    session: Session,
    reports: StatusReports,
}

impl Sampler {
    pub(super) async fn read_broker(&self, broker: &BrokerUrl) -> Infallible {
        let brokers = &self.connections.brokers;
        let queues: Vec<_> = work_queues().filter(|queue| std::ptr::eq(brokers.of(queue), broker)).collect();
        let is_of_customers = |queue: &Queue| QUEUES.contains(queue);
        let mut histories: BTreeMap<_, _> = queues
            .iter()
            .filter(|queue| is_of_customers(queue))
            .map(|queue| (queue.name, History::new(Instant::now())))
            .collect();
        let connect = async || {
            let session = Session::open(broker, "console page").await?;
            let reports = session.status_reports("console").await?;
            Ok(Broker { session, reports })
        };
        let read = async |broker: &mut Broker| {
            let now = Instant::now();
            let mut reports = Vec::new();
            while let Some(report) = broker.reports.next_ready()? {
                reports.push((report, now));
            }
            let session = &broker.session;
            let states = try_join_all(queues.iter().map(|queue| async move {
                let letters = queue.dead_letter_queue();
                let (state, letters) =
                    tokio::try_join!(session.queue_state(queue.name), session.queue_state(&letters))?;
                anyhow::Ok((*queue, state, letters))
            }));
            Ok((reports, states.await?))
        };
        keep_reading(connect, read, |reading| {
            let mut latest = self.latest();
            match reading {
                Ok((reports, states)) => {
                    for (report, at) in &reports {
                        if let Some(history) = histories.get_mut(report.queue.as_str()) {
                            history.report(report, *at);
                        }
                    }
                    for (queue, state, letters) in states {
                        if let Some(history) = histories.get_mut(queue.name) {
                            let observe = |state| history.observe(state, Instant::now());
                            latest.queues.insert(queue.name, Ok(state.map(observe)));
                        }
                        note_letters(&mut latest.dead_letters, queue, letters.unwrap_or_default());
                    }
                }
                Err(reason) => {
                    for queue in histories.keys() {
                        latest.queues.insert(*queue, Err(reason.clone()));
                    }
                    for queue in &queues {
                        latest.dead_letters.remove(queue.name);
                    }
                }
            }
        })
        .await
    }
}

/// Notes the number of dead letters. While a console reads them, it holds all of them, and the number is not known.
fn note_letters(letters: &mut BTreeMap<&'static str, u32>, queue: &'static Queue, state: QueueState) {
    if state.consumers == 0 {
        letters.insert(queue.name, state.ready_messages);
    }
}
