//! Both lists side by side, page by page, in the order of their ids.

use anyhow::Result;
use futures_util::TryStreamExt;
use uuid::Uuid;

use super::deadline::with_deadline;
use super::marketing::{self, Marketing, Rows};
use super::report::Report;
use super::unaccounted::Unaccounted;
use super::web_store::{Customer, WebStore};

/// Counts who has arrived, who waits in the outbox and who is doubled; the others are candidates.
///
/// The Web Store is read first, so whoever it has but Marketing has not may have moved on in between,
/// and can be found further along.
pub(super) async fn compare(
    web_store: &mut WebStore,
    marketing: &mut Marketing,
    page: u32,
    report: &mut Report,
    candidates: &mut Unaccounted,
) -> Result<()> {
    let mut after = Uuid::nil();
    loop {
        let customers = web_store.customers(after, page).await?;
        // After the Web Store's last customer, Marketing's rows go on to their end.
        let last = customers.last().map(|customer| customer.id).filter(|_| customers.len() == page as usize);
        let mut rows = marketing.rows(after, last);
        report.customers += customers.len() as u64;
        let customers = customers.into_iter().peekable();
        let mut merge = Merge { customers, report: &mut *report, candidates: &mut *candidates };
        let mut strangers = Vec::new();
        while let Some(row) = with_deadline(marketing::NAME, rows.try_next()).await? {
            if !merge.row(&row) && row.from_web_store > 0 {
                strangers.push(row);
            }
            if strangers.len() >= page as usize {
                merge.report.unknown_rows += unknown(web_store, std::mem::take(&mut strangers)).await?;
            }
        }
        merge.rest();
        report.unknown_rows += unknown(web_store, strangers).await?;
        match last {
            Some(last) => after = last,
            None => return Ok(()),
        }
    }
}

/// One page of customers, as Marketing's rows go by.
struct Merge<'a> {
    customers: std::iter::Peekable<std::vec::IntoIter<Customer>>,
    report: &'a mut Report,
    candidates: &'a mut Unaccounted,
}

impl Merge<'_> {
    /// Whether the Web Store has the customer of these rows.
    fn row(&mut self, row: &Rows) -> bool {
        let Ok(id) = row.customer_id.parse::<Uuid>() else { return false };
        while let Some(customer) = self.customers.next_if(|customer| customer.id < id) {
            self.without_rows(&customer);
        }
        let Some(customer) = self.customers.next_if(|customer| customer.id == id) else { return false };
        if row.count > 1 {
            self.report.doubled_ids.push(customer.id);
        } else {
            self.report.arrived += 1;
        }
        true
    }

    fn rest(mut self) {
        while let Some(customer) = self.customers.next() {
            self.without_rows(&customer);
        }
    }

    fn without_rows(&mut self, customer: &Customer) {
        if customer.in_outbox {
            self.report.in_outbox += 1;
        } else {
            self.candidates.push(customer.id);
        }
    }
}

/// How many rows are of nobody whom the Web Store knows. Some have been registered since their page was read.
async fn unknown(web_store: &mut WebStore, rows: Vec<Rows>) -> Result<u64> {
    let ids: Vec<Uuid> = rows.iter().filter_map(|row| row.customer_id.parse().ok()).collect();
    let known = if ids.is_empty() { 0 } else { web_store.count(&ids).await? };
    Ok(rows.len() as u64 - known)
}
