//! Makes and drops a test's own databases, with the same rights as the main ones.

use anyhow::Result;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection, Row};

use stack::connection_urls::ConnectionUrls;

/// Makes a site's two databases. Their names are this program's own and need no escaping.
pub(super) async fn create(main: &ConnectionUrls, site: &ConnectionUrls) -> Result<()> {
    create_web_store(main, &site.web_store_database).await?;
    create_marketing(main, &site.marketing_database).await
}

/// Drops them, whoever is still connected.
pub(super) async fn drop(main: &ConnectionUrls, site: &ConnectionUrls) -> Result<()> {
    let mut postgres = postgres(main).await?;
    let database = &site.web_store_database;
    execute(&mut postgres, format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await?;
    let mut mysql = mysql(main).await?;
    let database = &site.marketing_database;
    execute(&mut mysql, format!("DROP DATABASE IF EXISTS `{database}`")).await?;
    for user in ["marketing", "marketing_owner"] {
        // Rights outlive the database that they are for.
        let revoke = format!("REVOKE ALL ON `{database}`.* FROM '{user}'@'%'");
        execute(&mut mysql, revoke).await?;
    }
    Ok(())
}

async fn create_web_store(main: &ConnectionUrls, database: &str) -> Result<()> {
    let mut connection = postgres(main).await?;
    // The main database has no tables here: the template carries the schema's rights alone.
    for statement in [
        format!("CREATE DATABASE {database} TEMPLATE web_store OWNER web_store_owner"),
        format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC"),
        format!("GRANT CONNECT ON DATABASE {database} TO web_store"),
    ] {
        execute(&mut connection, statement).await?;
    }
    Ok(())
}

async fn create_marketing(main: &ConnectionUrls, database: &str) -> Result<()> {
    let mut connection = mysql(main).await?;
    let query = "SELECT CONCAT(DEFAULT_CHARACTER_SET_NAME, ' COLLATE ', DEFAULT_COLLATION_NAME)
         FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'marketing'";
    let characters: String = sqlx::query_scalar(query).fetch_one(&mut connection).await?;
    execute(&mut connection, format!("CREATE DATABASE `{database}` CHARACTER SET {characters}")).await?;
    for user in ["marketing", "marketing_owner"] {
        let grants = format!("SHOW GRANTS FOR '{user}'@'%'");
        for row in connection.fetch_all(AssertSqlSafe(grants)).await? {
            let grant: String = row.try_get(0)?;
            if grant.contains(" ON `marketing`.") {
                let grant = grant.replace(" ON `marketing`.", &format!(" ON `{database}`."));
                execute(&mut connection, grant).await?;
            }
        }
    }
    Ok(())
}

async fn postgres(main: &ConnectionUrls) -> Result<PgConnection> {
    // Not Web Store's own database: a template must have no connections.
    let admin = ConnectionUrls { web_store_database: "postgres".to_owned(), ..main.clone() };
    Ok(PgConnection::connect(&admin.web_store_database_url("postgres")).await?)
}

async fn mysql(main: &ConnectionUrls) -> Result<MySqlConnection> {
    Ok(MySqlConnection::connect(&main.marketing_database_url("root")).await?)
}

async fn execute<'c, E: Executor<'c>>(connection: E, statement: String) -> Result<()> {
    connection.execute(AssertSqlSafe(statement)).await?;
    Ok(())
}
