//! Encrypted connections to all servers, wrong certificates, and secrets in files that change while the services run.
//!
//! One start of the servers serves all cases, because it takes most of the time.

mod certificates;
mod secrets;
mod servers;

use std::time::Duration;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor};
use stack::{
    connection_urls::ConnectionUrls,
    ports::Ports,
    service::{Program, Service},
};
use system_tests::{
    SOON, TestEnvironment,
    customers::{http_client, register, wait_for_marketing_rows},
    eventually,
    load::RegistrationLoad,
    programs::{console_command, run},
};

use certificates::Authority;
use secrets::{Parameters, Secrets, TlsUrls};
use servers::TlsServers;

/// The name in the certificate of the servers.
const HOST: &str = "localhost";

/// An address of the servers that the certificate does not contain.
const OTHER_HOST: &str = "127.0.0.1";

const NEW_PASSWORD: &str = "rotated-while-running";

const UNKNOWN_CA: &str = "no trusted CA has signed the certificate of the server";
const WRONG_HOST: &str = "the certificate of the server is not valid for the host name in the URL";
const EXPIRED: &str = "the certificate of the server has expired";

/// Longer than the largest backoff of a session, several times.
const RECONNECTED: Duration = Duration::from_mins(1);

#[tokio::test]
async fn services_use_tls_and_follow_renewed_certificates_and_secrets() -> anyhow::Result<()> {
    let (authority, other) = (Authority::new().await?, Authority::new().await?);
    authority.issue("server", &[HOST], 0).await?;
    let servers = TlsServers::start(&authority).await?;
    let environment = TestEnvironment::on(&servers.servers).await?;
    let parameters = Parameters::new(&authority, &authority);
    let urls = TlsUrls {
        urls: environment.connection_urls(),
        parameters: &parameters,
        host: HOST,
        broker_port: servers.broker_port,
    };
    let secrets = Secrets::new()?;
    let mut services = start_services(&environment, &secrets, &urls)?;

    // An expired certificate, and then a renewed one: the services need no restart.
    for (service, part) in [
        (&services[0], "postgres"),
        (&services[0], "broker"),
        (&services[1], "customer-registered-to-create-customer"),
        (&services[2], "mysql"),
    ] {
        wait_for_problem(service, part, EXPIRED).await?;
    }
    let log = environment.log();
    let about_broker = |line: &&str| line.contains("connection=\"broker\"") && line.contains(EXPIRED);
    assert_eq!(log.lines().filter(about_broker).count(), 1, "one line, regardless of the number of attempts");
    authority.issue("server", &[HOST], 1).await?;
    servers.reload_certificates(&authority).await?;
    for service in &mut services {
        service.wait_ready(RECONNECTED).await?;
    }
    let mut ids = vec![register(&services[0], "Ann").await?];
    wait_for_marketing_rows(&environment, &ids, SOON).await?;
    assert_all_connections_are_encrypted(&servers).await?;

    reject_wrong_servers(&environment, &urls, &other, &authority).await?;
    reject_servers_without_tls(&environment, &urls).await?;
    assert_eq!(reconcile_with_files(&environment, &urls).await?, 0, "the console reads all servers over TLS");

    ids.extend(rotate_passwords(&environment, &servers, &secrets, &services).await?);
    wait_for_marketing_rows(&environment, &ids, RECONNECTED).await
}

