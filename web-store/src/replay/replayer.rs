//! Sends the events of the replays, page by page.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::Utc;
use contracts::{Message, ReplayProgressed, ReplayState, topology::WEB_STORE_REPLAYS};
use messaging::{
    Backoff, BrokerUrl, ConnectionStatus, Envelope, MessagingMetrics, Outgoing, PublishOutcome, Session,
    SessionError,
};
use telemetry::create_span;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::table::{Claim, ReplayTable, RunningReplay};
use crate::{
    postgres::DatabaseUrl,
    relay::{Relay, wait_for_work},
};

/// A replay adds nothing to a queue with more ready messages.
///
/// A new event therefore waits behind at most this number and one page of replayed events, and the broker's memory
/// stays flat. The number is large enough to keep a fast consumer busy between two pages.
pub(crate) const MAX_READY_MESSAGES: u32 = 10_000;

/// How often the replayer looks for replays without a notification. It finds those of an instance that crashed.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How long a replay pauses while the relay has a full batch waiting. The relay needs a few milliseconds for a batch.
const LIVE_PAUSE: Duration = Duration::from_millis(20);

/// The first pause while the queue is long. It doubles up to [`MAX_FULL_PAUSE`].
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// A consumer of 10,000 messages per second needs at least this time for a full queue.
const MAX_FULL_PAUSE: Duration = Duration::from_secs(1);

/// The replayer's connections, and the notification of new requests.
#[derive(Debug)]
pub(crate) struct Replayer {
    database: DatabaseUrl,
    broker: BrokerUrl,
    relay: Arc<Relay>,
    pub(super) metrics: MessagingMetrics,
    /// Notified after each stored request.
    pub(super) wake: Notify,
    /// Kept from session to session.
    paused: Mutex<HashMap<Uuid, WaitingReplay>>,
}

/// A replay that waits for its queue.
#[derive(Debug)]
struct WaitingReplay {
    until: Instant,
    full_pause: Duration,
    backoff: Backoff,
    /// For health checks. A long queue is no problem.
    problem: Option<String>,
}

/// The reason why a queue takes no events now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Obstacle {
    #[error("its queue is long")]
    Full,
    #[error("no queue is bound to {WEB_STORE_REPLAYS} with this routing key; bind the receiving queue")]
    NotBound,
    #[error("the broker refuses the events, as it does for a queue that has reached its maximum length")]
    Nacked,
}

impl Replayer {
    pub(crate) fn new(
        database: DatabaseUrl,
        broker: BrokerUrl,
        relay: Arc<Relay>,
        metrics: MessagingMetrics,
    ) -> Self {
        Self { database, broker, relay, metrics, wake: Notify::new(), paused: Mutex::default() }
    }

    /// Runs one session until shutdown or until the first error.
    ///
    /// # Errors
    /// Returns an error if the broker or the database fails. The page in flight is then sent again.
    pub(crate) async fn session(
        &self,
        status: &ConnectionStatus,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let broker = Session::open_publisher(&self.broker, "web-store replays").await?;
        let broker = broker.with_metrics(&self.metrics);
        broker.declare_direct_exchange(WEB_STORE_REPLAYS).await?;
        let mut table = ReplayTable::connect(&self.database).await?;
        tokio::select! {
            waited = table.wait_for_schema() => waited?,
            () = shutdown.cancelled() => return Ok(()),
            () = broker.wait_closed() => return Err(SessionError::Lost.into()),
        }
        status.up();
        while !shutdown.is_cancelled() {
            let pause =
                if self.relay.has_backlog() { LIVE_PAUSE } else { self.turn(&mut table, &broker).await? };
            status.set_problem(self.problem());
            if !pause.is_zero() {
                wait_for_work(&self.wake, pause, &broker, shutdown).await?;
            }
        }
        broker.close().await;
        Ok(())
    }

    /// Sends one page of the replay whose turn it is. Returns the time until the next turn.
    async fn turn(&self, table: &mut ReplayTable, broker: &Session) -> anyhow::Result<Duration> {
        let Some(claim) = table.claim(&self.paused_replays()).await? else { return Ok(self.next_turn()) };
        if claim.replay.has_known_versions() {
            let replay = claim.replay.id;
            let replaced = claim.replace_lower_versions().await?;
            if replaced > 0 {
                tracing::warn!(%replay, customers = replaced, "a subscriber has higher versions; gave these customers new ones");
                self.relay.wake.notify_one();
            }
            return Ok(Duration::ZERO);
        }
        self.send_page(claim, broker).await?;
        Ok(Duration::ZERO)
    }

