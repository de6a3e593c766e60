//! The search for one customer, by a form whose content is in no address and in no log.

use std::time::Duration;

use axum::{Form, extract::State, http::StatusCode, response::Response};
use readers::web_store::Extent;
use serde::Deserialize;
use tokio::time::timeout;

use super::{App, user::User, view};
use crate::find::{Query, search};

/// The time to wait for evidence about a message on the way.
const PATIENCE: Duration = Duration::from_secs(2);

/// The time limit of a search. It is shorter than the time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(9);

#[derive(Deserialize)]
pub(super) struct FindForm {
    #[serde(default)]
    query: String,
}

/// Shows the form.
pub(super) async fn form(user: User) -> Response {
    view::find(&user, StatusCode::OK, None)
}

/// Shows the masked history of the customers that a query leads to.
pub(super) async fn submit(user: User, State(app): State<App>, Form(form): Form<FindForm>) -> Response {
    let Ok(query) = form.query.trim().parse::<Query>() else {
        let problem = "Enter the id of a customer or of a message, or a complete e-mail address.";
        return view::find(&user, StatusCode::UNPROCESSABLE_ENTITY, Some(problem));
    };
    let found = search(&app.connections, &query, Extent::Recent, PATIENCE);
    let Ok(mut report) = timeout(TIMEOUT, Box::pin(found)).await else {
        let problem = "The servers have not responded in time. Use console find, which waits longer.";
        return view::find(&user, StatusCode::SERVICE_UNAVAILABLE, Some(problem));
    };
    report.mask();
    view::found(&user, &report)
}
