//! Marketing's isolation: a fault of MySQL dead-letters no valid customer, and a bad customer stops no other.

use std::{collections::BTreeSet, time::Duration};

use contracts::{
    CreateCustomer, Message,
    topology::{MARKETING_CREATE_CUSTOMER, MARKETING_UPDATE_CUSTOMER},
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, MySqlPool};
use stack::{
    ports::free_port,
    servers::Servers,
    service::{Program, Service},
};
use system_tests::{
    SOON, TestEnvironment,
    broker_client::{open_channel, properties, publish},
    customers::{http_client, marketing_ids, wait_for_marketing_rows},
    eventually,
};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use uuid::Uuid;

/// Time for a recovery after a fault of up to a minute.
const RECOVERY: Duration = Duration::from_secs(90);

async fn marketing(environment: &TestEnvironment) -> Service {
    environment.start_ready(Program::Marketing, &[]).await.unwrap()
}

fn command(customer_id: &str, email_address: &str) -> Value {
    json!({
        "customer_id": customer_id,
        "full_name": "Zoë",
        "email_address": email_address,
        "email_opt_in": true,
        "source": "web-store",
        "customer_since": "2026-01-02T03:04:05.000600Z",
    })
}

/// Sends a creation for each e-mail address and returns the customers' ids.
async fn create(environment: &TestEnvironment, emails: &[String]) -> Vec<String> {
    let (_connection, channel) = open_channel(environment).await.unwrap();
    let mut ids = Vec::new();
    for email in emails {
        let id = Uuid::now_v7().to_string();
        let body = command(&id, email).to_string();
        let key = CreateCustomer::TYPE;
        publish(&channel, CreateCustomer::EXCHANGE, key, properties(key), body.as_bytes()).await.unwrap();
        ids.push(id);
    }
    ids
}

async fn update(environment: &TestEnvironment, ids: &[String], version: u32) {
    let (_connection, channel) = open_channel(environment).await.unwrap();
    for id in ids {
        let mut body = command(id, "changed@example.org");
        body["version"] = version.into();
        body["changed_at"] = "2026-02-02T03:04:05.000600Z".into();
        let key = "marketing.update-customer.v1";
        let body = body.to_string();
        publish(&channel, CreateCustomer::EXCHANGE, key, properties(key), body.as_bytes()).await.unwrap();
    }
}

fn emails(count: usize, prefix: &str) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}@example.org")).collect()
}

async fn health(service: &Service) -> Value {
    let request = http_client().unwrap().get(format!("{}/health/ready", service.url()));
    request.send().await.unwrap().json().await.unwrap()
}

/// Waits until one part of the health report contains the text.
async fn wait_for_health(service: &Service, part: &str, text: &str) {
    eventually(SOON, &format!("{part} reports {text}"), async || {
        health(service).await["parts"][part].as_str()?.contains(text).then_some(())
    })
    .await
    .unwrap();
}

async fn dead_letters(environment: &TestEnvironment) -> u64 {
    let management = environment.management();
    let mut count = 0;
    for queue in [MARKETING_CREATE_CUSTOMER, MARKETING_UPDATE_CUSTOMER] {
        count += management.depth(&queue.dead_letter_queue()).await.unwrap();
    }
    count
}

/// Runs one statement without preparing it, because triggers cannot be prepared.
async fn execute(table: &MySqlPool, statement: &str) {
    table.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
}

async fn administrator(environment: &TestEnvironment) -> MySqlConnection {
    let url = environment.connection_urls().marketing_database_url("root");
    MySqlConnection::connect(&url).await.unwrap()
}

