//! Marketing's process: settings, logging, wiring, shutdown.

use std::env;

use futures_util::future::join_all;
use marketing::{
    command::COMMANDS,
    config::{Command, Config},
    http::{App, router},
    list::List,
    operator, schema,
    session::session,
};
use messaging::{ConnectionStatus, supervise};
use service_kit::{HealthCheck, health};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Before the settings, of which it needs none.
    if env::args().nth(1).as_deref() == Some("hash-password") {
        return operator::hash_password();
    }
    let config: Config = service_kit::parse_config();
    match config.command {
        None => {}
        Some(Command::Health) => return service_kit::probe_health(config.listen).await,
        Some(Command::HashPassword) => return operator::hash_password(),
    }
    config.logging.init()?;
    service_kit::fix_mmap_threshold();
    let listener = service_kit::bind(config.listen).await?;
    let shutdown = service_kit::shutdown_on_signal()?;

    let (database, broker) = (&config.database_url, &config.broker_url);
    let schema_link = ConnectionStatus::new("schema");
    let links: Vec<ConnectionStatus> =
        COMMANDS.iter().map(|command| ConnectionStatus::new(command.queue.name)).collect();
    let consuming = async {
        if let Some(owner) = &config.owner_database_url {
            supervise(&schema_link, &shutdown, || schema::migrate(owner)).await;
        }
        let sessions = COMMANDS.iter().zip(&links).map(|(command, link)| {
            let shutdown = &shutdown;
            supervise(link, shutdown, move || session(command, database, broker, link, shutdown))
        });
        join_all(sessions).await;
    };

    let checked = (database.clone(), links.clone());
    let health = health(move || {
        let (database, links) = checked.clone();
        async move {
            let mysql = schema::check(&database).await.err().map(|error| format!("{error:#}"));
            let mysql = HealthCheck { name: "mysql", problem: mysql, optional: false };
            let part = |link: &ConnectionStatus| HealthCheck {
                name: link.name(),
                problem: link.problem(),
                optional: false,
            };
            [mysql].into_iter().chain(links.iter().map(part)).collect()
        }
    });
    let list = List::new(database.clone());
    let app = config.operator_password_hash.map(|password| App::new(list, password, config.proxies));
    let (served, ()) = tokio::join!(service_kit::serve(listener, router(app, health), &shutdown), consuming);
    served
}
