//! One registration with every fault: the links stopped before each message, cut there, the service killed there.

use faults::sweep::{Arguments, sweep};
use stack::servers::Servers;

#[tokio::test]
async fn wherever_a_link_is_cut_or_a_service_killed_a_registration_makes_exactly_one_row() {
    let directory = tempfile::tempdir().unwrap();
    let mut servers = Servers::start(directory.path(), |_| ()).await.unwrap();
    let tally = sweep(&servers, Arguments::default(), |line| println!("{line}")).await.unwrap();
    println!("{tally}");
    assert_eq!((tally.lost, tally.doubled), (0, 0), "{tally}");
    assert!(
        tally.cut > tally.passed_over && tally.killed > tally.passed_over,
        "the faults happened: {tally}"
    );
    servers.stop().await.unwrap();
}
