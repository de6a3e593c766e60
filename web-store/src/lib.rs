#![doc = include_str!("../README.md")]

pub mod config;
pub mod customer;
mod edit_key;
mod http;
mod idempotency;
mod outbox;
mod postgres;
mod relay;
mod replay;
mod republish;
mod schema;
mod store;
pub mod version;

pub use http::{FieldErrors, FormError, RegistrationForm};
pub use outbox::OutboxEvent;

use std::sync::Arc;

use contracts::topology::WEB_STORE_REPLAY_CUSTOMERS;
use messaging::{ConnectionStatus, supervise};
use service_kit::{RateLimit, required, write_stdout};
use sqlx::postgres::PgConnectOptions;

use config::{Command, Config};
use http::{App, router};
use postgres::report_shared_sessions;
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
    let listener = service_kit::bind(config.listen).await?;
    let shutdown = service_kit::shutdown_on_signal()?;

    let migrations = ConnectionStatus::new("migrations");
    let broker = ConnectionStatus::new("broker");
    let store = Store::new(database.clone(), config.database_connections);
    let replay_requests = ConnectionStatus::new(WEB_STORE_REPLAY_CUSTOMERS.name);
    let replays = ConnectionStatus::new("replays");
    let relay = Arc::new(Relay::new(database.clone(), broker_url.clone()));
    let replayer = Replayer::new(database.clone(), broker_url.clone(), Arc::clone(&relay));
    let limits = config.http.with_proxies(&config.proxies);
    let app = App {
        store,
        relay: Arc::clone(&relay),
        broker: broker.clone(),
        replays: [replay_requests.clone(), replays.clone()],
        // Without the owner's URL, another process applies them.
        migrations: config.owner_database_url.is_some().then(|| migrations.clone()),
        registration_limit: Arc::new(RateLimit::per_minute(config.registrations_per_minute)),
        update_limit: Arc::new(RateLimit::per_minute(config.registrations_per_minute)),
        proxies: config.proxies,
    };

    let migrating = async {
        if let Some(owner) = &config.owner_database_url {
            supervise(&migrations, &shutdown, || migrate(owner, &migrations)).await;
        }
    };
    // The relay waits for the schema itself: another process may apply the migrations.
    let relaying = supervise(&broker, &shutdown, || relay.session(&broker, &shutdown));
    let accepting = supervise(&replay_requests, &shutdown, || {
        accept_requests(&database, &broker_url, &replayer, &replay_requests, &shutdown)
    });
    let sending_again = supervise(&replays, &shutdown, || replayer.session(&replays, &shutdown));
    let checking = async {
        tokio::select! {
            () = report_shared_sessions(&database) => {}
            () = shutdown.cancelled() => {}
        }
    };
    let serving = service_kit::serve(listener, router(app), limits, &shutdown);
    let (served, ..) = tokio::join!(serving, relaying, accepting, sending_again, migrating, checking);
    served
}

async fn migrate(owner: &PgConnectOptions, status: &ConnectionStatus) -> anyhow::Result<()> {
    schema::migrate(owner).await?;
    status.up();
    Ok(())
}
