#![doc = include_str!("../README.md")]

mod config;
pub mod consumer;
mod count_cache;
pub mod customer;
mod http;
mod list;
mod metrics;
mod mysql;
mod name;
mod probes;
mod readiness;
pub mod schema;
mod segment;
pub mod store;
pub mod subscriptions;

pub use config::Config;
pub use http::ListQuery;
pub use list::{Cursor, PageStart};
pub use mysql::{DatabaseUrl, MysqlError};
pub use service_kit::hash_password;

use std::{future::ready, time::Duration};

use anyhow::Context;
use axum::Router;
use futures_util::future::join_all;
use messaging::{
    BuildRequest, ConnectionStatus, GapStatus, SubscriptionControl, register_connections, supervise,
};
use service_kit::{HealthCheck, Login, health, metrics_registry, required, serve_metrics, write_stdout};
use telemetry::Traces;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use config::Command;
use consumer::{SubscriptionStatus, replay_request};
use http::{App, router};
use list::CustomerList;
use metrics::Metrics;
use probes::Probes;
use readiness::SharedCheck;
use subscriptions::SUBSCRIPTIONS;

/// Time between two checks of a schema that another process brings up to date.
const SCHEMA_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the program: the service, or the subcommand.
///
/// # Errors
/// Returns an error if the service cannot start, its HTTP server fails, or the subcommand fails.
pub async fn run(config: Config) -> anyhow::Result<()> {
    match config.command.unwrap_or_default() {
        Command::Serve => Box::pin(serve(config)).await,
        Command::Migrate => {
            let owner = required::<Config, _>(config.owner_database_url, "--owner-database-url <URL>");
            schema::migrate(&owner).await?;
            Ok(write_stdout("the schema is up to date\n")?)
        }
        Command::Health => service_kit::probe_health(config.listen).await,
        Command::HashPassword => hash_password(),
    }
}

/// Consumes commands and serves the list of customers until SIGTERM or SIGINT.
async fn serve(config: Config) -> anyhow::Result<()> {
    let database = required::<Config, _>(config.database_url, "--database-url <URL>");
    let broker = required::<Config, _>(config.broker_url, "--broker-url <URL>");
    config.logging.init()?;
    service_kit::fix_mmap_threshold();
    let listener = service_kit::bind(config.listen, "--listen").await?;
    let metrics_listener = config.metrics.bind().await?;
    let stop = service_kit::shutdown_on_signal(config.http.shutdown_delay())?;
    let shutdown = stop.token();
    let mut registry = metrics_registry(env!("CARGO_PKG_VERSION"));
    let metrics = Metrics::register(&mut registry);
    let traces = Traces::start("marketing", env!("CARGO_PKG_VERSION"), &mut registry)?;

    let schema_status = ConnectionStatus::new("schema");
    let states: Vec<_> = SUBSCRIPTIONS.iter().map(SubscriptionStatus::new).collect();
    register_connections(&mut registry, states.iter().map(|status| status.connection.clone()));
    let requests: Vec<_> =
        SUBSCRIPTIONS.iter().map(|subscription| move || replay_request(subscription)).collect();
    let migrated = CancellationToken::new();
    let migrating = async {
        if let Some(owner) = &config.owner_database_url {
            supervise(&schema_status, &shutdown, || schema::migrate(owner)).await;
        }
        migrated.cancel();
    };
    let consuming = async {
        wait_for_schema(&database, &migrated).await;
        let sessions =
            SUBSCRIPTIONS.iter().zip(&states).zip(&requests).map(|((subscription, status), request)| {
                let (database, broker, metrics, shutdown) = (&database, &broker, &metrics, &shutdown);
                let request = config.replay_on_new_queue.then_some(request as &BuildRequest<'_>);
                let session = move || {
                    consumer::session(subscription, database, broker, request, status, metrics, shutdown)
                };
                supervise(&status.connection, shutdown, session)
            });
        join_all(sessions).await;
    };

    let list = CustomerList::new(database.clone());
    let limits = config.http.with_proxies(&config.proxies);
    let proxies = config.proxies;
    let login = config.operator_password_hash.map(|hash| Login::new("marketing", hash, proxies.clone()));
    let login = login.transpose().context("--operator-password-hash")?;
    let app = login.map(|login| App::new(list.clone(), login));
    let unobserved = router(app, health_routes(database.clone(), states.clone(), metrics.probes.clone()));
    let router = metrics.http.observe(unobserved, &proxies);
    let serving = service_kit::serve(listener, router, limits, &stop);
    let measured = metrics.clone();
    let refresh = move || {
        measured.refresh(&list);
        ready(())
    };
    let measuring = serve_metrics(metrics_listener, registry, refresh, &shutdown);
    let watching = async {
        tokio::select! {
            () = metrics.probes.watch() => {}
            () = shutdown.cancelled() => {}
        }
    };
    let (served, measured, ..) = tokio::join!(serving, measuring, migrating, consuming, watching);
    traces.shutdown();
    served.and(measured)
}

/// Waits until this process has migrated the schema, or until the schema is sufficient without that.
async fn wait_for_schema(database: &DatabaseUrl, migrated: &CancellationToken) {
    let sufficient = async {
        while schema::check(database).await.is_err() {
            sleep(SCHEMA_POLL_INTERVAL).await;
        }
    };
    tokio::select! {
        () = migrated.cancelled() => {}
        () = sufficient => {}
    }
}

/// Returns the health routes. Marketing is ready if MySQL and the session of each subscription are available,
/// and if no subscription holds its batch. It stays ready with a gap, when it lacks earlier commands, without probes,
/// and while an operator pauses a subscription.
fn health_routes(database: DatabaseUrl, states: Vec<SubscriptionStatus>, probes: Probes) -> Router {
    let check = |name, problem| HealthCheck { name, problem, optional: false };
    let mysql = SharedCheck::new(readiness::INTERVAL, move || {
        let database = database.clone();
        async move { schema::check(&database).await.err().map(|error| format!("{error:#}")) }
    });
    health(move || {
        let mysql = mysql.clone();
        let sessions: Vec<_> = states
            .iter()
            .map(|SubscriptionStatus { connection, hold_reason, .. }| {
                check(connection.name(), connection.problem().or_else(|| hold_reason.get()))
            })
            .collect();
        let problem = GapStatus::problems(states.iter().map(|status| &status.gap));
        let gaps = HealthCheck { name: "replays", problem, optional: true };
        let problem = SubscriptionControl::problems(states.iter().map(|status| &status.control));
        let subscriptions = HealthCheck { name: "subscriptions", problem, optional: true };
        let probes = HealthCheck { name: "probes", problem: probes.problem(), optional: true };
        async move {
            [check("mysql", mysql.problem().await)]
                .into_iter()
                .chain(sessions)
                .chain([gaps, subscriptions, probes])
                .collect()
        }
    })
}
