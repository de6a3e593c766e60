//! Each user of the broker and of the databases is refused outside of its role. SECURITY.md lists what a leaked password
//! of each user reaches.

use contracts::{
    operations::{OPERATIONS_STATUS, OPERATIONS_SUBSCRIPTIONS},
    topology::{
        MARKETING_COMMANDS, MARKETING_EVENTS, WEB_STORE_COMMANDS, WEB_STORE_ERASURES, WEB_STORE_EVENTS,
        WEB_STORE_REPLAYS,
    },
};
use lapin::{
    BasicProperties, Channel, Connection as BrokerConnection, ConnectionProperties,
    options::{
        BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions,
        QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
    },
    types::FieldTable,
};
use reqwest::{Client, StatusCode};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection, mysql::MySqlDatabaseError};
use stack::{
    connection_urls::{ConnectionUrls, PASSWORD},
    service::Program,
};
use system_tests::{TestEnvironment, programs};
use tokio::process::Command;

/// PostgreSQL's code for a missing permission.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// MySQL's codes for a missing permission: on a database, of the server, on a table, and of an administrator.
const DENIED: [u16; 4] = [1044, 1045, 1142, 1227];

/// Statements for the Web Store's database that no user of the project may execute, not even the owner of the tables.
const POSTGRES_NEVER: &[&str] = &[
    "CREATE ROLE intruder",
    "CREATE DATABASE intruder",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "SET SESSION AUTHORIZATION postgres",
    "SELECT rolpassword FROM pg_authid",
    "SELECT pg_read_file('/etc/passwd')",
    "COPY customers TO PROGRAM 'true'",
    "COPY customers TO '/tmp/customers'",
    "ALTER SYSTEM SET max_connections = 1",
];

/// Statements for the owner only.
const POSTGRES_OWNER: &[&str] = &[
    "SET ROLE web_store_owner",
    "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'intruder', TRUE, '', 0)",
    "UPDATE _sqlx_migrations SET success = FALSE",
    "DELETE FROM _sqlx_migrations",
    "TRUNCATE customers CASCADE",
    "DROP TABLE outbox",
    "ALTER TABLE customers ADD intruder int",
    "ALTER TABLE customers OWNER TO CURRENT_USER",
    "COMMENT ON TABLE customers IS ''",
    "CREATE TABLE intruder ()",
    "CREATE TEMPORARY TABLE intruder ()",
    "CREATE SCHEMA intruder",
    "CREATE FUNCTION intruder() RETURNS int LANGUAGE sql AS 'SELECT 1'",
];

/// Changes of rows, which the console may not make.
const POSTGRES_ROWS: &[&str] = &[
    "UPDATE customers SET id = id",
    "DELETE FROM customers",
    "DELETE FROM outbox",
    "INSERT INTO replays DEFAULT VALUES",
    "SELECT 1 FROM customers FOR UPDATE",
];

/// Statements for Marketing's database that no user of the project may execute, not even the owner of the tables.
const MYSQL_NEVER: &[&str] = &[
    "CREATE USER intruder",
    "CREATE DATABASE intruder",
    "SELECT user FROM mysql.user",
    "SELECT 1 INTO OUTFILE '/tmp/customers'",
    "SET GLOBAL max_connections = 10",
    "SHUTDOWN",
];

const MYSQL_OWNER: &[&str] = &[
    "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'intruder', TRUE, '', 0)",
    "UPDATE _sqlx_migrations SET success = FALSE",
    "DELETE FROM _sqlx_migrations",
    "TRUNCATE TABLE customers",
    "DROP TABLE customers",
    "ALTER TABLE customers ADD intruder int",
    "CREATE INDEX intruder ON customers (source)",
    "CREATE TABLE intruder (x int)",
    "CREATE TEMPORARY TABLE intruder (x int)",
    "CREATE VIEW intruder AS SELECT 1",
    "CREATE PROCEDURE intruder() SELECT 1",
    "LOCK TABLES customers WRITE",
];

const MYSQL_ROWS: &[&str] =
    &["UPDATE customers SET source = source", "INSERT INTO customers (full_name) VALUES ('intruder')"];

