//! Logging in and out.

use std::net::SocketAddr;

use axum::{
    Form,
    extract::{ConnectInfo, FromRequestParts, State, rejection::FormRejection},
    http::{HeaderMap, StatusCode, header, request::Parts},
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
    match refusal {
        LoginRefusal::CrossSite => {
            let detail = "The request came from another site. Open this page yourself and try again.";
            pages::failure(StatusCode::FORBIDDEN, "That was refused", detail)
        }
        LoginRefusal::TooManyAttempts(wait) => {
            let detail = "There were too many attempts. Wait a minute, then try again.";
            let page = pages::login(StatusCode::TOO_MANY_REQUESTS, Some(detail));
            ([(header::RETRY_AFTER, (wait.as_secs() + 1).to_string())], page).into_response()
        }
        LoginRefusal::WrongPassword => pages::login(StatusCode::FORBIDDEN, Some("This is not the password.")),
    }
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
