//! The transformer's process: one supervised session for each flow, beside the health routes.

use std::future::ready;

use futures_util::future::join_all;
use messaging::{ConnectionStatus, GapStatus, MessagingMetrics, SubscriptionControl, register_connections};
use service_kit::{HealthCheck, HttpMetrics, TrustedProxies, health, metrics_registry, serve_metrics};

use telemetry::Traces;

use crate::{
    config::{Command, Config},
    flows::FLOWS,
    forwarder::{self, Brokers, FlowStatus},
};

/// Runs the transformer until a signal asks it to stop.
///
/// # Errors
/// Returns an error if the process cannot listen on its address or for signals, or if its listener fails.
pub async fn run(config: Config) -> anyhow::Result<()> {
    match config.command.unwrap_or_default() {
        Command::Serve => {}
        Command::Health => return service_kit::probe_health(config.listen).await,
    }
    config.logging.init()?;
    service_kit::fix_mmap_threshold();
    let listener = service_kit::bind(config.listen, "--listen").await?;
    let metrics_listener = config.metrics.bind().await?;
    let stop = service_kit::shutdown_on_signal(config.http.shutdown_delay())?;
    let shutdown = stop.token();
    let mut registry = metrics_registry(env!("CARGO_PKG_VERSION"));
    let metrics = MessagingMetrics::register(&mut registry);
    let http = HttpMetrics::register(&mut registry);
    let traces = Traces::start("transformer", env!("CARGO_PKG_VERSION"), &mut registry)?;

    let brokers = Brokers {
        target: config.target_broker_url.unwrap_or_else(|| config.source_broker_url.clone()),
        source: config.source_broker_url,
        replay_on_new_queue: config.replay_on_new_queue,
    };
    let statuses: Vec<_> = FLOWS.iter().map(FlowStatus::new).collect();
    let connections = statuses.iter().flat_map(|flow| [flow.source.clone(), flow.target.clone()]);
    register_connections(&mut registry, connections);
    let flows = FLOWS
        .iter()
        .zip(&statuses)
        .map(|(flow, status)| forwarder::run(flow, &brokers, status, &metrics, &shutdown));

    let reported = statuses.clone();
    let health = health(move || {
        let check = |status: &ConnectionStatus| HealthCheck {
            name: status.name(),
            problem: status.problem(),
            optional: false,
        };
        let connections = reported.iter().flat_map(|flow| [&flow.source, &flow.target]);
        let mut checks: Vec<_> = connections.map(check).collect();
        // The service works with a gap: it lacks earlier events.
        let problem = GapStatus::problems(reported.iter().map(|flow| &flow.gap));
        checks.push(HealthCheck { name: "replays", problem, optional: true });
        let problem = SubscriptionControl::problems(reported.iter().map(|flow| &flow.control));
        checks.push(HealthCheck { name: "subscriptions", problem, optional: true });
        async { checks }
    });
    let serving = service_kit::serve(
        listener,
        http.observe(health, &TrustedProxies::default()),
        config.http.clone(),
        &stop,
    );
    let measuring = serve_metrics(metrics_listener, registry, || ready(()), &shutdown);
    let (served, measured, _) = tokio::join!(serving, measuring, join_all(flows));
    traces.shutdown();
    served.and(measured)
}