#[tokio::test]
async fn database_users_are_refused_outside_of_their_role() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let urls = environment.connection_urls();
    migrate(
        Program::WebStore,
        "WEB_STORE_OWNER_DATABASE_URL",
        urls.web_store_database_url("web_store_owner"),
    )
    .await?;
    migrate(
        Program::Marketing,
        "MARKETING_OWNER_DATABASE_URL",
        urls.marketing_database_url("marketing_owner"),
    )
    .await?;
    for (user, forbidden) in [
        ("web_store_owner", &[POSTGRES_NEVER][..]),
        ("web_store", &[POSTGRES_NEVER, POSTGRES_OWNER]),
        ("console", &[POSTGRES_NEVER, POSTGRES_OWNER, POSTGRES_ROWS]),
    ] {
        let mut connection = PgConnection::connect(&urls.web_store_database_url(user)).await?;
        for statement in forbidden.concat() {
            let refusal = connection.execute(AssertSqlSafe(statement)).await.err();
            let code = refusal.as_ref().and_then(|error| error.as_database_error()?.code());
            assert_eq!(code.as_deref(), Some(INSUFFICIENT_PRIVILEGE), "{user}: {statement}: {refusal:?}");
        }
        let administrative = ConnectionUrls { web_store_database: "postgres".to_owned(), ..urls.clone() };
        let other = PgConnection::connect(&administrative.web_store_database_url(user)).await;
        assert!(other.is_err(), "{user} may use another database");
    }
    for (user, forbidden) in [
        ("marketing_owner", &[MYSQL_NEVER][..]),
        ("marketing", &[MYSQL_NEVER, MYSQL_OWNER, &["DELETE FROM customers"]]),
        ("console", &[MYSQL_NEVER, MYSQL_OWNER, MYSQL_ROWS, &["DELETE FROM customers"]]),
    ] {
        let mut connection = MySqlConnection::connect(&urls.marketing_database_url(user)).await?;
        for statement in forbidden.concat() {
            let refusal = connection.execute(AssertSqlSafe(statement)).await.err();
            let error = refusal.as_ref().and_then(|error| error.as_database_error()?.try_downcast_ref());
            let number = error.map(MySqlDatabaseError::number);
            assert!(
                number.is_some_and(|number| DENIED.contains(&number)),
                "{user}: {statement}: {refusal:?}"
            );
        }
    }
    Ok(())
}

/// A user of the broker, and what it may use besides the queues and exchanges that start with its name.
struct Role {
    user: &'static str,
    /// Exchanges and streams that it declares because services start in any order. It could delete them as well.
    declares: &'static [&'static str],
    /// All exchanges to which it publishes.
    publishes: &'static [&'static str],
}

const ROLES: [Role; 4] = [
    Role {
        user: "web-store",
        declares: &[OPERATIONS_STATUS, OPERATIONS_SUBSCRIPTIONS],
        publishes: &[WEB_STORE_EVENTS, WEB_STORE_REPLAYS, OPERATIONS_STATUS],
    },
    Role {
        user: "transformer",
        declares: &[
            OPERATIONS_STATUS,
            OPERATIONS_SUBSCRIPTIONS,
            WEB_STORE_EVENTS,
            WEB_STORE_REPLAYS,
            WEB_STORE_COMMANDS,
            MARKETING_COMMANDS,
            MARKETING_EVENTS,
        ],
        publishes: &[MARKETING_COMMANDS, WEB_STORE_COMMANDS, OPERATIONS_STATUS],
    },
    Role {
        user: "marketing",
        declares: &[OPERATIONS_STATUS, OPERATIONS_SUBSCRIPTIONS],
        publishes: &[MARKETING_EVENTS, OPERATIONS_STATUS],
    },
    Role {
        user: "console",
        declares: &[OPERATIONS_STATUS, OPERATIONS_SUBSCRIPTIONS],
        publishes: &[WEB_STORE_COMMANDS, WEB_STORE_ERASURES, OPERATIONS_SUBSCRIPTIONS],
    },
];

/// The default exchange reaches every queue by its name.
const DEFAULT_EXCHANGE: &str = "";

const EXCHANGES: [&str; 10] = [
    WEB_STORE_EVENTS,
    WEB_STORE_REPLAYS,
    WEB_STORE_COMMANDS,
    WEB_STORE_ERASURES,
    MARKETING_COMMANDS,
    MARKETING_EVENTS,
    OPERATIONS_STATUS,
    OPERATIONS_SUBSCRIPTIONS,
    "amq.topic",
    DEFAULT_EXCHANGE,
];

