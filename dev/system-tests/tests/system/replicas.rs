//! A database with a standby: the services use the server that accepts writes, and follow a promotion.

use sqlx::PgPool;
use stack::{connection_urls::PASSWORD, ports::free_port, postgres::Postgres, service::Program};
use system_tests::{
    SOON, TestEnvironment,
    customers::{http_client, register_at},
    eventually,
};

#[tokio::test]
async fn web_store_follows_promotion_while_old_primary_hangs() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut primary = Postgres::start(&directory.path().join("primary"), free_port()?).await?;
    let standby = primary.start_standby(&directory.path().join("standby"), free_port()?).await?;
    let url = |user: &str, hosts: &str| format!("postgres://{user}:{PASSWORD}@{hosts}/web_store");
    let both = format!("127.0.0.1:{},127.0.0.1:{}", standby.port(), primary.port());
    let (user, owner) = (url("web_store", &both), url("web_store_owner", &both));
    let environment = TestEnvironment::new().await?;
    let settings =
        [("WEB_STORE_DATABASE_URL", user.as_str()), ("WEB_STORE_OWNER_DATABASE_URL", owner.as_str())];
    let web_store = environment.start_ready(Program::WebStore, &settings).await?;
    let client = http_client()?;
    // The standby is the first host, and refuses writes.
    register_at(&client, &web_store.url(), "Before").await?;

    // Its connections stay open, and it does not respond.
    primary.process.pause();
    standby.promote().await?;
    let register = async || register_at(&client, &web_store.url(), "After").await.ok();
    let registered = eventually(SOON, "the promoted server registers a customer", register).await;
    primary.process.kill().await?;

    let promoted = PgPool::connect(&url("web_store_owner", &format!("127.0.0.1:{}", standby.port()))).await?;
    let select = sqlx::query_scalar("SELECT count(*) FROM customers WHERE id = $1::uuid");
    let found: i64 = select.bind(registered?).fetch_one(&promoted).await?;
    assert_eq!(found, 1);
    Ok(())
}
