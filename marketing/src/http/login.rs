//! Logging in and out.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Form,
    extract::{ConnectInfo, State, rejection::FormRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use serde::Deserialize;
use tokio::time::sleep;

use super::{App, pages};

/// How long a wrong password takes, besides checking it.
const FAILURE: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
pub(super) struct Password {
    #[serde(default)]
    password: String,
}

pub(super) async fn form() -> Response {
    pages::login(StatusCode::OK, None)
}

pub(super) async fn log_in(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    form: Result<Form<Password>, FormRejection>,
) -> Response {
    if from_another_site(&headers) {
        return refused();
    }
    let client = app.proxies.client(peer, &headers);
    if let Err(wait) = app.logins.try_acquire(client) {
        tracing::warn!("too many attempts to log in");
        let detail = "That was tried too often. Wait a minute, then try again.";
        let page = pages::login(StatusCode::TOO_MANY_REQUESTS, Some(detail));
        return ([(header::RETRY_AFTER, (wait.as_secs() + 1).to_string())], page).into_response();
    }
    let password = form.map(|Form(Password { password })| password).unwrap_or_default();
    if !app.operator.has(password).await {
        tracing::warn!("somebody tried to log in with a wrong password");
        sleep(FAILURE).await;
        return pages::login(StatusCode::FORBIDDEN, Some("This is not the password."));
    }
    tracing::info!("the operator logged in");
    let cookie = app.sessions.begin(app.proxies.https(peer, &headers));
    ([(header::SET_COOKIE, cookie)], Redirect::to("/customers")).into_response()
}

pub(super) async fn log_out(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    if from_another_site(&headers) {
        return refused();
    }
    let cookie = app.sessions.end(&headers, app.proxies.https(peer, &headers));
    ([(header::SET_COOKIE, cookie)], Redirect::to("/log-in")).into_response()
}

/// The cookie's `SameSite` keeps other sites out already; this also keeps them from logging anybody in.
/// Browsers send the header with every request to a trustworthy origin, programs do not.
fn from_another_site(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

fn refused() -> Response {
    let detail = "The request came from another site. Open this page yourself and try again.";
    pages::failure(StatusCode::FORBIDDEN, "That was refused", detail)
}
