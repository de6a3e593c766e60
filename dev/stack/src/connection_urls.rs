//! The URLs of one system's databases and broker, for each of their users.

use crate::{ports::Ports, service::Program};

/// The password of every user. The servers are private to one checkout and listen on 127.0.0.1 only.
pub const PASSWORD: &str = "development-only";

/// The hash of [`PASSWORD`] for the list of customers and the console's page, made by `marketing hash-password`.
pub(crate) const OPERATOR_PASSWORD_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$Zp9g94Kybat4QuXK2HLUUQ$oh2vp7faXWhurhEYh0r6/E8q8T9BIVGxlBHUszKd3rg";

/// The two databases and the virtual hosts of one system on a set of servers.
#[derive(Debug, Clone)]
pub struct ConnectionUrls {
    /// The ports of the servers.
    pub ports: Ports,
    /// The name of the Web Store's database in PostgreSQL.
    pub web_store_database: String,
    /// The name of Marketing's database in MySQL.
    pub marketing_database: String,
    /// The virtual host of the broker.
    pub virtual_host: String,
    /// The virtual host of the broker that Marketing uses.
    pub marketing_virtual_host: String,
}

impl ConnectionUrls {
    /// Returns the URLs of the system for which the servers create databases, users, and permissions.
    #[must_use]
    pub fn main(ports: Ports) -> Self {
        Self {
            ports,
            web_store_database: "web_store".to_owned(),
            marketing_database: "marketing".to_owned(),
            virtual_host: "/".to_owned(),
            marketing_virtual_host: "/".to_owned(),
        }
    }

    /// Returns the URL of the Web Store's database for `web_store`, `web_store_owner`,
    /// `console`, or `postgres`.
    #[must_use]
    pub fn web_store_database_url(&self, user: &str) -> String {
        let Self { ports, web_store_database, .. } = self;
        format!("postgres://{user}:{PASSWORD}@127.0.0.1:{}/{web_store_database}", ports.postgres)
    }

    /// Returns the URL of Marketing's database for `marketing`, `marketing_owner`, `console`,
    /// or `root`.
    #[must_use]
    pub fn marketing_database_url(&self, user: &str) -> String {
        let Self { ports, marketing_database, .. } = self;
        format!("mysql://{user}:{PASSWORD}@127.0.0.1:{}/{marketing_database}", ports.mysql)
    }

    /// Returns the URL of the broker for `web-store`, `transformer`, `marketing`, `console`, or `admin`. With two
    /// sites, this is the Web Store's broker, which has no user `marketing`.
    #[must_use]
    pub fn broker_url(&self, user: &str) -> String {
        broker_url(user, self.ports.broker, &self.virtual_host)
    }

    /// Returns the URL of the broker that Marketing uses. With two sites, it has no user `web-store`.
    #[must_use]
    pub fn marketing_broker_url(&self, user: &str) -> String {
        broker_url(user, self.ports.broker_of_marketing().amqp, &self.marketing_virtual_host)
    }

    /// Returns a variable with the URL of Marketing's own broker, or `None` if both applications share one.
    pub(crate) fn target_setting(
        &self,
        variable: &'static str,
        user: &str,
    ) -> Option<(&'static str, String)> {
        self.ports.marketing_broker.map(|_| (variable, self.marketing_broker_url(user)))
    }

    /// Returns the URLs of a broker that clients reach at several ports, as one setting.
    #[must_use]
    pub fn broker_urls(&self, user: &str, ports: &[u16]) -> String {
        let url = |port: &u16| {
            let ports = Ports { broker: *port, ..self.ports };
            Self { ports, ..self.clone() }.broker_url(user)
        };
        ports.iter().map(url).collect::<Vec<_>>().join(",")
    }

