//! Files with the URLs of one system, whose programs find them by their environment variables.

use std::fs;

use stack::connection_urls::{ConnectionUrls, PASSWORD};
use tempfile::TempDir;

use super::certificates::Authority;

/// The URL parameters for TLS of each server.
pub(super) struct Parameters {
    postgres: String,
    mysql: String,
    broker: String,
}

impl Parameters {
    /// Returns the parameters that verify the server by `trusted`, and present the client certificate of `own`.
    pub(super) fn new(trusted: &Authority, own: &Authority) -> Self {
        let [ca, certificate, key] =
            [trusted.file("ca.pem"), own.file("service.pem"), own.file("service.key")]
                .map(|path| path.display().to_string());
        Self {
            postgres: format!("?sslmode=verify-full&sslrootcert={ca}&sslcert={certificate}&sslkey={key}"),
            mysql: format!("?ssl-mode=VERIFY_IDENTITY&ssl-ca={ca}&ssl-cert={certificate}&ssl-key={key}"),
            broker: format!("?cacertfile={ca}&certfile={certificate}&keyfile={key}"),
        }
    }
}

/// The URLs with TLS for a host name.
pub(super) struct TlsUrls<'a> {
    pub(super) urls: &'a ConnectionUrls,
    pub(super) parameters: &'a Parameters,
    pub(super) host: &'a str,
    pub(super) broker_port: u16,
}

impl TlsUrls<'_> {
    pub(super) fn postgres(&self, user: &str) -> String {
        self.at_host(&self.urls.web_store_database_url(user)) + &self.parameters.postgres
    }

    pub(super) fn mysql(&self, user: &str) -> String {
        self.at_host(&self.urls.marketing_database_url(user)) + &self.parameters.mysql
    }

    pub(super) fn broker(&self, user: &str) -> String {
        let mut urls = self.urls.clone();
        urls.ports.broker = self.broker_port;
        let url = urls.broker_url(user).replace("amqp://", "amqps://");
        self.at_host(&url) + &self.parameters.broker
    }

    fn at_host(&self, url: &str) -> String {
        url.replace("127.0.0.1", self.host)
    }
}

/// A directory with one file for each secret.
pub(super) struct Secrets(TempDir);

impl Secrets {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    /// Writes the file of a variable, and returns the settings that replace the variable by its file.
    pub(super) fn setting(&self, variable: &str, value: &str) -> anyhow::Result<[(String, String); 2]> {
        self.write(variable, value)?;
        let path = self.0.path().join(variable).display().to_string();
        Ok([(variable.to_owned(), String::new()), (format!("{variable}_FILE"), path)])
    }

    /// Replaces the password in the file of a variable.
    pub(super) fn change_password(&self, variable: &str, password: &str) -> anyhow::Result<()> {
        let url = fs::read_to_string(self.0.path().join(variable))?;
        self.write(variable, &url.replace(&format!(":{PASSWORD}@"), &format!(":{password}@")))
    }

    /// Replaces a file as a whole, as operators do.
    fn write(&self, variable: &str, value: &str) -> anyhow::Result<()> {
        let new = self.0.path().join(format!("{variable}.new"));
        fs::write(&new, format!("{value}\n"))?;
        Ok(fs::rename(new, self.0.path().join(variable))?)
    }
}
