//! Logging in and out.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Form,
    extract::{ConnectInfo, State, rejection::FormRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use axum_extra::extract::cookie::CookieJar;
use serde::Deserialize;
use tokio::time::sleep;

use super::{App, pages, sessions};

/// Delay of the response to a wrong password, in addition to the verification.
const FAILURE_DELAY: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
pub(super) struct LoginForm {
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
    form: Result<Form<LoginForm>, FormRejection>,
) -> Response {
    if is_cross_site(&headers) {
        return refused();
    }
    let client = app.proxies.client(peer, &headers);
    if let Err(wait) = app.logins.try_acquire(client) {
        tracing::warn!("too many attempts to log in");
        let detail = "There were too many attempts. Wait a minute, then try again.";
        let page = pages::login(StatusCode::TOO_MANY_REQUESTS, Some(detail));
        return ([(header::RETRY_AFTER, (wait.as_secs() + 1).to_string())], page).into_response();
    }
    let password = form.map(|Form(LoginForm { password })| password).unwrap_or_default();
    if !app.operator.verify(password).await {
        tracing::warn!("log-in with a wrong password");
        sleep(FAILURE_DELAY).await;
        return pages::login(StatusCode::FORBIDDEN, Some("This is not the password."));
    }
    tracing::info!("the operator logged in");
    let session = app.sessions.start(app.proxies.https(peer, &headers));
    (session, Redirect::to("/customers")).into_response()
}

pub(super) async fn log_out(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    if is_cross_site(&headers) {
        return refused();
    }
    app.sessions.end(&headers);
    let removal = sessions::removal(app.proxies.https(peer, &headers));
    (CookieJar::new().add(removal), Redirect::to("/log-in")).into_response()
}

/// Returns whether another site caused the request.
///
/// The attribute `SameSite` of the cookie protects a session. This check also prevents another site from
/// starting a session in the operator's browser. Browsers send the header with every request to a trustworthy
/// origin, programs do not send it.
fn is_cross_site(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

fn refused() -> Response {
    let detail = "The request came from another site. Open this page yourself and try again.";
    pages::failure(StatusCode::FORBIDDEN, "That was refused", detail)
}
