//! Marketing's process: settings, logging, wiring, shutdown.

use std::env;

use marketing::{
    config::{Command, Config},
    http::{App, router},
    list::List,
    operator, schema,
    session::session,
};
use messaging::{Link, supervise};
use service::{Part, health};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Before the settings, of which it needs none.
    if env::args().nth(1).as_deref() == Some("hash-password") {
        return operator::hash_password();
    }
    let config: Config = service::settings();
    match config.command {
        None => {}
        Some(Command::Service(command)) => return command.run(config.listen).await,
        Some(Command::HashPassword) => return operator::hash_password(),
    }
    config.logging.start()?;
    let listener = service::bind(config.listen).await?;
    let shutdown = service::shutdown_on_signal()?;

    let (database, broker) = (&config.database_url, &config.broker_url);
    let (schema_link, link) = (Link::new("schema"), Link::new("broker"));
    let consuming = async {
        if let Some(owner) = &config.owner_database_url {
            supervise(&schema_link, &shutdown, || schema::migrate(owner)).await;
        }
        supervise(&link, &shutdown, || session(database, broker, &link, &shutdown)).await;
    };

    let checked = (database.clone(), link.clone());
    let health = health(move || {
        let (database, broker) = checked.clone();
        async move {
            let mysql = schema::check(&database).await.err().map(|error| format!("{error:#}"));
            vec![
                Part { name: "mysql", problem: mysql, optional: false },
                Part { name: broker.name(), problem: broker.problem(), optional: false },
            ]
        }
    });
    let list = List::new(database.clone());
    let app = config.operator_password_hash.map(|password| App::new(list, password, config.proxies));
    let (served, ()) = tokio::join!(service::serve(listener, router(app, health), &shutdown), consuming);
    served
}
