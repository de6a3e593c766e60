//! One sweep over all points: a fault before each frame of a registration.

use faults::{SweepArguments, sweep};
use stack::servers::Servers;

#[tokio::test]
async fn fault_at_any_frame_leaves_exactly_one_row() {
    let directory = tempfile::tempdir().unwrap();
    let mut servers = Servers::start(directory.path(), |_| ()).await.unwrap();
    let tally = sweep(&servers, SweepArguments::default(), |line| println!("{line}")).await.unwrap();
    println!("{tally}");
    assert_eq!((tally.lost, tally.duplicated), (0, 0), "{tally}");
    assert!(
        tally.cut > tally.passed_over && tally.killed > tally.passed_over,
        "too few frames occurred: {tally}"
    );
    servers.stop().await.unwrap();
}
