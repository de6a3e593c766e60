//! Logging in and out.

use std::net::SocketAddr;

use axum::{
    Form,
    extract::{ConnectInfo, FromRequestParts, State, rejection::FormRejection},
    http::{HeaderMap, StatusCode, request::Parts},
    response::{IntoResponse, Redirect, Response},
};
use serde::Deserialize;
use service_kit::LoginRefusal;

use super::{App, pages};

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
    let password = form.map(|Form(LoginForm { password })| password).unwrap_or_default();
    match app.login.log_in(peer, &headers, password, "").await {
        Ok(session) => (session, Redirect::to("/customers")).into_response(),
        Err(refusal) => refused(refusal),
    }
}

pub(super) async fn log_out(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    match app.login.log_out(peer, &headers) {
        Ok(removal) => (removal, Redirect::to("/log-in")).into_response(),
        Err(refusal) => refused(refusal),
    }
}

fn refused(refusal: LoginRefusal) -> Response {
    if refusal == LoginRefusal::CrossSite {
        return pages::failure(refusal.status(), "That was refused", refusal.explanation());
    }
    let page = pages::login(refusal.status(), Some(refusal.explanation()));
    (refusal.retry_after(), page).into_response()
}

/// A request with a valid session. Other requests are redirected to the log-in page.
#[derive(Debug)]
pub(super) struct LoggedIn;

impl FromRequestParts<App> for LoggedIn {
    type Rejection = Redirect;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Redirect> {
        let session = app.login.session_name(&parts.headers);
        session.map(|_| Self).ok_or_else(|| Redirect::to("/log-in"))
    }
}
