//! Faults under load, in short: `cargo xtask ledger --faults` is the long form.

use voting_tests::faults::{Cluster, Fault, Release};
use voting_tests::ledger::{Report, Told};

async fn survives(release: Release, replicas: usize, faults: &[Fault]) -> Report {
    let mut cluster = Cluster::start(release, replicas).await;
    let report = cluster.run(faults, 1000, 16, |line| println!("{line}")).await.unwrap();
    println!("{report}");
    assert!(report.is_clean() && report.ballots() >= 1000, "{report}");
    // With its retries every voter was served in the end.
    assert_eq!(report.told[&Told::Accepted], report.ballots(), "{report}");
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_1_0_on_redis_loses_and_doubles_nothing() {
    survives(Release::One, 2, &Fault::ALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_2_0_on_mysql_loses_and_doubles_nothing() {
    survives(Release::Two, 2, &Fault::ALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_asked_to_leave_drops_no_request() {
    for release in [Release::One, Release::Two] {
        let report = survives(release, 2, &[Fault::TerminateApp]).await;
        assert!(report.errors.is_empty(), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_replicas_start_at_once_on_an_empty_database() {
    survives(Release::Two, 8, &[]).await;
}
