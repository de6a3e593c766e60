//! The page of subscriptions: pauses, throttles, and resumes the consumers of a queue.

use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::{
    Form,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use contracts::operations::SubscriptionState;
use readers::connections::work_queues;
use serde::Deserialize;
use tokio::time::timeout;

use super::{App, access::Change, letters::text, user::User, view};
use crate::subscriptions::{Overview, change, read};

/// The time limit of reading or changing the states. It is shorter than the time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(8);

#[derive(Debug, Deserialize)]
pub(super) struct ChangeForm {
    queue: String,
    action: Action,
    #[serde(default)]
    rate: String,
    #[serde(default)]
    why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Pause,
    Throttle,
    Resume,
}

/// Shows the state of each subscription.
pub(super) async fn show(user: User, State(app): State<App>) -> Response {
    let read = timeout(TIMEOUT, read(&app.connections.brokers)).await.context("the broker does not respond");
    let title = "The subscriptions cannot be read right now";
    match read {
        Ok(Overview { subscriptions, unreadable }) => match unreadable.first() {
            Some(error) if subscriptions.is_empty() => unavailable(title, error),
            _ => view::subscriptions(&user, &subscriptions, &unreadable),
        },
        Err(error) => unavailable(title, &error),
    }
}

/// Changes the state of a subscription.
pub(super) async fn submit(
    Change(user): Change,
    State(app): State<App>,
    Form(form): Form<ChangeForm>,
) -> Response {
    let Some(queue) = work_queues().find(|queue| queue.name == form.queue) else {
        return view::failure(
            StatusCode::NOT_FOUND,
            "There is no such queue",
            "Go back to the subscriptions.",
        );
    };
    let why = text(&form.why);
    let state = match form.action {
        Action::Pause if why.is_none() => {
            let detail = "Other operators need to see why it is paused. Go back and enter the reason.";
            return view::failure(StatusCode::UNPROCESSABLE_ENTITY, "The reason is missing", detail);
        }
        Action::Pause => SubscriptionState::Paused,
        Action::Resume => SubscriptionState::Running,
        Action::Throttle => {
            let Ok(rate) = form.rate.trim().parse() else {
                let detail =
                    "The limit is a whole number of messages per second, at least 1. Go back and enter it.";
                return view::failure(StatusCode::UNPROCESSABLE_ENTITY, "The limit is missing", detail);
            };
            SubscriptionState::Throttled { rate }
        }
    };
    // A change that has begun is completed, also if the request ends: the journal and the state must agree.
    let changed = tokio::spawn(async move {
        change(&app.connections.brokers, queue, &user.name, state, why.as_deref()).await
    });
    let changed = timeout(TIMEOUT, changed).await.context("the broker does not respond");
    match changed.and_then(|joined| joined.map_err(|error| anyhow!(error))).flatten() {
        Ok(_) => Redirect::to("/subscriptions").into_response(),
        Err(error) => {
            tracing::warn!(queue = queue.name, "a subscription cannot be changed: {error:#}");
            unavailable("The subscription cannot be changed right now", &error)
        }
    }
}

fn unavailable(title: &str, error: &anyhow::Error) -> Response {
    let detail = format!("Try again in a few seconds. The cause: {error:#}.");
    view::failure(StatusCode::SERVICE_UNAVAILABLE, title, &detail)
}
