//! Marketing's process: settings, logging, wiring, shutdown.

use marketing::{config::Config, schema, session::session};
use messaging::{Link, supervise};
use service::{Part, health};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config: Config = service::settings();
    if let Some(command) = config.command {
        return command.run(config.listen).await;
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
    let (served, ()) = tokio::join!(service::serve(listener, health, &shutdown), consuming);
    served
}
