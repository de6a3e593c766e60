//! Logging in and out with the operators' password.

use std::net::SocketAddr;

use axum::{
    Form,
    extract::{ConnectInfo, State, rejection::FormRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
};
use serde::Deserialize;
use service_kit::LoginRefusal;

use super::{App, view};

/// The longest name of an operator.
const MAX_NAME: usize = 60;

#[derive(Default, Deserialize)]
pub(super) struct LoginForm {
    #[serde(default)]
    name: String,
    #[serde(default)]
    password: String,
}

pub(super) async fn form(State(app): State<App>) -> Response {
    match app.access.login() {
        Some(_) => view::login(StatusCode::OK, "", None),
        None => Redirect::to("/").into_response(),
    }
}

pub(super) async fn log_in(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    form: Result<Form<LoginForm>, FormRejection>,
) -> Response {
    let Some(login) = app.access.login() else { return Redirect::to("/").into_response() };
    let LoginForm { name, password } = form.map(|Form(form)| form).unwrap_or_default();
    let name = name.trim();
    if !is_name(name) {
        let problem = "Enter your name, in up to 60 characters. The journal shows it.";
        return view::login(StatusCode::UNPROCESSABLE_ENTITY, name, Some(problem));
    }
    match login.log_in(peer, &headers, password, name).await {
        Ok(session) => (session, Redirect::to("/")).into_response(),
        Err(LoginRefusal::CrossSite) => view::cross_site(),
        Err(refusal) => {
            let page = view::login(refusal.status(), name, Some(refusal.explanation()));
            (refusal.retry_after(), page).into_response()
        }
    }
}

pub(super) async fn log_out(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let Some(login) = app.access.login() else { return Redirect::to("/").into_response() };
    match login.log_out(peer, &headers) {
        Ok(removal) => (removal, Redirect::to("/log-in")).into_response(),
        Err(_) => view::cross_site(),
    }
}

/// Returns whether a text can be the name of an operator in the journal.
fn is_name(name: &str) -> bool {
    let length = name.chars().count();
    (1..=MAX_NAME).contains(&length) && !name.chars().any(char::is_control)
}
