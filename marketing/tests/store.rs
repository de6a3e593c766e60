//! The store, on a real server: whatever order versions of a customer come in, the highest is what stays.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use contracts::{CreateCustomer, UpdateCustomer};
use marketing::{customer::Customer, schema, store::Store};
use proptest::{prelude::*, sample::Index, test_runner::TestRunner};
use sqlx::{MySqlPool, mysql::MySqlConnectOptions};
use system_tests::TestEnvironment;
use tokio::runtime::Handle;
use uuid::Uuid;

/// Which customer, and which version of them.
type Delivery = (usize, u32);

/// Any deliveries of up to three customers: some again and again, in any order, some never; in batches of any
/// size, of which two sessions take turns.
fn deliveries() -> impl Strategy<Value = Vec<Vec<Delivery>>> {
    let delivery = (0..3_usize, 1..=6_u32);
    let copies = prop::collection::vec((delivery, 1..=3_usize), 1..30);
    let deliveries = copies.prop_map(|copies| {
        copies
            .into_iter()
            .flat_map(|(delivery, times)| std::iter::repeat_n(delivery, times))
            .collect::<Vec<_>>()
    });
    let shuffled = deliveries.prop_flat_map(|deliveries| Just(deliveries).prop_shuffle());
    (shuffled, prop::collection::vec(any::<Index>(), 0..8)).prop_map(|(deliveries, cuts)| {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(deliveries.len() + 1)).collect();
        cuts.extend([0, deliveries.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|cut| deliveries[cut[0]..cut[1]].to_vec()).collect()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn shuffled_and_repeated_creations_and_updates_always_end_with_the_last_state() {
    let site = TestEnvironment::new().await.unwrap();
    let owner = site.connection_urls().marketing_database_url("marketing_owner").parse().unwrap();
    schema::migrate(&owner).await.unwrap();
    let database = site.connection_urls().marketing_database_url("marketing").parse().unwrap();
    let (table, handle) = (site.marketing_database(), Handle::current());
    let verdict = tokio::task::spawn_blocking(move || {
        let mut runner = TestRunner::new(ProptestConfig::with_cases(100));
        runner.run(&deliveries(), |batches| {
            handle.block_on(deliver_and_check(&database, &table, &batches));
            Ok(())
        })
    });
    verdict.await.unwrap().unwrap_or_else(|failure| panic!("{failure}"));
}

async fn deliver_and_check(database: &MySqlConnectOptions, table: &MySqlPool, batches: &[Vec<Delivery>]) {
    let ids = [(); 3].map(|()| Uuid::now_v7());
    let half = |first: usize| {
        let batches = batches.iter().skip(first).step_by(2);
        async move {
            let mut store = Store::new(database.clone());
            for batch in batches {
                let customers: Vec<Customer> =
                    batch.iter().map(|(customer, version)| state(ids[*customer], *version)).collect();
                let customers: Vec<&Customer> = customers.iter().collect();
                store.save(&customers).await.unwrap();
            }
        }
    };
    tokio::join!(half(0), half(1));

    let mut last: HashMap<Uuid, u32> = HashMap::new();
    for (customer, version) in batches.iter().flatten() {
        let highest = last.entry(ids[*customer]).or_default();
        *highest = (*version).max(*highest);
    }
    for id in ids {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT version, full_name, email_address, email_opt_in, source, customer_since, changed_at
            FROM customers WHERE customer_id = ?",
        )
        .bind(id.to_string())
        .fetch_all(table)
        .await
        .unwrap();
        assert_eq!(
            rows,
            last.get(&id).map(|version| row(&state(id, *version))).into_iter().collect::<Vec<_>>()
        );
    }
}

type Row = (u32, String, String, bool, String, DateTime<Utc>, Option<DateTime<Utc>>);

fn row(customer: &Customer) -> Row {
    (
        customer.version(),
        customer.full_name().into(),
        customer.email_address().into(),
        customer.email_opt_in(),
        customer.source().into(),
        customer.since(),
        customer.changed_at(),
    )
}

/// A version of a customer, different from all others in every field.
fn state(customer_id: Uuid, version: u32) -> Customer {
    let (full_name, email_address) = (format!("Name {version}"), format!("name{version}@example.org"));
    let (email_opt_in, source) = (version.is_multiple_of(2), format!("source-{version}"));
    let time = |day| format!("2026-01-{day:02}T03:04:05.000006Z").parse().unwrap();
    let customer_since = time(version);
    let customer = if version == 1 {
        let created =
            CreateCustomer { customer_id, full_name, email_address, email_opt_in, source, customer_since };
        Customer::created(created)
    } else {
        Customer::updated(UpdateCustomer {
            customer_id,
            version,
            full_name,
            email_address,
            email_opt_in,
            source,
            customer_since,
            changed_at: time(version + 10),
        })
    };
    customer.unwrap()
}