/// Sends customers while the rule rejects every row. All must arrive after the rule is dropped.
async fn assert_database_at_fault(rows_before: usize, create_rule: &str, drop_rule: &str) {
    let environment = TestEnvironment::new().await.unwrap();
    let marketing = marketing(&environment).await;
    let table = environment.marketing_database();
    let mut ids = create(&environment, &emails(rows_before, "before")).await;
    wait_for_marketing_rows(&environment, &ids, SOON).await.unwrap();

    execute(&table, create_rule).await;
    ids.extend(create(&environment, &emails(30, "during")).await);
    wait_for_health(&marketing, MARKETING_CREATE_CUSTOMER.name, "rejects every customer").await;
    assert_eq!(health(&marketing).await["status"], "not ready");
    execute(&table, drop_rule).await;

    wait_for_marketing_rows(&environment, &ids, RECOVERY).await.unwrap();
    assert_eq!(dead_letters(&environment).await, 0);
    let log = environment.log();
    assert_eq!(log.matches("rejects every customer").count(), 1, "one line for the outage: {log}");
    eventually(SOON, "ready again", async || (health(&marketing).await["status"] == "ready").then_some(()))
        .await
        .unwrap();
}

#[tokio::test]
async fn maintenance_trigger_dead_letters_nothing() {
    let trigger = "CREATE TRIGGER maintenance BEFORE INSERT ON customers FOR EACH ROW
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'maintenance until noon'";
    assert_database_at_fault(0, trigger, "DROP TRIGGER maintenance").await;
}

#[tokio::test]
async fn trigger_that_rejects_every_real_customer_dead_letters_nothing() {
    let trigger = "CREATE TRIGGER maintenance BEFORE INSERT ON customers FOR EACH ROW
        IF NEW.source = 'web-store' THEN SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 9999; END IF";
    assert_database_at_fault(10, trigger, "DROP TRIGGER maintenance").await;
}

#[tokio::test]
async fn wrong_check_dead_letters_nothing() {
    let check = "ALTER TABLE customers ADD CONSTRAINT wrong CHECK (email_opt_in > 1)";
    assert_database_at_fault(0, check, "ALTER TABLE customers DROP CONSTRAINT wrong").await;
}

#[tokio::test]
async fn missing_column_dead_letters_nothing() {
    let environment = TestEnvironment::new().await.unwrap();
    let marketing = marketing(&environment).await;
    let table = environment.marketing_database();
    execute(&table, "ALTER TABLE customers RENAME COLUMN source TO origin").await;
    let ids = create(&environment, &emails(30, "during")).await;
    wait_for_health(&marketing, MARKETING_CREATE_CUSTOMER.name, "a column is missing").await;
    execute(&table, "ALTER TABLE customers RENAME COLUMN origin TO source").await;
    wait_for_marketing_rows(&environment, &ids, RECOVERY).await.unwrap();
    assert_eq!(dead_letters(&environment).await, 0);
}

