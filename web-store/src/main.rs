//! The Web Store's process: settings, logging, wiring, shutdown.

use std::sync::Arc;

use anyhow::Context;
use messaging::{ConnectionStatus, supervise};
use service_kit::RateLimit;
use tokio::sync::Notify;
use web_store::{
    config::{Command, Config},
    http::{App, router},
    outbox,
    relay::Relay,
    republish,
    store::Store,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config: Config = service_kit::parse_config();
    match config.command {
        Some(Command::Health) => return service_kit::probe_health(config.listen).await,
        Some(Command::Republish(chosen)) => return republish::run(chosen, &config.database_url).await,
        None => {}
    }
    let broker_url = config.broker_url.context("--broker-url is missing")?;
    config.logging.init()?;
    service_kit::fix_mmap_threshold();
    let listener = service_kit::bind(config.listen).await?;
    let shutdown = service_kit::shutdown_on_signal()?;

    let schema = ConnectionStatus::new("schema");
    let broker = ConnectionStatus::new("broker");
    let store = Store::new(config.database_url.clone(), config.database_connections);
    let relay = Arc::new(Relay { database: config.database_url, broker: broker_url, wake: Notify::new() });
    let app = App {
        store,
        relay: Arc::clone(&relay),
        broker: broker.clone(),
        limit: Arc::new(RateLimit::per_minute(config.registrations_per_minute)),
        proxies: config.proxies,
    };

    let relaying = async {
        if let Some(owner) = &config.owner_database_url {
            supervise(&schema, &shutdown, || outbox::migrate(owner)).await;
        }
        supervise(&broker, &shutdown, || relay.session(&broker, &shutdown)).await;
    };
    let (served, ()) = tokio::join!(service_kit::serve(listener, router(app), &shutdown), relaying);
    served
}
