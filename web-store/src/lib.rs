#![doc = include_str!("../README.md")]

pub mod config;
pub mod customer;
mod edit_key;
mod erasure;
mod http;
mod idempotency;
mod metrics;
mod outbox;
mod postgres;
mod probes;
mod relay;
mod replay;
mod republish;
mod schema;
mod store;
pub mod version;

pub use erasure::check_erase_request;
pub use http::{FieldErrors, FormError, RegistrationForm};
pub use outbox::OutboxEvent;
pub use replay::check_replay_request;

use std::sync::Arc;

use contracts::topology::{WEB_STORE_ERASE_CUSTOMER, WEB_STORE_REPLAY_CUSTOMERS};
use messaging::{ConnectionStatus, SubscriptionControl, register_connections, supervise};
use service_kit::{RateLimit, metrics_registry, required, serve_metrics, write_stdout};
use telemetry::Traces;

use config::{Command, Config};
use erasure::accept_erasures;
use http::{App, router};
use metrics::Metrics;
use postgres::{DatabaseUrl, report_shared_sessions};
use probes::send_probes;
use relay::Relay;
use replay::{Replayer, accept_requests};
use store::Store;

/// Runs the program: the service, or the subcommand.
///
/// # Errors
/// Returns an error if the service cannot start or its HTTP server breaks, or if the subcommand fails.
pub async fn run(config: Config) -> anyhow::Result<()> {
    match config.command {
        None | Some(Command::Serve) => Box::pin(serve(config)).await,
        Some(Command::Migrate) => {
            let owner = required::<Config, _>(config.owner_database_url, "--owner-database-url <URL>");
            schema::migrate_patiently(&owner).await?;
            Ok(write_stdout("the schema is up to date\n")?)
        }
        Some(Command::Republish(arguments)) => {
            let database = required::<Config, _>(config.database_url, "--database-url <URL>");
            republish::run(arguments, &database).await
        }
        Some(Command::Health) => service_kit::probe_health(config.listen).await,
    }
}

/// Serves HTTP and relays events until SIGTERM or SIGINT.
async fn serve(config: Config) -> anyhow::Result<()> {
    let database = required::<Config, _>(config.database_url, "--database-url <URL>");
    let broker_url = required::<Config, _>(config.broker_url, "--broker-url <URL>");
    config.logging.init()?;
    service_kit::fix_mmap_threshold();
    let listener = service_kit::bind(config.listen, "--listen").await?;
    let metrics_listener = config.metrics.bind().await?;
    let stop = service_kit::shutdown_on_signal(config.http.shutdown_delay())?;
    let shutdown = stop.token();
    let mut registry = metrics_registry(env!("CARGO_PKG_VERSION"));
    let metrics = Metrics::register(&mut registry);
    let traces = Traces::start("web-store", env!("CARGO_PKG_VERSION"), &mut registry)?;

    let migrations = ConnectionStatus::new("migrations");
    let broker = ConnectionStatus::new("broker");
    let store = Store::new(database.clone(), config.database_connections, &metrics.registrations);
    let replay_requests = ConnectionStatus::new(WEB_STORE_REPLAY_CUSTOMERS.name);
    let replay_control = SubscriptionControl::new(&WEB_STORE_REPLAY_CUSTOMERS);
    let replays = ConnectionStatus::new("replays");
    let erasures = ConnectionStatus::new(WEB_STORE_ERASE_CUSTOMER.name);
    let erasure_control = SubscriptionControl::new(&WEB_STORE_ERASE_CUSTOMER);
    let relay = Arc::new(Relay::new(database.clone(), broker_url.clone(), metrics.messaging.clone()));
    let replayer =
        Replayer::new(database.clone(), broker_url.clone(), Arc::clone(&relay), metrics.messaging.clone());
    let connections = [&broker, &replay_requests, &replays, &erasures];
    register_connections(&mut registry, connections.map(ConnectionStatus::clone));
    let limits = config.http.with_proxies(&config.proxies);
    let app = App {
        store: store.clone(),
        relay: Arc::clone(&relay),
        broker: broker.clone(),
        requests: [replay_requests.clone(), replays.clone(), erasures.clone()],
        controls: [replay_control.clone(), erasure_control.clone()],
        // Without the owner's URL, another process applies them.
        migrations: config.owner_database_url.is_some().then(|| migrations.clone()),
        registration_limit: RateLimit::per_minute(config.registrations_per_minute),
        update_limit: RateLimit::per_minute(config.registrations_per_minute),
        proxies: config.proxies,
        metrics: metrics.clone(),
    };

    let migrating = async {
        if let Some(owner) = &config.owner_database_url {
            supervise(&migrations, &shutdown, || migrate(owner, &migrations)).await;
        }
    };
    // The relay waits for the schema itself: another process may apply the migrations.
    let relaying = supervise(&broker, &shutdown, || relay.session(&broker, &shutdown));
    let accepting = supervise(&replay_requests, &shutdown, || {
        accept_requests(&database, &broker_url, &replayer, &replay_requests, &replay_control, &shutdown)
    });
    let sending_again = supervise(&replays, &shutdown, || replayer.session(&replays, &shutdown));
    let erasing = supervise(&erasures, &shutdown, || {
        let metrics = &metrics.messaging;
        accept_erasures(&database, &broker_url, &relay, metrics, &erasures, &erasure_control, &shutdown)
    });
    let probing = async {
        if !config.probe_interval.is_zero() {
            send_probes(&store, &relay, config.probe_interval, &shutdown).await;
        }
    };
    let checking = async {
        tokio::select! {
            () = report_shared_sessions(&database) => {}
            () = shutdown.cancelled() => {}
        }
    };
    let serving = service_kit::serve(listener, router(app), limits, &stop);
    let refreshed = metrics.clone();
    let measured_store = store.clone();
    let refresh = move || {
        let (metrics, store) = (refreshed.clone(), measured_store.clone());
        async move { metrics.refresh(&store).await }
    };
    let measuring = serve_metrics(metrics_listener, registry, refresh, &shutdown);
    let (served, measured, ..) = tokio::join!(
        serving,
        measuring,
        relaying,
        accepting,
        sending_again,
        erasing,
        migrating,
        probing,
        checking
    );
    traces.shutdown();
    served.and(measured)
}

async fn migrate(owner: &DatabaseUrl, status: &ConnectionStatus) -> anyhow::Result<()> {
    schema::migrate(owner).await?;
    status.up();
    Ok(())
}