    /// Returns the environment variables that connect a service to its servers.
    #[must_use]
    pub fn settings(&self, program: Program) -> Vec<(&'static str, String)> {
        match program {
            Program::WebStore => vec![
                ("WEB_STORE_DATABASE_URL", self.web_store_database_url("web_store")),
                ("WEB_STORE_OWNER_DATABASE_URL", self.web_store_database_url("web_store_owner")),
                ("WEB_STORE_BROKER_URL", self.broker_url("web-store")),
            ],
            Program::Transformer => {
                let source = ("TRANSFORMER_SOURCE_BROKER_URL", self.broker_url("transformer"));
                let target = self.target_setting("TRANSFORMER_TARGET_BROKER_URL", "transformer");
                [source].into_iter().chain(target).collect()
            }
            Program::Marketing => vec![
                ("MARKETING_DATABASE_URL", self.marketing_database_url("marketing")),
                ("MARKETING_OWNER_DATABASE_URL", self.marketing_database_url("marketing_owner")),
                ("MARKETING_BROKER_URL", self.marketing_broker_url("marketing")),
                ("MARKETING_OPERATOR_PASSWORD_HASH", OPERATOR_PASSWORD_HASH.to_owned()),
            ],
        }
    }

    /// Returns the environment variables of the console with its page.
    #[must_use]
    pub fn console_page_settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = self.console_settings();
        settings.push(("CONSOLE_OPERATOR_PASSWORD_HASH", OPERATOR_PASSWORD_HASH.to_owned()));
        settings
    }

    /// Returns the environment variables that connect the console to the servers.
    #[must_use]
    pub fn console_settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("WEB_STORE_DATABASE_URL", self.web_store_database_url("console")),
            ("MARKETING_DATABASE_URL", self.marketing_database_url("console")),
            ("BROKER_URL", self.broker_url("console")),
        ];
        settings.extend(self.target_setting("TARGET_BROKER_URL", "console"));
        settings
    }
}

fn broker_url(user: &str, port: u16, virtual_host: &str) -> String {
    format!("amqp://{user}:{PASSWORD}@127.0.0.1:{port}/{}", virtual_host.replace('/', "%2f"))
}

#[cfg(test)]
mod tests {
    use super::{ConnectionUrls, OPERATOR_PASSWORD_HASH};
    use crate::{
        ports::{BrokerPorts, Ports},
        service::Program,
    };

    /// Returns the ports of the brokers in the URLs of all services and of the console.
    fn broker_ports(marketing_broker: Option<BrokerPorts>) -> Vec<String> {
        let ports = Ports { postgres: 1, mysql: 2, broker: 3, management: 4, marketing_broker };
        let urls = ConnectionUrls::main(ports);
        let settings = Program::ALL.into_iter().flat_map(|program| urls.settings(program));
        let brokers = settings.chain(urls.console_settings()).filter(|(name, _)| name.contains("BROKER_URL"));
        let port =
            |url: &str| url.rsplit(':').next().and_then(|end| end.split('/').next()).map(str::to_owned);
        brokers.map(|(name, url)| format!("{name} {}", port(&url).unwrap())).collect()
    }

    #[test]
    fn only_transformer_and_console_use_brokers_of_both_sites() {
        let shared = [
            "WEB_STORE_BROKER_URL 3",
            "TRANSFORMER_SOURCE_BROKER_URL 3",
            "MARKETING_BROKER_URL 3",
            "BROKER_URL 3",
        ];
        assert_eq!(broker_ports(None), shared);
        let two_sites = [
            "WEB_STORE_BROKER_URL 3",
            "TRANSFORMER_SOURCE_BROKER_URL 3",
            "TRANSFORMER_TARGET_BROKER_URL 5",
            "MARKETING_BROKER_URL 5",
            "BROKER_URL 3",
            "TARGET_BROKER_URL 5",
        ];
        assert_eq!(broker_ports(Some(BrokerPorts { amqp: 5, management: 6 })), two_sites);
    }

    #[test]
    fn docker_compose_has_the_same_operator_password() {
        let compose = include_str!("../../../docker-compose.yml");
        let example = include_str!("../../../.env.example");
        for variable in ["MARKETING_OPERATOR_PASSWORD_HASH", "CONSOLE_OPERATOR_PASSWORD_HASH"] {
            let hash = OPERATOR_PASSWORD_HASH.replace('$', "$$");
            assert!(compose.contains(&format!("{variable}: ${{{variable}:-{hash}}}")), "{variable}");
            assert!(example.contains(&format!("{variable}='{OPERATOR_PASSWORD_HASH}'")), "{variable}");
        }
    }
}