#[tokio::test]
async fn trigger_that_rejects_every_update_dead_letters_nothing() {
    let environment = TestEnvironment::new().await.unwrap();
    let marketing = marketing(&environment).await;
    let table = environment.marketing_database();
    let ids = create(&environment, &emails(30, "before")).await;
    wait_for_marketing_rows(&environment, &ids, SOON).await.unwrap();
    let trigger = "CREATE TRIGGER maintenance BEFORE UPDATE ON customers FOR EACH ROW
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'maintenance'";
    execute(&table, trigger).await;
    update(&environment, &ids, 2).await;
    wait_for_health(&marketing, MARKETING_UPDATE_CUSTOMER.name, "rejects every customer").await;
    execute(&table, "DROP TRIGGER maintenance").await;
    eventually(RECOVERY, "all updates are saved", async || {
        let count = "SELECT COUNT(*) FROM customers WHERE version = 2";
        let count: i64 = sqlx::query_scalar(count).fetch_one(&table).await.ok()?;
        (count == 30).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(dead_letters(&environment).await, 0);
}

#[tokio::test]
async fn trigger_that_rejects_one_address_dead_letters_one() {
    let environment = TestEnvironment::new().await.unwrap();
    let marketing = marketing(&environment).await;
    let trigger = "CREATE TRIGGER blocked BEFORE INSERT ON customers FOR EACH ROW
        IF NEW.email_address = 'c7@example.org' THEN SIGNAL SQLSTATE '45000'; END IF";
    execute(&environment.marketing_database(), trigger).await;
    let mut ids = create(&environment, &emails(30, "c")).await;
    let rejected = ids.remove(7);
    wait_for_marketing_rows(&environment, &ids, SOON).await.unwrap();
    let queue = MARKETING_CREATE_CUSTOMER.dead_letter_queue();
    environment.management().wait_for_depth(&queue, 1).await.unwrap();
    let letters = environment.management().take(&queue, 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert!(letters[0].payload.contains(&rejected), "{letters:?}");
    assert_eq!(letters[0].properties["headers"]["rejection-code"], "rule-broken");
    assert_eq!(health(&marketing).await["status"], "ready");
}

/// Holds a lock for several attempts of Marketing. On the server, an attempt must end before the next one begins.
async fn assert_lock_leaves_no_server_threads(lock: &[&'static str], unlock: &'static str) {
    let environment = TestEnvironment::new().await.unwrap();
    let _marketing = marketing(&environment).await;
    let mut ids = create(&environment, &emails(5, "before")).await;
    wait_for_marketing_rows(&environment, &ids, SOON).await.unwrap();
    let mut locker = administrator(&environment).await;
    let mut observer = administrator(&environment).await;
    for statement in lock {
        locker.execute(*statement).await.unwrap();
    }
    ids.extend(create(&environment, &emails(30, "during")).await);

    let database = environment.connection_urls().marketing_database.clone();
    let select = "SELECT CAST(ID AS SIGNED) FROM information_schema.PROCESSLIST
        WHERE USER = 'marketing' AND DB = ? AND INFO LIKE '%customers%'";
    let mut attempts = BTreeSet::new();
    let watching = async {
        while attempts.len() < 4 {
            let select = sqlx::query_scalar(select).bind(&database);
            let waiting: Vec<i64> = select.fetch_all(&mut observer).await.unwrap();
            assert!(waiting.len() <= 1, "{} threads after {} attempts", waiting.len(), attempts.len());
            attempts.extend(waiting);
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(RECOVERY, watching).await.expect("four attempts");
    locker.execute(unlock).await.unwrap();
    wait_for_marketing_rows(&environment, &ids, RECOVERY).await.unwrap();
    assert_eq!(dead_letters(&environment).await, 0);
}

#[tokio::test]
async fn locked_table_leaves_no_server_threads() {
    assert_lock_leaves_no_server_threads(&["LOCK TABLES customers WRITE"], "UNLOCK TABLES").await;
}

#[tokio::test]
async fn locked_rows_leave_no_server_threads() {
    // The lock also covers the gaps between the rows, so it blocks inserts.
    let lock = ["BEGIN", "SELECT customer_id FROM customers FOR UPDATE"];
    assert_lock_leaves_no_server_threads(&lock, "ROLLBACK").await;
}

#[tokio::test]
async fn read_only_server_is_reported_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let servers = Servers::start(directory.path(), |_| ()).await.unwrap();
    let environment = TestEnvironment::on(&servers).await.unwrap();
    let marketing = marketing(&environment).await;
    let mut ids = create(&environment, &emails(20, "before")).await;
    let mut administrator = administrator(&environment).await;
    administrator.execute("SET GLOBAL read_only = 1").await.unwrap();
    ids.extend(create(&environment, &emails(800, "during")).await);
    wait_for_health(&marketing, "mysql", "read-only").await;
    wait_for_health(&marketing, MARKETING_CREATE_CUSTOMER.name, "read-only").await;
    // A new instance does not consume what it cannot save. Its first host is down.
    let urls = environment.connection_urls();
    let server = format!("127.0.0.1:{}", urls.ports.mysql);
    let hosts = format!("127.0.0.1:{},{server}", free_port().unwrap());
    let url = urls.marketing_database_url("marketing").replace(&server, &hosts);
    let mut second = environment.start(Program::Marketing, &[("MARKETING_DATABASE_URL", &url)]).unwrap();
    second.wait_live(SOON).await.unwrap();
    wait_for_health(&second, "mysql", "(host 1: connection refused; host 2: the server is read-only)").await;
    let consumers =
        environment.management().queues().await.unwrap()[MARKETING_CREATE_CUSTOMER.name].consumers;
    assert!(consumers <= 1, "{consumers} consumers");
    administrator.execute("SET GLOBAL read_only = 0").await.unwrap();
    wait_for_marketing_rows(&environment, &ids, RECOVERY).await.unwrap();
    assert_eq!(dead_letters(&environment).await, 0);
    for service in [&marketing, &second] {
        eventually(RECOVERY, "ready again", async || {
            (health(service).await["status"] == "ready").then_some(())
        })
        .await
        .unwrap();
    }
}

/// Returns the number of open descriptors of a process.
fn descriptors(service: &Service) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", service.process.pid())).unwrap().count()
}

#[tokio::test]
async fn silent_server_leaks_no_descriptors() {
    let environment = TestEnvironment::new().await.unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let urls = environment.connection_urls();
    let url =
        |user| urls.marketing_database_url(user).replace(&urls.ports.mysql.to_string(), &port.to_string());
    let (user, owner) = (url("marketing"), url("marketing_owner"));
    let settings =
        [("MARKETING_DATABASE_URL", user.as_str()), ("MARKETING_OWNER_DATABASE_URL", owner.as_str())];
    let mut service = environment.start(Program::Marketing, &settings).unwrap();
    service.wait_live(SOON).await.unwrap();
    wait_for_health(&service, "mysql", "did not reply in time").await;
    let before = descriptors(&service);
    let mut accepted = Vec::new();
    while accepted.len() < 12 {
        accepted.push(timeout(SOON, silent.accept()).await.expect("the next attempt").unwrap());
    }
    let after = descriptors(&service);
    assert!(after <= before + 4, "{before} descriptors, {after} after 12 attempts");
}

#[tokio::test]
async fn health_discloses_no_host_or_user() {
    let environment = TestEnvironment::new().await.unwrap();
    let urls = environment.connection_urls();
    let right = urls.marketing_database_url("marketing");
    let wrong_user = right.replace("marketing:", "intruder:");
    let wrong_port = right.replace(&urls.ports.mysql.to_string(), &free_port().unwrap().to_string());
    for url in [wrong_user, wrong_port] {
        let settings = [("MARKETING_DATABASE_URL", url.as_str())];
        let service = environment.start(Program::Marketing, &settings).unwrap();
        let part = MARKETING_CREATE_CUSTOMER.name;
        let text = eventually(SOON, "the session reports MySQL", async || {
            let request = http_client().unwrap().get(format!("{}/health/ready", service.url()));
            let text = request.send().await.ok()?.text().await.ok()?;
            let health: Value = serde_json::from_str(&text).ok()?;
            health["parts"][part].as_str()?.contains("MySQL").then_some(text)
        })
        .await
        .unwrap();
        for secret in ["intruder", "marketing'", "127.0.0.1", "localhost", "development-only", "@'"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[tokio::test]
async fn many_readiness_requests_cause_few_mysql_connections() {
    let directory = tempfile::tempdir().unwrap();
    let servers = Servers::start(directory.path(), |_| ()).await.unwrap();
    let environment = TestEnvironment::on(&servers).await.unwrap();
    let marketing = marketing(&environment).await;
    let mut administrator = administrator(&environment).await;
    let started = std::time::Instant::now();
    let before = connections(&mut administrator).await;
    for _ in 0..20 {
        let statuses = join_all((0..20).map(async |_| health(&marketing).await["status"].clone())).await;
        assert!(statuses.iter().all(|status| status == "ready"), "{statuses:?}");
    }
    let made = connections(&mut administrator).await - before;
    // One per second, and a few of the sessions.
    let allowed = i64::try_from(started.elapsed().as_secs()).unwrap() + 3;
    assert!(made <= allowed, "{made} connections for 400 requests, {allowed} allowed");
}

async fn connections(administrator: &mut MySqlConnection) -> i64 {
    let select = "SELECT CAST(VARIABLE_VALUE AS SIGNED) FROM information_schema.GLOBAL_STATUS
        WHERE VARIABLE_NAME = 'CONNECTIONS'";
    let mysql = select.replace("information_schema.GLOBAL_STATUS", "performance_schema.global_status");
    let mariadb: sqlx::Result<i64> = sqlx::query_scalar(select).fetch_one(&mut *administrator).await;
    match mariadb {
        Ok(count) => count,
        Err(_) => sqlx::query_scalar(AssertSqlSafe(mysql)).fetch_one(administrator).await.unwrap(),
    }
}

#[tokio::test]
async fn unreadable_name_is_dead_lettered_and_others_are_normalized() {
    let environment = TestEnvironment::new().await.unwrap();
    let _marketing = marketing(&environment).await;
    let (_connection, channel) = open_channel(&environment).await.unwrap();
    let key = CreateCustomer::TYPE;
    for name in ["\u{200b}\u{200b}", "abc\u{202e}def", "Zoe\u{308}"] {
        let mut body = command(&Uuid::now_v7().to_string(), "a@example.org");
        body["full_name"] = name.into();
        // The last one also begins with a byte order mark.
        let body = format!("\u{feff}{body}");
        publish(&channel, CreateCustomer::EXCHANGE, key, properties(key), body.as_bytes()).await.unwrap();
    }
    let queue = MARKETING_CREATE_CUSTOMER.dead_letter_queue();
    environment.management().wait_for_depth(&queue, 2).await.unwrap();
    let letters = environment.management().take(&queue, 10).await.unwrap();
    assert!(letters.iter().all(|letter| letter.properties["headers"]["rejection-code"] == "rule-broken"));
    eventually(SOON, "the readable name is saved", async || {
        let names = sqlx::query_scalar("SELECT full_name FROM customers");
        let names: Vec<String> = names.fetch_all(&environment.marketing_database()).await.ok()?;
        (names == ["Zo\u{eb}"]).then_some(())
    })
    .await
    .unwrap();
}

/// The migrations as released. Each is one statement.
const MIGRATIONS: [&str; 3] = [
    include_str!("../../../../marketing/migrations/0001_customers.sql"),
    include_str!("../../../../marketing/migrations/0002_versions.sql"),
    include_str!("../../../../marketing/migrations/0003_list.sql"),
];

/// Brings the schema to the state in which a kill leaves it: some migrations are complete, and the next one is
/// marked, with or without the effect of its statement.
async fn kill_migration(table: &MySqlPool, complete: usize, took_effect: bool) {
    execute(table, "DROP TABLE IF EXISTS customers").await;
    let mark = format!("DELETE FROM _sqlx_migrations WHERE version > {}", complete + 1);
    execute(table, &mark).await;
    execute(table, &format!("UPDATE _sqlx_migrations SET success = version <= {complete}")).await;
    for migration in &MIGRATIONS[..complete + usize::from(took_effect)] {
        execute(table, migration).await;
    }
}

#[tokio::test]
async fn killed_migration_is_completed_at_every_statement() {
    let environment = TestEnvironment::new().await.unwrap();
    let table = environment.marketing_database();
    drop(marketing(&environment).await);
    let definition = "SHOW CREATE TABLE customers";
    let (_, expected): (String, String) = sqlx::query_as(definition).fetch_one(&table).await.unwrap();
    for complete in 0..MIGRATIONS.len() {
        for took_effect in [false, true] {
            kill_migration(&table, complete, took_effect).await;
            let service = marketing(&environment).await;
            // A killed instance may not have acknowledged its last customers, which then arrive again.
            let ids = create(&environment, &emails(3, "after")).await;
            eventually(SOON, "the customers arrive", async || {
                let found = marketing_ids(&environment).await.ok()?;
                ids.iter().all(|id| found.contains(id)).then_some(())
            })
            .await
            .unwrap();
            let (_, repaired): (String, String) = sqlx::query_as(definition).fetch_one(&table).await.unwrap();
            assert_eq!(repaired, expected, "migration {}, effect {took_effect}", complete + 1);
            let applied = "SELECT CAST(SUM(success) AS SIGNED) FROM _sqlx_migrations";
            let applied: i64 = sqlx::query_scalar(applied).fetch_one(&table).await.unwrap();
            assert_eq!(applied, 3);
            drop(service);
        }
    }
}

#[tokio::test]
async fn killed_process_leaves_a_migration_that_completes() {
    let environment = TestEnvironment::new().await.unwrap();
    let table = environment.marketing_database();
    drop(marketing(&environment).await);
    kill_migration(&table, 1, true).await;
    execute(&table, "UPDATE _sqlx_migrations SET success = TRUE").await;
    // The lock holds up the statement of the third migration, so that the kill meets it.
    let mut locker = administrator(&environment).await;
    locker.execute("LOCK TABLES customers READ").await.unwrap();
    let mut service = environment.start(Program::Marketing, &[]).unwrap();
    eventually(SOON, "the migration is marked", async || {
        let marked = "SELECT COUNT(*) FROM _sqlx_migrations WHERE version = 3 AND NOT success";
        let marked: i64 = sqlx::query_scalar(marked).fetch_one(&table).await.ok()?;
        (marked == 1).then_some(())
    })
    .await
    .unwrap();
    service.kill().await.unwrap();
    locker.execute("UNLOCK TABLES").await.unwrap();
    let _service = marketing(&environment).await;
    let ids = create(&environment, &emails(3, "after")).await;
    wait_for_marketing_rows(&environment, &ids, SOON).await.unwrap();
}

#[tokio::test]
async fn simultaneous_starts_apply_each_migration_once() {
    let environment = TestEnvironment::new().await.unwrap();
    let table = environment.marketing_database();
    drop(marketing(&environment).await);
    let definition = "SHOW CREATE TABLE customers";
    let (_, expected): (String, String) = sqlx::query_as(definition).fetch_one(&table).await.unwrap();
    kill_migration(&table, 1, true).await;
    execute(&table, "UPDATE _sqlx_migrations SET success = TRUE").await;
    // While the first instance waits for the table, the others must not take its migration for a killed one.
    let mut locker = administrator(&environment).await;
    locker.execute("LOCK TABLES customers READ").await.unwrap();
    let mut instances = Vec::new();
    for _ in 0..3 {
        let mut instance = environment.start(Program::Marketing, &[]).unwrap();
        instance.wait_live(SOON).await.unwrap();
        instances.push(instance);
    }
    locker.execute("UNLOCK TABLES").await.unwrap();
    for instance in &mut instances {
        instance.wait_ready(RECOVERY).await.unwrap();
    }
    let (_, migrated): (String, String) = sqlx::query_as(definition).fetch_one(&table).await.unwrap();
    assert_eq!(migrated, expected);
    // The instance that waited for the table may have given up and repaired its own mark, but no other's.
    for trouble in ["Duplicate", "half applied", "partially applied"] {
        assert!(!environment.logs_contain(trouble), "{trouble} in {}", environment.log());
    }
}

#[tokio::test]
async fn newer_migration_does_not_stop_this_release() {
    let environment = TestEnvironment::new().await.unwrap();
    drop(marketing(&environment).await);
    let table = environment.marketing_database();
    let mut ids = Vec::new();
    for success in ["TRUE", "FALSE"] {
        let newer = format!(
            "REPLACE INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES (99, 'newer', {success}, 'x', 1)"
        );
        execute(&table, &newer).await;
        let _service = marketing(&environment).await;
        ids.extend(create(&environment, &emails(3, "after")).await);
        wait_for_marketing_rows(&environment, &ids, SOON).await.unwrap();
    }
    assert!(!environment.logs_contain("cannot bring the schema up to date"), "{}", environment.log());
}

#[tokio::test]
async fn sufficient_schema_starts_consumers_without_the_owner() {
    let environment = TestEnvironment::new().await.unwrap();
    drop(marketing(&environment).await);
    let wrong = environment.connection_urls().marketing_database_url("intruder");
    let settings = [("MARKETING_OWNER_DATABASE_URL", wrong.as_str())];
    let _service = environment.start_ready(Program::Marketing, &settings).await.unwrap();
    let ids = create(&environment, &emails(3, "after")).await;
    wait_for_marketing_rows(&environment, &ids, SOON).await.unwrap();
}
