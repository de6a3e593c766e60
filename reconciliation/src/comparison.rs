//! The comparison of one page of customers with Marketing's rows, in the order of the ids.

use std::{cmp::Ordering, iter::Peekable, mem, slice};

use readers::{
    marketing::{CustomerRows, Marketing},
    web_store::{Customer, WebStore},
};
use uuid::Uuid;

/// The result of comparing one customer with Marketing's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Marketing has exactly this version.
    Arrived,
    /// Marketing has more than one row.
    Duplicated,
    /// Marketing has forgotten the customer, at an erasure.
    Forgotten,
    /// Marketing has another version, or no row.
    Different {
        /// Marketing's version, or `None` without a row.
        marketing: Option<i64>,
    },
}

impl Comparison {
    /// Compares a version of the Web Store with Marketing's rows.
    #[must_use]
    pub fn new(version: i64, rows: Option<&CustomerRows>) -> Self {
        match rows {
            Some(rows) if rows.count > 1 => Self::Duplicated,
            Some(rows) if rows.is_forgotten() => Self::Forgotten,
            Some(rows) if rows.version == version => Self::Arrived,
            rows => Self::Different { marketing: rows.map(|rows| rows.version) },
        }
    }
}

/// Rows of Marketing from the Web Store that belong to no customer.
#[derive(Debug, Default)]
pub(crate) struct Unmatched {
    /// The number of rows of unknown customers.
    pub(crate) unknown: u64,
    /// The customers that the Web Store has erased.
    pub(crate) erased: Vec<Uuid>,
}

/// Passes each customer of a page to `visit` with its comparison. Returns Marketing's rows from the Web Store that belong
/// to no customer.
///
/// `last` is the upper end of the page, or `None` for all remaining rows of Marketing. The page was read first. A
/// customer may move on before Marketing's rows are read, so a customer that differs may have arrived since.
pub(crate) async fn compare_page(
    web_store: &mut WebStore,
    marketing: &mut Marketing,
    (after, last): (Uuid, Option<Uuid>),
    customers: &[Customer],
    visit: impl FnMut(&Customer, Comparison),
) -> anyhow::Result<Unmatched> {
    /// The maximum of rows without a customer that are kept in memory.
    const MAX_UNMATCHED: usize = 10_000;

    let mut rows = marketing.rows(after, last);
    let mut merge = Merge { customers: customers.iter().peekable(), visit };
    let mut pending = Vec::new();
    let mut unmatched = Unmatched::default();
    while let Some(row) = rows.next().await? {
        if !merge.row(&row) && row.from_web_store > 0 && !row.is_forgotten() {
            pending.push(row);
        }
        if pending.len() >= MAX_UNMATCHED {
            unmatched.add(web_store, mem::take(&mut pending)).await?;
        }
    }
    merge.finish();
    unmatched.add(web_store, pending).await?;
    Ok(unmatched)
}

/// Compares customers, each with its version of the Web Store. Passes the results to `visit`.
pub(crate) async fn compare_customers(
    marketing: &mut Marketing,
    customers: &[(Uuid, i64)],
    mut visit: impl FnMut(Uuid, Comparison),
) -> anyhow::Result<()> {
    let ids: Vec<Uuid> = customers.iter().map(|(id, _)| *id).collect();
    let rows = marketing.read(&ids).await?;
    for (id, version) in customers {
        let found = rows.binary_search_by_key(id, |(id, _)| *id).ok();
        visit(*id, Comparison::new(*version, found.map(|index| &rows[index].1)));
    }
    Ok(())
}

/// Returns those of the erased customers of which Marketing still has details, by id.
pub(crate) async fn not_forgotten(marketing: &mut Marketing, erased: &[Uuid]) -> anyhow::Result<Vec<Uuid>> {
    let rows = marketing.read(erased).await?;
    Ok(rows.into_iter().filter(|(_, rows)| !rows.is_forgotten()).map(|(id, _)| id).collect())
}

/// One page of customers that is merged with Marketing's rows.
struct Merge<'a, V> {
    customers: Peekable<slice::Iter<'a, Customer>>,
    visit: V,
}

impl<V: FnMut(&Customer, Comparison)> Merge<'_, V> {
    /// Merges the rows of one id. Returns whether the page has a customer with this id.
    fn row(&mut self, rows: &CustomerRows) -> bool {
        let Ok(id) = rows.customer_id.parse::<Uuid>() else { return false };
        while let Some(customer) = self.customers.next_if(|customer| customer.id <= id) {
            let matches = customer.id.cmp(&id) == Ordering::Equal;
            (self.visit)(customer, Comparison::new(customer.version, matches.then_some(rows)));
            if matches {
                return true;
            }
        }
        false
    }

    /// Passes on the customers after the last row.
    fn finish(mut self) {
        for customer in self.customers {
            (self.visit)(customer, Comparison::new(customer.version, None));
        }
    }
}

impl Unmatched {
    /// Adds the rows whose customer does not exist in the Web Store. A customer may have registered after its page was
    /// read, so the Web Store is queried again.
    async fn add(&mut self, web_store: &mut WebStore, rows: Vec<CustomerRows>) -> anyhow::Result<()> {
        let ids: Vec<Uuid> = rows.iter().filter_map(|row| row.customer_id.parse().ok()).collect();
        if !ids.is_empty() {
            let existing = web_store.count(&ids).await?;
            let erased = web_store.erased(&ids).await?;
            self.unknown += rows.len() as u64 - existing - erased.len() as u64;
            self.erased.extend(erased.into_iter().map(|erased| erased.customer_id));
        }
        Ok(())
    }
}