/// Starts the three services. Their settings name files, and no secret is in their environment.
fn start_services(
    environment: &TestEnvironment,
    secrets: &Secrets,
    urls: &TlsUrls<'_>,
) -> anyhow::Result<[Service; 3]> {
    let start = |program: Program, settings: &[[(String, String); 2]]| {
        let settings: Vec<(&str, &str)> =
            settings.iter().flatten().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        environment.start(program, &settings)
    };
    let web_store = start(
        Program::WebStore,
        &[
            secrets.setting("WEB_STORE_DATABASE_URL", &urls.postgres("web_store"))?,
            secrets.setting("WEB_STORE_OWNER_DATABASE_URL", &urls.postgres("web_store_owner"))?,
            secrets.setting("WEB_STORE_BROKER_URL", &urls.broker("web-store"))?,
        ],
    )?;
    let transformer = start(
        Program::Transformer,
        &[secrets.setting("TRANSFORMER_SOURCE_BROKER_URL", &urls.broker("transformer"))?],
    )?;
    let marketing = start(
        Program::Marketing,
        &[
            secrets.setting("MARKETING_DATABASE_URL", &urls.mysql("marketing"))?,
            secrets.setting("MARKETING_OWNER_DATABASE_URL", &urls.mysql("marketing_owner"))?,
            secrets.setting("MARKETING_BROKER_URL", &urls.broker("marketing"))?,
        ],
    )?;
    Ok([web_store, transformer, marketing])
}

/// Waits until a part of a service's health is down with this cause.
async fn wait_for_problem(service: &Service, part: &str, cause: &str) -> anyhow::Result<()> {
    let url = format!("{}/health/ready", service.url());
    let client = http_client()?;
    let read = async || -> Option<String> {
        let body: Value = client.get(&url).send().await.ok()?.json().await.ok()?;
        Some(body["parts"][part].as_str()?.to_owned())
    };
    let names_cause = async || read().await.filter(|problem| problem.contains(cause)).map(drop);
    let waited = eventually(SOON, &format!("{part}: {cause}"), names_cause).await;
    match waited {
        Ok(()) => Ok(()),
        Err(error) => Err(error.context(format!("{part} reports: {:?}", read().await))),
    }
}

/// The other users of the test environment use no TLS, so only the users of the services count.
async fn assert_all_connections_are_encrypted(servers: &TlsServers) -> anyhow::Result<()> {
    let select = "SELECT count(*), count(*) FILTER (WHERE ssl AND client_dn IS NOT NULL)
        FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'web_store'";
    let (all, encrypted): (i64, i64) =
        sqlx::query_as(select).fetch_one(&mut servers.postgres().await?).await?;
    assert!(all > 0 && all == encrypted, "{encrypted} of {all} connections to PostgreSQL");
    Ok(())
}

/// Starts a Web Store and a Marketing whose URLs are `urls`, and waits for the same cause at all servers.
async fn wait_for_rejections(
    environment: &TestEnvironment,
    urls: &TlsUrls<'_>,
    cause: &str,
) -> anyhow::Result<()> {
    let web_store = [
        ("WEB_STORE_DATABASE_URL", urls.postgres("web_store")),
        ("WEB_STORE_OWNER_DATABASE_URL", String::new()),
        ("WEB_STORE_BROKER_URL", urls.broker("web-store")),
    ];
    let web_store = environment.start(Program::WebStore, &borrow(&web_store))?;
    let marketing = [
        ("MARKETING_DATABASE_URL", urls.mysql("marketing")),
        ("MARKETING_OWNER_DATABASE_URL", String::new()),
    ];
    let marketing = environment.start(Program::Marketing, &borrow(&marketing))?;
    wait_for_problem(&web_store, "postgres", cause).await?;
    wait_for_problem(&web_store, "broker", cause).await?;
    wait_for_problem(&marketing, "mysql", cause).await?;
    assert!(!environment.logs_contain("UNIX"), "a text with the time would appear at each attempt");
    Ok(())
}

fn borrow<'a>(settings: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    settings.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

async fn reject_wrong_servers(
    environment: &TestEnvironment,
    urls: &TlsUrls<'_>,
    other: &Authority,
    authority: &Authority,
) -> anyhow::Result<()> {
    let parameters = Parameters::new(other, authority);
    wait_for_rejections(environment, &TlsUrls { parameters: &parameters, ..*urls }, UNKNOWN_CA).await?;
    wait_for_rejections(environment, &TlsUrls { host: OTHER_HOST, ..*urls }, WRONG_HOST).await
}

