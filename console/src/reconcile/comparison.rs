//! The comparison of both tables, page by page, in the order of the ids.

use std::{iter::Peekable, mem, vec};

use futures_util::TryStreamExt;
use uuid::Uuid;

use super::{
    marketing::{self, CustomerRows, Marketing},
    report::Report,
    unaccounted::Unaccounted,
    web_store::{Customer, WebStore},
    with_deadline,
};

/// Counts the customers that have arrived, are in the outbox, or are duplicated. Collects all others.
///
/// The Web Store's page is read first. A customer may move on before Marketing's page is read, so a customer that
/// Marketing lacks may have arrived since.
pub(super) async fn compare(
    web_store: &mut WebStore,
    marketing: &mut Marketing,
    page: u32,
    report: &mut Report,
    unaccounted: &mut Unaccounted,
) -> anyhow::Result<()> {
    let mut after = Uuid::nil();
    loop {
        let customers = web_store.customers(after, page).await?;
        // The last page of the Web Store is compared with all remaining rows of Marketing.
        let last = customers.last().map(|customer| customer.id).filter(|_| customers.len() == page as usize);
        let mut rows = marketing.rows(after, last);
        report.customers += customers.len() as u64;
        let customers = customers.into_iter().peekable();
        let mut merge = Merge { customers, report: &mut *report, unaccounted: &mut *unaccounted };
        let mut unmatched = Vec::new();
        while let Some(row) = with_deadline(marketing::NAME, rows.try_next()).await? {
            if !merge.row(&row) && row.from_web_store > 0 {
                unmatched.push(row);
            }
            if unmatched.len() >= page as usize {
                merge.report.unknown_rows += count_unknown(web_store, mem::take(&mut unmatched)).await?;
            }
        }
        merge.finish();
        report.unknown_rows += count_unknown(web_store, unmatched).await?;
        match last {
            Some(last) => after = last,
            None => return Ok(()),
        }
    }
}

/// One page of customers that is merged with Marketing's rows.
struct Merge<'a> {
    customers: Peekable<vec::IntoIter<Customer>>,
    report: &'a mut Report,
    unaccounted: &'a mut Unaccounted,
}

impl Merge<'_> {
    /// Merges the rows of one id. Returns whether the page has a customer with this id.
    fn row(&mut self, row: &CustomerRows) -> bool {
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

    /// Adds the customers after the last row.
    fn finish(mut self) {
        while let Some(customer) = self.customers.next() {
            self.without_rows(&customer);
        }
    }

    fn without_rows(&mut self, customer: &Customer) {
        if customer.in_outbox {
            self.report.in_outbox += 1;
        } else {
            self.unaccounted.push(customer.id);
        }
    }
}

/// Returns the number of rows whose customer does not exist in the Web Store. A customer may have registered
/// after its page was read, so the Web Store is queried again.
async fn count_unknown(web_store: &mut WebStore, rows: Vec<CustomerRows>) -> anyhow::Result<u64> {
    let ids: Vec<Uuid> = rows.iter().filter_map(|row| row.customer_id.parse().ok()).collect();
    let existing = if ids.is_empty() { 0 } else { web_store.count(&ids).await? };
    Ok(rows.len() as u64 - existing)
}
