//! Registers customers and reads pages at a constant rate, and counts each request without a good response.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Mutex, MutexGuard},
};

use anyhow::Context;
use reqwest::{Client, StatusCode, header};
use serde_json::{Value, json};
use system_tests::{
    customers::{email, http_client},
    operator::Operator,
};

use super::fleet::Fleet;
use crate::pace::Pace;

/// A running load of all kinds of requests. Dropping it ends the load.
pub(super) struct Visitors {
    shared: Arc<Shared>,
    pace: Pace,
}

/// The numbers of requests.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) requests: u64,
    /// Requests without a response, or with an error as the response.
    pub(super) failed: u64,
    /// Requests with a response that asks to try again: 429 or 503.
    pub(super) refused: u64,
}

struct Shared {
    client: Client,
    web_store: String,
    marketing: String,
    /// The log-in session of an operator, which one instance of Marketing has started.
    cookie: String,
    records: Mutex<Records>,
}

#[derive(Default)]
struct Records {
    counts: Counts,
    /// The reason of each failed request.
    failures: Vec<String>,
    /// The ids of the customers whose registration has been confirmed.
    confirmed: HashSet<String>,
}

enum Answer {
    Registered(String),
    Page,
    Refused(StatusCode),
}

impl Visitors {
    /// Starts `rate` requests per second at the addresses of the load balancers.
    pub(super) async fn start(fleet: &Fleet, rate: u32) -> anyhow::Result<Self> {
        let marketing = fleet.any_marketing().context("no instance of Marketing")?;
        let shared = Arc::new(Shared {
            client: http_client()?,
            web_store: fleet.web_store.url(),
            marketing: fleet.marketing.url(),
            cookie: Operator::log_in(marketing).await?.cookie,
            records: Mutex::default(),
        });
        let visiting = Arc::clone(&shared);
        let pace = Pace::start(rate, move |n| visit(Arc::clone(&visiting), n));
        Ok(Self { shared, pace })
    }

    /// Stops the requests, and waits until all have ended.
    pub(super) async fn pause(&self) {
        self.pace.pause().await;
    }

    /// Continues after [`Visitors::pause`].
    pub(super) fn resume(&self) {
        self.pace.resume();
    }

    /// Returns the numbers since the previous call.
    pub(super) fn take_counts(&self) -> Counts {
        mem::take(&mut self.shared.records().counts)
    }

    /// Returns the reasons of failed requests since the previous call.
    pub(super) fn take_failures(&self) -> Vec<String> {
        mem::take(&mut self.shared.records().failures)
    }

    pub(super) fn confirmed(&self) -> HashSet<String> {
        self.shared.records().confirmed.clone()
    }
}

async fn visit(shared: Arc<Shared>, n: usize) {
    let answer = shared.request(n).await;
    let mut records = shared.records();
    records.counts.requests += 1;
    match answer {
        Ok(Answer::Page) => {}
        Ok(Answer::Registered(id)) => {
            records.confirmed.insert(id);
        }
        Ok(Answer::Refused(status)) => {
            records.counts.refused += 1;
            records.failures.push(format!("request {n} was refused: {status}"));
        }
        Err(error) => {
            records.counts.failed += 1;
            records.failures.push(format!("request {n} failed: {error:#}"));
        }
    }
}

impl Shared {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().expect("no thread panics while it holds this lock")
    }

    /// Of ten requests, eight register a customer, one reads the form, and one reads Marketing's list.
    async fn request(&self, n: usize) -> anyhow::Result<Answer> {
        let request = match n % 10 {
            0 => {
                self.client.get(format!("{}/customers", self.marketing)).header(header::COOKIE, &self.cookie)
            }
            5 => self.client.get(&self.web_store),
            _ => {
                let name = format!("Customer {n}");
                let body = json!({"name": name, "email": email(&name), "marketing_consent": true});
                self.client.post(format!("{}/customers", self.web_store)).json(&body)
            }
        };
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        match status {
            StatusCode::OK => Ok(Answer::Page),
            StatusCode::CREATED => {
                let body: Value = serde_json::from_str(&text)?;
                let id = body["customer_id"].as_str().context("no customer_id in the response")?;
                Ok(Answer::Registered(id.to_owned()))
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Ok(Answer::Refused(status)),
            _ => anyhow::bail!("{status}: {text}"),
        }
    }
}