/// The shared servers of `stack run` have no TLS.
async fn reject_servers_without_tls(environment: &TestEnvironment, urls: &TlsUrls<'_>) -> anyhow::Result<()> {
    let plain = ConnectionUrls::main(Ports::from_env()?);
    let urls = TlsUrls { urls: &plain, broker_port: plain.ports.broker, ..*urls };
    let settings = [
        ("WEB_STORE_DATABASE_URL", urls.postgres("web_store")),
        ("WEB_STORE_OWNER_DATABASE_URL", String::new()),
        ("WEB_STORE_BROKER_URL", urls.broker("web-store")),
    ];
    let web_store = environment.start(Program::WebStore, &borrow(&settings))?;
    wait_for_problem(&web_store, "postgres", "server does not support TLS").await?;
    wait_for_problem(&web_store, "broker", "the server offers no TLS at this address").await
}

/// Runs `console reconcile` with its secrets in files, and returns its exit status.
async fn reconcile_with_files(environment: &TestEnvironment, urls: &TlsUrls<'_>) -> anyhow::Result<i32> {
    let secrets = Secrets::new()?;
    let mut command = console_command(environment)?;
    for setting in [
        secrets.setting("WEB_STORE_DATABASE_URL", &urls.postgres("console"))?,
        secrets.setting("MARKETING_DATABASE_URL", &urls.mysql("console"))?,
        secrets.setting("BROKER_URL", &urls.broker("console"))?,
    ] {
        command.envs(setting);
    }
    command.arg("reconcile");
    let output = run(command, "").await?;
    println!("{}{}", output.stdout, output.stderr);
    Ok(output.status)
}

/// Changes the password of each service under load: at the server, then in the file. Then all sessions end. Returns the
/// ids of the customers that were registered meanwhile.
async fn rotate_passwords(
    environment: &TestEnvironment,
    servers: &TlsServers,
    secrets: &Secrets,
    services: &[Service; 3],
) -> anyhow::Result<Vec<String>> {
    let load = RegistrationLoad::start(&services[0], 2)?;
    load.wait_for_more(5, SOON).await?;
    let management = environment.management();
    let mut postgres = servers.postgres().await?;
    let mut mysql = servers.mysql().await?;

    postgres.execute(AssertSqlSafe(format!("ALTER ROLE web_store PASSWORD '{NEW_PASSWORD}'"))).await?;
    mysql
        .execute(AssertSqlSafe(format!("ALTER USER 'marketing'@'%' IDENTIFIED BY '{NEW_PASSWORD}'")))
        .await?;
    for user in ["web-store", "transformer", "marketing"] {
        management.set_password(user, NEW_PASSWORD).await?;
    }
    for variable in [
        "WEB_STORE_DATABASE_URL",
        "WEB_STORE_BROKER_URL",
        "TRANSFORMER_SOURCE_BROKER_URL",
        "MARKETING_DATABASE_URL",
        "MARKETING_BROKER_URL",
    ] {
        secrets.change_password(variable, NEW_PASSWORD)?;
    }
    postgres
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'web_store'")
        .await?;
    let sessions = "SELECT CAST(id AS UNSIGNED) FROM information_schema.processlist WHERE user = 'marketing'";
    let sessions: Vec<u64> = sqlx::query_scalar(sessions).fetch_all(&mut mysql).await?;
    for session in sessions {
        // It may have ended meanwhile.
        let _ = mysql.execute(AssertSqlSafe(format!("KILL {session}"))).await;
    }
    let closed = async || management.close_connections().await.ok().filter(|closed| *closed > 0).map(drop);
    eventually(SOON, "connections to the broker are closed", closed).await?;

    load.wait_for_more(20, RECONNECTED).await?;
    let results = load.stop().await?;
    println!("{} registered, {} refused", results.confirmed.len(), results.failures);
    Ok(results.confirmed)
}
