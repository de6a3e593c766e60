//! Programs with several addresses of their broker use one that works.

use faults::proxy::{Protocol, Proxy};
use serde_json::Value;
use stack::{connection_urls::PASSWORD, ports::free_port, service::Program};
use system_tests::{
    SOON, TestEnvironment,
    customers::{http_client, register, wait_for_marketing_rows},
    eventually,
    programs::{reconcile_command, run},
};

#[tokio::test]
async fn programs_move_to_an_address_that_works() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let urls = environment.connection_urls();
    let links = [
        Proxy::to(urls.ports.broker, Protocol::Amqp).await?,
        Proxy::to(urls.ports.broker, Protocol::Amqp).await?,
    ];
    let ports = [free_port()?, links[0].port(), links[1].port()];
    let broker = |user| urls.broker_urls(user, &ports);
    let start =
        async |program, variable, user| environment.start_ready(program, &[(variable, &broker(user))]).await;
    let web_store = start(Program::WebStore, "WEB_STORE_BROKER_URL", "web-store").await?;
    let _transformer = start(Program::Transformer, "TRANSFORMER_SOURCE_BROKER_URL", "transformer").await?;
    let _marketing = start(Program::Marketing, "MARKETING_BROKER_URL", "marketing").await?;

    let mut ids = vec![register(&web_store, "Both").await?];
    for (n, link) in links.iter().enumerate() {
        link.cut();
        ids.push(register(&web_store, &format!("Without {n}")).await?);
        wait_for_marketing_rows(&environment, &ids, SOON).await?;
        link.restore();
    }
    let mut reconcile = reconcile_command(&environment)?;
    reconcile.env("BROKER_URL", broker("console"));
    let output = run(reconcile, "").await?;
    assert_eq!(output.status, 0, "{}{}", output.stdout, output.stderr);

    links.iter().for_each(Proxy::cut);
    let (client, health) = (http_client()?, format!("{}/health/ready", web_store.url()));
    eventually(SOON, "health names each address of the broker", async || {
        let health: Value = client.get(&health).send().await.ok()?.json().await.ok()?;
        let cause = health["parts"]["broker"].as_str()?.to_owned();
        ports.iter().all(|port| cause.contains(&format!("127.0.0.1:{port}"))).then_some(())
    })
    .await?;
    assert!(!environment.logs_contain(PASSWORD));
    Ok(())
}
