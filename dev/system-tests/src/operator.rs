//! A client of Marketing's pages and of the console's page with an operator's login.

use anyhow::Context;
use reqwest::{Client, Response, header};
use stack::{connection_urls::PASSWORD, console::Console, service::Service};

use crate::customers::http_client;

/// An operator who is logged in at one instance of Marketing or of the console.
#[derive(Debug)]
pub struct Operator {
    client: Client,
    url: String,
    /// The session cookie, in the form of a `Cookie` header.
    pub cookie: String,
}

impl Operator {
    /// Logs in with the password of every test environment.
    ///
    /// # Errors
    /// Returns an error if Marketing is unreachable or sets no cookie.
    pub async fn log_in(marketing: &Service) -> anyhow::Result<Self> {
        Self::from_login(marketing.url(), &submit_password(marketing, PASSWORD).await?)
    }

    /// Logs in at the console's page under a name, with the password of every test environment.
    ///
    /// # Errors
    /// Returns an error if the page is unreachable or sets no cookie.
    pub async fn log_in_to_console(console: &Console, name: &str) -> anyhow::Result<Self> {
        let form = [("name", name), ("password", PASSWORD)];
        let request = http_client()?.post(format!("{}/log-in", console.url())).form(&form);
        Self::from_login(console.url(), &request.send().await.context("POST /log-in")?)
    }

    fn from_login(url: String, response: &Response) -> anyhow::Result<Self> {
        let cookie = response.headers().get(header::SET_COOKIE).context("no cookie after the login")?;
        let cookie = cookie.to_str()?.split(';').next().unwrap_or_default().to_owned();
        Ok(Self { client: http_client()?, url, cookie })
    }

    /// Submits a form and returns the response, whatever its status.
    ///
    /// # Errors
    /// Returns an error if the page is unreachable.
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> anyhow::Result<Response> {
        let request = self.client.post(format!("{}{path}", self.url)).header(header::COOKIE, &self.cookie);
        request.form(form).send().await.with_context(|| format!("POST {path}"))
    }

    /// Requests a page and returns the response, whatever its status.
    ///
    /// # Errors
    /// Returns an error if Marketing is unreachable.
    pub async fn get(&self, path: &str) -> anyhow::Result<Response> {
        let request = self.client.get(format!("{}{path}", self.url)).header(header::COOKIE, &self.cookie);
        request.send().await.with_context(|| format!("GET {path}"))
    }

    /// Requests a page and returns its text.
    ///
    /// # Errors
    /// Returns an error if Marketing is unreachable or the status is an error.
    pub async fn read(&self, path: &str) -> anyhow::Result<String> {
        Ok(self.get(path).await?.error_for_status()?.text().await?)
    }

    /// Logs out and returns the response.
    ///
    /// # Errors
    /// Returns an error if Marketing is unreachable.
    pub async fn log_out(&self) -> anyhow::Result<Response> {
        let request = self.client.post(format!("{}/log-out", self.url)).header(header::COOKIE, &self.cookie);
        request.send().await.context("POST /log-out")
    }
}

/// Submits the login form with `password` and returns the response.
///
/// # Errors
/// Returns an error if Marketing is unreachable.
pub async fn submit_password(marketing: &Service, password: &str) -> anyhow::Result<Response> {
    let request = http_client()?.post(format!("{}/log-in", marketing.url())).form(&[("password", password)]);
    request.send().await.context("POST /log-in")
}
