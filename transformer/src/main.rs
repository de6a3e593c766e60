//! The transformer's process: settings, logging, wiring, shutdown.

use futures_util::future::join_all;
use messaging::{Link, supervise};
use service::{Part, health};
use transformer::{config::Config, flow, routes::ROUTES};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config: Config = service::settings();
    if let Some(command) = config.command {
        return command.run(config.listen).await;
    }
    config.logging.start()?;
    service::return_freed_memory();
    let listener = service::bind(config.listen).await?;
    let shutdown = service::shutdown_on_signal()?;

    let source = &config.source_broker_url;
    let target = config.target_broker_url.as_ref().unwrap_or(source);
    let links: Vec<Link> = ROUTES.iter().map(|route| Link::new(route.queue.name)).collect();
    let flows = ROUTES.iter().zip(&links).map(|(route, link)| {
        let shutdown = &shutdown;
        supervise(link, shutdown, move || flow::session(route, source, target, link, shutdown))
    });

    let reported = links.clone();
    let health = health(move || {
        let part = |link: &Link| Part { name: link.name(), problem: link.problem(), optional: false };
        let parts: Vec<Part> = reported.iter().map(part).collect();
        async { parts }
    });
    let (served, _) = tokio::join!(service::serve(listener, health, &shutdown), join_all(flows));
    served
}
