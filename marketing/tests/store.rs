//! The store with a real server: the highest version of a customer stays, in whatever order versions arrive.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use contracts::{CreateCustomer, ForgetCustomer, UpdateCustomer};
use marketing::{DatabaseUrl, customer::Customer, schema, store::Store};
use proptest::{prelude::*, sample::Index, test_runner::TestRunner};
use sqlx::MySqlPool;
use system_tests::TestEnvironment;
use tokio::runtime::Handle;
use uuid::Uuid;

/// The index of a customer, and a version.
type Delivery = (usize, u32);

/// Returns deliveries of up to three customers in random order. Versions can repeat or be missing. The batches
/// have random sizes, and two sessions save them in turn.
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
async fn shuffled_repeated_versions_end_with_highest() {
    let environment = TestEnvironment::new().await.unwrap();
    let owner = environment.connection_urls().marketing_database_url("marketing_owner").parse().unwrap();
    schema::migrate(&owner).await.unwrap();
    let database = environment.connection_urls().marketing_database_url("marketing").parse().unwrap();
    let table = environment.marketing_database();
    let handle = Handle::current();
    let verdict = tokio::task::spawn_blocking(move || {
        let mut runner = TestRunner::new(ProptestConfig::with_cases(100));
        runner.run(&deliveries(), |batches| {
            handle.block_on(deliver_and_check(&database, &table, &batches));
            Ok(())
        })
    });
    verdict.await.unwrap().unwrap_or_else(|failure| panic!("{failure}"));
}

async fn deliver_and_check(database: &DatabaseUrl, table: &MySqlPool, batches: &[Vec<Delivery>]) {
    let ids = [(); 3].map(|()| Uuid::now_v7());
    let session = |first: usize| {
        let batches = batches.iter().skip(first).step_by(2);
        async move {
            let mut store = Store::new(database.clone());
            for batch in batches {
                let customers: Vec<Customer> =
                    batch.iter().map(|(customer, version)| state(ids[*customer], *version)).collect();
                let customers: Vec<&Customer> = customers.iter().collect();
                store.save(&customers, None).await.unwrap();
            }
        }
    };
    tokio::join!(session(0), session(1));

    let mut highest: HashMap<Uuid, u32> = HashMap::new();
    for (customer, version) in batches.iter().flatten() {
        let stored = highest.entry(ids[*customer]).or_default();
        *stored = (*version).max(*stored);
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
            highest.get(&id).map(|version| row(&state(id, *version))).into_iter().collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn forgotten_customer_stays_forgotten_in_any_order() {
    let environment = TestEnvironment::new().await.unwrap();
    let owner = environment.connection_urls().marketing_database_url("marketing_owner").parse().unwrap();
    schema::migrate(&owner).await.unwrap();
    let database = environment.connection_urls().marketing_database_url("marketing").parse().unwrap();
    let mut store = Store::new(database);
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let customer_id = Uuid::now_v7();
        let erased_at = "2026-03-04T05:06:07.000008Z".parse().unwrap();
        let forget = ForgetCustomer { customer_id, source: "web-store".into(), erased_at };
        let forgotten = Customer::forgotten(forget).unwrap();
        let versions = [state(customer_id, 1), state(customer_id, 6), forgotten.clone()];
        for index in order.into_iter().chain(order) {
            store.save(&[&versions[index]], None).await.unwrap();
        }
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT version, full_name, email_address, email_opt_in, source, customer_since, changed_at
            FROM customers WHERE customer_id = ?",
        )
        .bind(customer_id.to_string())
        .fetch_all(&environment.marketing_database())
        .await
        .unwrap();
        assert_eq!(rows, [row(&forgotten)], "{order:?}");
        assert!(rows[0].1.is_empty() && rows[0].2.is_empty());
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

/// Returns a version of a customer that differs from all others in every field.
fn state(customer_id: Uuid, version: u32) -> Customer {
    let full_name = format!("Name {version}");
    let email_address = format!("name{version}@example.org");
    let email_opt_in = version.is_multiple_of(2);
    let source = format!("source-{version}");
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
