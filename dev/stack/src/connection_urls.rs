//! Where one system's databases and broker are, for each of its users.

use crate::ports::Ports;
use crate::service::Program;

/// Every user's password here: these servers are private to one checkout and listen on 127.0.0.1.
pub const PASSWORD: &str = "development-only";

/// The same password's hash, for the list of customers. `marketing hash-password` made it.
pub const OPERATOR_PASSWORD_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$Zp9g94Kybat4QuXK2HLUUQ$oh2vp7faXWhurhEYh0r6/E8q8T9BIVGxlBHUszKd3rg";

/// The two databases and the virtual host of one system on a set of servers.
#[derive(Clone, Debug)]
pub struct ConnectionUrls {
    /// Where the servers listen.
    pub ports: Ports,
    /// The name of Web Store's database in Postgres.
    pub web_store_database: String,
    /// The name of Marketing's database in MySQL.
    pub marketing_database: String,
    /// The broker's virtual host.
    pub virtual_host: String,
}

impl ConnectionUrls {
    /// The system that the servers' rights are set up for.
    #[must_use]
    pub fn main(ports: Ports) -> Self {
        Self {
            ports,
            web_store_database: "web_store".to_owned(),
            marketing_database: "marketing".to_owned(),
            virtual_host: "/".to_owned(),
        }
    }

    /// Web Store's database, for `web_store`, `web_store_owner` or `postgres`.
    #[must_use]
    pub fn web_store_database_url(&self, user: &str) -> String {
        let (port, database) = (self.ports.postgres, &self.web_store_database);
        format!("postgres://{user}:{PASSWORD}@127.0.0.1:{port}/{database}")
    }

    /// Marketing's database, for `marketing`, `marketing_owner` or `root`.
    #[must_use]
    pub fn marketing_database_url(&self, user: &str) -> String {
        let (port, database) = (self.ports.mysql, &self.marketing_database);
        format!("mysql://{user}:{PASSWORD}@127.0.0.1:{port}/{database}")
    }

    /// The broker, for `web-store`, `transformer`, `marketing` or `admin`.
    #[must_use]
    pub fn broker_url(&self, user: &str) -> String {
        let virtual_host = self.virtual_host.replace('/', "%2f");
        format!("amqp://{user}:{PASSWORD}@127.0.0.1:{}/{virtual_host}", self.ports.broker)
    }

    /// The settings that connect a service, as environment variables.
    #[must_use]
    pub fn settings(&self, program: Program) -> Vec<(&'static str, String)> {
        match program {
            Program::WebStore => vec![
                ("WEB_STORE_DATABASE_URL", self.web_store_database_url("web_store")),
                ("WEB_STORE_OWNER_DATABASE_URL", self.web_store_database_url("web_store_owner")),
                ("WEB_STORE_BROKER_URL", self.broker_url("web-store")),
            ],
            Program::Transformer => {
                vec![("TRANSFORMER_SOURCE_BROKER_URL", self.broker_url("transformer"))]
            }
            Program::Marketing => vec![
                ("MARKETING_DATABASE_URL", self.marketing_database_url("marketing")),
                ("MARKETING_OWNER_DATABASE_URL", self.marketing_database_url("marketing_owner")),
                ("MARKETING_BROKER_URL", self.broker_url("marketing")),
                ("MARKETING_OPERATOR_PASSWORD_HASH", OPERATOR_PASSWORD_HASH.to_owned()),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::OPERATOR_PASSWORD_HASH;

    #[test]
    fn docker_compose_has_the_same_password_for_the_list() {
        let compose = include_str!("../../../docker-compose.yml");
        assert!(compose.contains(&OPERATOR_PASSWORD_HASH.replace('$', "$$")));
        assert!(include_str!("../../../.env.example").contains(&format!("'{OPERATOR_PASSWORD_HASH}'")));
    }
}
