//! Looking into Marketing's list, as its operator would.

use reqwest::{Client, Response, header};

use super::customers::browser;
use stack::connection_urls::PASSWORD;
use stack::service::Service;

/// Somebody who is logged in to a Marketing.
#[derive(Debug)]
pub struct Operator {
    client: Client,
    url: String,
    /// The cookie of the session, as a browser sends it.
    pub cookie: String,
}

impl Operator {
    /// Logs in with the site's password.
    pub async fn log_in(marketing: &Service) -> Self {
        let answer = log_in(marketing, PASSWORD).await;
        let cookie = answer.headers()[header::SET_COOKIE].to_str().expect("a cookie");
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        Self { client: browser(), url: marketing.url(), cookie }
    }

    /// Gets a page.
    pub async fn get(&self, path: &str) -> Response {
        let request = self.client.get(format!("{}{path}", self.url)).header(header::COOKIE, &self.cookie);
        request.send().await.expect("an answer from Marketing")
    }

    /// The text of a page that has to be there.
    pub async fn read(&self, path: &str) -> String {
        let answer = self.get(path).await.error_for_status().expect("a page");
        answer.text().await.expect("text")
    }

    /// Logs out.
    pub async fn log_out(&self) -> Response {
        let request = self.client.post(format!("{}/log-out", self.url)).header(header::COOKIE, &self.cookie);
        request.send().await.expect("an answer from Marketing")
    }
}

/// Tries a password.
pub async fn log_in(marketing: &Service, password: &str) -> Response {
    let request = browser().post(format!("{}/log-in", marketing.url())).form(&[("password", password)]);
    request.send().await.expect("an answer from Marketing")
}
