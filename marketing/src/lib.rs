#![doc = include_str!("../README.md")]

mod config;
pub mod consumer;
mod count_cache;
pub mod customer;
mod http;
mod list;
mod mysql;
mod operator;
pub mod schema;
mod segment;
pub mod store;

pub use config::Config;
pub use mysql::MysqlError;
pub use operator::hash_password;

use axum::Router;
use futures_util::future::join_all;
use messaging::{ConnectionStatus, supervise};
use service_kit::{HealthCheck, health, required, write_stdout};
use sqlx::mysql::MySqlConnectOptions;

use config::Command;
use consumer::SUBSCRIPTIONS;
use http::{App, router};
use list::CustomerList;

/// Runs the program: the service, or the subcommand.
///
/// # Errors
/// Returns an error if the service cannot start, its HTTP server fails, or the subcommand fails.
pub async fn run(config: Config) -> anyhow::Result<()> {
    match config.command.unwrap_or_default() {
        Command::Serve => serve(config).await,
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
    let listener = service_kit::bind(config.listen).await?;
    let shutdown = service_kit::shutdown_on_signal()?;

    let schema_status = ConnectionStatus::new("schema");
    let statuses: Vec<ConnectionStatus> =
        SUBSCRIPTIONS.iter().map(|subscription| ConnectionStatus::new(subscription.queue.name)).collect();
    let consuming = async {
        if let Some(owner) = &config.owner_database_url {
            supervise(&schema_status, &shutdown, || schema::migrate(owner)).await;
        }
        let database = &database;
        let broker = &broker;
        let shutdown = &shutdown;
        let sessions = SUBSCRIPTIONS.iter().zip(&statuses).map(|(subscription, status)| {
            let session = move || consumer::session(subscription, database, broker, status, shutdown);
            supervise(status, shutdown, session)
        });
        join_all(sessions).await;
    };

    let list = CustomerList::new(database.clone());
    let app = config.operator_password_hash.map(|hash| App::new(list, hash, config.proxies));
    let router = router(app, health_routes(database.clone(), statuses.clone()));
    let (served, ()) = tokio::join!(service_kit::serve(listener, router, &shutdown), consuming);
    served
}

/// Returns the health routes. Marketing is ready if MySQL and the session of each subscription are available.
fn health_routes(database: MySqlConnectOptions, statuses: Vec<ConnectionStatus>) -> Router {
    let check = |name, problem| HealthCheck { name, problem, optional: false };
    health(move || {
        let database = database.clone();
        let sessions: Vec<_> = statuses.iter().map(|status| check(status.name(), status.problem())).collect();
        async move {
            let problem = schema::check(&database).await.err().map(|error| format!("{error:#}"));
            [check("mysql", problem)].into_iter().chain(sessions).collect()
        }
    })
}