    async fn send_page(&self, mut claim: Claim<'_>, broker: &Session) -> anyhow::Result<()> {
        // The routing key need not be the name of a queue, and the broker may not reveal the length. Then only a refusal
        // limits the replay.
        let queue = match broker.queue_state(&claim.replay.queue).await {
            Err(SessionError::Forbidden(_)) => None,
            queue => queue?,
        };
        if queue.is_some_and(|queue| queue.ready_messages > MAX_READY_MESSAGES) {
            self.pause(&claim.replay, Obstacle::Full);
            return Ok(claim.release().await?);
        }
        let page = claim.read_page().await?;
        if let Some(obstacle) = publish(broker, &claim.replay.queue, &page.events).await? {
            return self.refused(claim, broker, obstacle).await;
        }
        self.paused().remove(&claim.replay.id);
        let published = claim.replay.published + page.event_count();
        let state = if page.is_last { ReplayState::Completed } else { ReplayState::Running };
        let is_reported = page.is_last || claim.replay.is_report_due;
        if is_reported {
            report(broker, &claim.replay, state, published, None).await?;
        }
        let replay = claim.replay.id;
        claim.complete_page(&page, is_reported).await?;
        if page.is_last {
            tracing::info!(%replay, events = published, "completed a replay");
        }
        Ok(())
    }

    /// Pauses a replay whose page was refused, or ends it if it was refused for too long.
    async fn refused(&self, claim: Claim<'_>, broker: &Session, obstacle: Obstacle) -> anyhow::Result<()> {
        let replay = &claim.replay;
        if !replay.is_refused_too_long {
            self.pause(replay, obstacle);
            return Ok(claim.note_refusal().await?);
        }
        self.paused().remove(&replay.id);
        let reason = format!("{} for 24 hours: {obstacle}", replay.queue);
        tracing::error!(replay = %replay.id, reason, "a replay has failed");
        report(broker, replay, ReplayState::Failed, replay.published, Some(&reason)).await?;
        Ok(claim.fail(&reason).await?)
    }

    fn pause(&self, replay: &RunningReplay, obstacle: Obstacle) {
        let mut paused = self.paused();
        let pause = paused.entry(replay.id).or_insert_with(|| WaitingReplay {
            until: Instant::now(),
            full_pause: FULL_PAUSE,
            backoff: Backoff::default(),
            problem: None,
        });
        let delay = if obstacle == Obstacle::Full {
            pause.problem = None;
            let delay = pause.full_pause;
            pause.full_pause = (delay * 2).min(MAX_FULL_PAUSE);
            delay
        } else {
            pause.problem = Some(format!("the replay {} into {} waits: {obstacle}", replay.id, replay.queue));
            pause.backoff.next_delay()
        };
        pause.until = Instant::now() + delay;
    }

    /// Returns the replays that pause now.
    fn paused_replays(&self) -> Vec<Uuid> {
        let now = Instant::now();
        self.paused().iter().filter(|(_, pause)| pause.until > now).map(|(id, _)| *id).collect()
    }

    /// Returns the time until the first pause ends, and at most the poll interval.
    ///
    /// If no replay was claimed although a pause has ended, another instance has it, or it has ended.
    fn next_turn(&self) -> Duration {
        let now = Instant::now();
        let mut paused = self.paused();
        paused.retain(|_, pause| pause.until > now);
        let next = paused.values().map(|pause| pause.until - now).min();
        next.map_or(POLL_INTERVAL, |next| next.min(POLL_INTERVAL))
    }

    /// Returns the problem of one replay that waits for its subscriber.
    fn problem(&self) -> Option<String> {
        self.paused().values().find_map(|pause| pause.problem.clone())
    }

    fn paused(&self) -> MutexGuard<'_, HashMap<Uuid, WaitingReplay>> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Publishes a page, and returns the reason if a queue did not take all of it.
async fn publish(
    broker: &Session,
    queue: &str,
    events: &[Outgoing],
) -> Result<Option<Obstacle>, SessionError> {
    let outcomes = broker.publish_to_key(queue, events).await?;
    let refused = outcomes.into_iter().find(|outcome| *outcome != PublishOutcome::Confirmed);
    Ok(refused.map(|outcome| match outcome {
        PublishOutcome::Returned => Obstacle::NotBound,
        PublishOutcome::Nacked | PublishOutcome::Confirmed => Obstacle::Nacked,
    }))
}

/// Reports the progress to the sender of the request, if it wants reports. A report that no queue takes is dropped.
async fn report(
    broker: &Session,
    replay: &RunningReplay,
    state: ReplayState,
    published: i64,
    reason: Option<&str>,
) -> Result<(), SessionError> {
    let Some(reply_to) = &replay.reply_to else { return Ok(()) };
    let report = ReplayProgressed {
        replay_id: replay.id,
        state,
        published: published.unsigned_abs(),
        reason: reason.map(str::to_owned),
    };
    let envelope = Envelope {
        // A report that is repeated after a crash is a copy.
        message_id: Uuid::new_v5(&replay.id, format!("{state:?} {published}").as_bytes()),
        message_type: ReplayProgressed::TYPE.into(),
        correlation_id: replay.correlation_id.clone(),
        causation_id: Some(replay.id),
        traceparent: create_span(Some(&replay.traceparent), WEB_STORE_REPLAYS),
        timestamp: Utc::now(),
        app_id: "web-store",
        is_replay: false,
    };
    let report = Outgoing { exchange: WEB_STORE_REPLAYS, envelope, body: report.to_json().into_bytes() };
    broker.publish_to_key(reply_to, &[report]).await.map(drop)
}