#[derive(Debug, Clone, Copy)]
enum Action<'a> {
    Publish(&'a str),
    DeleteExchange(&'a str),
    Get(&'a str),
    Purge(&'a str),
    DeleteQueue(&'a str),
}

impl Role {
    fn owns(&self, name: &str) -> bool {
        name.strip_prefix(self.user).is_some_and(|rest| rest.starts_with('.'))
    }

    /// Returns whether the user may remove a queue or an exchange.
    fn declares(&self, name: &str) -> bool {
        self.owns(name) || self.declares.contains(&name)
    }

    /// Returns whether the user may read a queue. Only the console reads dead letters.
    fn reads(&self, queue: &str) -> bool {
        if queue.ends_with(".dead-letters") {
            self.user == "console"
        } else {
            self.owns(queue) || queue == OPERATIONS_SUBSCRIPTIONS
        }
    }

    /// Returns the actions on existing exchanges and queues that the broker must refuse.
    fn forbidden<'a>(&self, queues: &'a [String]) -> Vec<Action<'a>> {
        let exchanges = EXCHANGES.into_iter();
        let published = exchanges.clone().filter(|name| !self.publishes.contains(name)).map(Action::Publish);
        let deleted = exchanges.filter(|name| !self.declares(name)).map(Action::DeleteExchange);
        let queues = queues.iter().flat_map(|queue| {
            let read = [Action::Get(queue), Action::Purge(queue)].into_iter().filter(|_| !self.reads(queue));
            read.chain([Action::DeleteQueue(queue)].into_iter().filter(|_| !self.declares(queue)))
        });
        published.chain(deleted).chain(queues).collect()
    }
}

#[tokio::test]
async fn broker_users_are_refused_outside_of_their_role() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    for program in Program::ALL {
        environment.start_ready(program, &[]).await?;
    }
    let console = connect(&environment, "console").await?;
    let journal = QueueDeclareOptions::durable();
    console
        .create_channel()
        .await?
        .queue_declare("console.journal".into(), journal, FieldTable::default())
        .await?;
    let queues: Vec<String> = environment.management().queues().await?.into_keys().collect();
    assert!(queues.len() > 10, "{queues:?}");
    for role in ROLES {
        let connection = connect(&environment, role.user).await?;
        let actions = role.forbidden(&queues);
        assert!(actions.len() > queues.len(), "{}: {actions:?}", role.user);
        for action in actions {
            // A refused action closes its channel.
            let channel = connection.create_channel().await?;
            let refusal = attempt(&channel, action).await.expect_err(&format!("{}: {action:?}", role.user));
            assert!(refusal.to_string().contains("ACCESS_REFUSED"), "{}: {action:?}: {refusal}", role.user);
        }
        let port = environment.connection_urls().ports.management;
        let request = Client::new().get(format!("http://127.0.0.1:{port}/api/users"));
        let status = request.basic_auth(role.user, Some(PASSWORD)).send().await?.status();
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{} administers the broker", role.user);
    }
    Ok(())
}

/// The largest body, as in `deploy/servers/rabbitmq.conf`.
const MAX_BODY: usize = 16 * 1024 * 1024;

#[tokio::test]
async fn broker_refuses_body_above_the_limit_of_services() -> anyhow::Result<()> {
    let environment = TestEnvironment::new().await?;
    let _transformer = environment.start_ready(Program::Transformer, &[]).await?;
    let connection = connect(&environment, "web-store").await?;
    let publish = async |size: usize| {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        publish(&channel, WEB_STORE_EVENTS, &vec![b'x'; size]).await
    };
    publish(MAX_BODY).await?;
    let refusal = publish(MAX_BODY + 1).await.expect_err("a body above the limit");
    assert!(refusal.to_string().contains("larger than"), "{refusal}");
    Ok(())
}

/// Applies the migrations of a service, with no other setting than the URL of the owner.
async fn migrate(program: Program, variable: &str, url: String) -> anyhow::Result<()> {
    let mut command = Command::new(program.path()?);
    command.env_clear().env(variable, url).arg("migrate");
    let output = programs::run(command, "").await?;
    assert_eq!(output.status, 0, "{}", output.stderr);
    Ok(())
}

async fn connect(environment: &TestEnvironment, user: &str) -> lapin::Result<BrokerConnection> {
    BrokerConnection::connect(&environment.broker_url(user), ConnectionProperties::default()).await
}

async fn attempt(channel: &Channel, action: Action<'_>) -> lapin::Result<()> {
    match action {
        Action::Publish(exchange) => {
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            publish(channel, exchange, b"{}").await
        }
        Action::DeleteExchange(name) => {
            channel.exchange_delete(name.into(), ExchangeDeleteOptions::default()).await
        }
        Action::Get(queue) => channel.basic_get(queue.into(), BasicGetOptions::default()).await.map(drop),
        Action::Purge(queue) => {
            channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await.map(drop)
        }
        Action::DeleteQueue(queue) => {
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.map(drop)
        }
    }
}

/// Publishes a message that no queue receives, and waits for the confirm.
async fn publish(channel: &Channel, exchange: &str, body: &[u8]) -> lapin::Result<()> {
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let confirm = channel.basic_publish(exchange.into(), "nowhere".into(), options, body, properties).await?;
    confirm.await.map(drop)
}
