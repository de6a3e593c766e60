//! Compares the times of registrations with those of their rows in Marketing.

use std::{collections::HashMap, convert::Infallible};

use chrono::{DateTime, TimeDelta, Utc};
use readers::{
    marketing::Marketing,
    web_store::{Registration, WebStore, first_id},
};
use uuid::Uuid;

use super::{STATEMENT_LIMIT, Sampler, keep_reading};
use crate::page::objective::{LIMIT, Objective, PERIOD, Tally};

/// The registrations that are compared in one reading.
const PAGE: u32 = 1000;

/// The largest part of the past in one reading. If it has more registrations than [`PAGE`], only the first of them
/// are compared.
const STEP: TimeDelta = TimeDelta::minutes(1);

/// Registrations are compared this time later. It is longer than the limit, so an absent row is late.
const DELAY: TimeDelta = TimeDelta::seconds(6);

impl Sampler {
    pub(super) async fn read_objective(&self) -> Infallible {
        let connect = async || {
            let mut web_store = WebStore::connect(&self.connections.web_store_database_url).await?;
            web_store.limit_statements(STATEMENT_LIMIT).await?;
            let mut marketing = Marketing::connect(&self.connections.marketing_database_url).await?;
            marketing.limit_statements(STATEMENT_LIMIT).await?;
            Ok((web_store, marketing))
        };
        let mut objective = Objective::default();
        let mut cursor = None;
        let read = async |(web_store, marketing): &mut (WebStore, Marketing)| {
            let now = web_store.now().await?;
            let until = now - DELAY;
            let mut from = cursor.unwrap_or_else(|| Cursor::at(now - PERIOD));
            let mut compared = 0;
            // A quiet hour is read in one reading.
            while from.time < until && compared < PAGE as usize {
                let page = Page::read(from, until, web_store, marketing).await?;
                for (registration, is_late) in &page.registrations {
                    objective.add(registration.registered_at, *is_late);
                }
                page.skipped.into_iter().for_each(|time| objective.skip(time));
                compared += page.registrations.len();
                from = page.next;
                cursor = Some(from);
            }
            Ok(objective.last_hour(now))
        };
        keep_reading(connect, read, |tally: Result<Tally, _>| self.latest().objective = tally).await
    }
}

/// A place in the order of the registrations.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    time: DateTime<Utc>,
    /// The first id that was not read.
    id: Uuid,
}

impl Cursor {
    fn at(time: DateTime<Utc>) -> Self {
        Self { time, id: first_id(time) }
    }
}

/// Registrations in the order of their ids, each with whether it was late.
struct Page {
    registrations: Vec<(Registration, bool)>,
    /// The time of registrations that are left out.
    skipped: Option<DateTime<Utc>>,
    next: Cursor,
}

impl Page {
    /// Reads the next registrations. If the page falls behind, it leaves some out.
    async fn read(
        from: Cursor,
        until: DateTime<Utc>,
        web_store: &mut WebStore,
        marketing: &mut Marketing,
    ) -> anyhow::Result<Self> {
        let end = until.min(from.time + STEP);
        let found = web_store.registrations(from.id, first_id(end), PAGE).await?;
        let ids: Vec<_> = found.iter().map(|registration| registration.id).collect();
        let arrivals: HashMap<_, _> = marketing.arrivals_of(&ids).await?.into_iter().collect();
        let is_late = |registration: &Registration| {
            let arrival = arrivals.get(&registration.id);
            arrival.is_none_or(|arrival| *arrival - registration.registered_at > LIMIT)
        };
        let (skipped, next) = match found.last() {
            Some(last) if found.len() == PAGE as usize => {
                let is_behind = until - from.time > STEP;
                let next = Cursor { time: last.registered_at.clamp(from.time, end), id: after(last.id) };
                if is_behind { (Some(last.registered_at), Cursor::at(end)) } else { (None, next) }
            }
            _ => (None, Cursor::at(end)),
        };
        let registrations = found.into_iter().map(|one| (one, is_late(&one))).collect();
        Ok(Self { registrations, skipped, next })
    }
}

/// Returns the id after an id.
fn after(id: Uuid) -> Uuid {
    Uuid::from_u128(id.as_u128().saturating_add(1))
}
