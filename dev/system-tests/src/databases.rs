//! Creates and drops a test's own databases, with the same permissions as the main ones.

use anyhow::Context;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection, Row};
use stack::connection_urls::ConnectionUrls;

/// The users with permissions on Marketing's database.
const MARKETING_USERS: [&str; 3] = ["marketing", "marketing_owner", "console"];

/// Creates an environment's two databases. This crate generates their names, so they need no escaping.
pub(crate) async fn create(main: &ConnectionUrls, urls: &ConnectionUrls) -> anyhow::Result<()> {
    create_web_store(main, &urls.web_store_database).await?;
    create_marketing(main, &urls.marketing_database).await
}

/// Drops both databases, with open connections if necessary.
pub(crate) async fn drop(main: &ConnectionUrls, urls: &ConnectionUrls) -> anyhow::Result<()> {
    let mut postgres = postgres(main).await?;
    let database = &urls.web_store_database;
    execute(&mut postgres, format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await?;
    let mut mysql = mysql(main).await?;
    let database = &urls.marketing_database;
    execute(&mut mysql, format!("DROP DATABASE IF EXISTS `{database}`")).await?;
    for user in MARKETING_USERS {
        // Permissions remain after their database is dropped.
        for grant in grants(&mut mysql, user, database).await? {
            execute(&mut mysql, grant.replacen("GRANT", "REVOKE", 1).replace(" TO ", " FROM ")).await?;
        }
    }
    Ok(())
}

async fn create_web_store(main: &ConnectionUrls, database: &str) -> anyhow::Result<()> {
    let mut connection = postgres(main).await?;
    // The main database has no tables here. The template has only the schema's permissions.
    for statement in [
        format!("CREATE DATABASE {database} TEMPLATE web_store OWNER web_store_owner"),
        format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC"),
        format!("GRANT CONNECT ON DATABASE {database} TO web_store, console"),
    ] {
        execute(&mut connection, statement).await?;
    }
    Ok(())
}

async fn create_marketing(main: &ConnectionUrls, database: &str) -> anyhow::Result<()> {
    let mut connection = mysql(main).await?;
    let query = "SELECT CONCAT(DEFAULT_CHARACTER_SET_NAME, ' COLLATE ', DEFAULT_COLLATION_NAME)
         FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'marketing'";
    let characters: String = sqlx::query_scalar(query).fetch_one(&mut connection).await?;
    execute(&mut connection, format!("CREATE DATABASE `{database}` CHARACTER SET {characters}")).await?;
    for user in MARKETING_USERS {
        for grant in grants(&mut connection, user, "marketing").await? {
            let grant = grant.replace(" ON `marketing`.", &format!(" ON `{database}`."));
            if grant.contains(&format!(" ON `{database}`.*")) {
                execute(&mut connection, grant).await?;
            } else {
                // A server grants permissions on a missing table only together with CREATE.
                execute(&mut connection, grant.replacen("GRANT ", "GRANT CREATE, ", 1)).await?;
                let (_, object) = grant.split_once(" ON ").context("a grant names its object")?;
                execute(&mut connection, format!("REVOKE CREATE ON {}", object.replace(" TO ", " FROM ")))
                    .await?;
            }
        }
    }
    Ok(())
}

/// Returns the statements that give a user its permissions on one database of Marketing.
async fn grants(connection: &mut MySqlConnection, user: &str, database: &str) -> anyhow::Result<Vec<String>> {
    let statement = format!("SHOW GRANTS FOR '{user}'@'%'");
    let mut grants = Vec::new();
    for row in connection.fetch_all(AssertSqlSafe(statement)).await? {
        let grant: String = row.try_get(0)?;
        if grant.contains(&format!(" ON `{database}`.")) {
            grants.push(grant);
        }
    }
    Ok(grants)
}

async fn postgres(main: &ConnectionUrls) -> anyhow::Result<PgConnection> {
    // Not the Web Store's own database, because a template must have no connections.
    let admin = ConnectionUrls { web_store_database: "postgres".to_owned(), ..main.clone() };
    Ok(PgConnection::connect(&admin.web_store_database_url("postgres")).await?)
}

async fn mysql(main: &ConnectionUrls) -> anyhow::Result<MySqlConnection> {
    Ok(MySqlConnection::connect(&main.marketing_database_url("root")).await?)
}

async fn execute<'c, E: Executor<'c>>(connection: E, statement: String) -> anyhow::Result<()> {
    connection.execute(AssertSqlSafe(statement)).await?;
    Ok(())
}
