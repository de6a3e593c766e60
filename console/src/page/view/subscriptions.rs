//! The page of subscriptions.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use chrono::Utc;
use contracts::operations::SubscriptionState;

use super::render;
use crate::{
    page::{
        format::{count, thousands, time},
        user::{Role, User},
    },
    subscriptions::Subscription,
};

#[derive(Template)]
#[template(path = "subscriptions.html")]
struct SubscriptionsPage<'a> {
    user: &'a User,
    rows: Vec<Row>,
    /// The reason for which the others cannot be read.
    unreadable: Vec<String>,
}

/// A subscription in words.
struct Row {
    queue: &'static str,
    /// The beginning of the ids of its fields.
    id: String,
    is_changed: bool,
    state: String,
    /// Who changed it, and when.
    since: String,
    why: String,
    waiting: String,
    consumers: String,
}

impl SubscriptionsPage<'_> {
    fn may_change(&self) -> bool {
        self.user.role == Role::Operator
    }
}

pub(in crate::page) fn subscriptions(
    user: &User,
    subscriptions: &[Subscription],
    unreadable: &[anyhow::Error],
) -> Response {
    let now = Utc::now();
    let row = |subscription: &Subscription| {
        let Subscription { queue, state, since, operator, why, consumers, ready } = subscription;
        let is_changed = *state != SubscriptionState::Running;
        let operator = operator.as_deref().unwrap_or_default();
        let since =
            since.filter(|_| is_changed).map(|since| format!("by {operator} at {}", time(since, now)));
        Row {
            queue,
            id: queue.replace('.', "-"),
            is_changed,
            state: state.to_string(),
            since: since.unwrap_or_default(),
            why: why.clone().filter(|_| is_changed).unwrap_or_default(),
            waiting: thousands((*ready).into()),
            consumers: count((*consumers).into(), "consumer"),
        }
    };
    let rows = subscriptions.iter().map(row).collect();
    let unreadable = unreadable.iter().map(|error| format!("{error:#}")).collect();
    render(StatusCode::OK, &SubscriptionsPage { user, rows, unreadable })
}
