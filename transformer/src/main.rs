//! The transformer's process: settings, logging, wiring, shutdown.

use futures_util::future::join_all;
use messaging::{ConnectionStatus, supervise};
use service_kit::{HealthCheck, health};
use transformer::{config::Config, flow, routes::ROUTES};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config: Config = service_kit::parse_config();
    if let Some(command) = config.command {
        return command.run(config.listen).await;
    }
    config.logging.init()?;
    service_kit::fix_mmap_threshold();
    let listener = service_kit::bind(config.listen).await?;
    let shutdown = service_kit::shutdown_on_signal()?;

    let source = &config.source_broker_url;
    let target = config.target_broker_url.as_ref().unwrap_or(source);
    let links: Vec<ConnectionStatus> =
        ROUTES.iter().map(|route| ConnectionStatus::new(route.queue.name)).collect();
    let flows = ROUTES.iter().zip(&links).map(|(route, link)| {
        let shutdown = &shutdown;
        supervise(link, shutdown, move || flow::session(route, source, target, link, shutdown))
    });

    let reported = links.clone();
    let health = health(move || {
        let part = |link: &ConnectionStatus| HealthCheck {
            name: link.name(),
            problem: link.problem(),
            optional: false,
        };
        let parts: Vec<HealthCheck> = reported.iter().map(part).collect();
        async { parts }
    });
    let (served, _) = tokio::join!(service_kit::serve(listener, health, &shutdown), join_all(flows));
    served
}
