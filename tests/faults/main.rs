//! Faults under load, in short: `cargo xtask ledger --faults` is the long form.

mod disk;
mod failover;
mod search;

use voting_load::{BallotOutcome, Report};
use voting_tests::faults::{Cluster, ClusterRelease, Fault};

async fn survives(release: ClusterRelease, replicas: usize, faults: &[(Fault, u64)]) -> Report {
    let mut cluster = Cluster::start(release, replicas).await;
    let report = cluster.run(faults, 1000, 16, |line| println!("{line}")).await.unwrap();
    println!("{report}");
    assert!(report.is_clean() && report.ballots() >= 1000, "{report}");
    // With retries every voter succeeds.
    assert_eq!(report.total.outcomes[&BallotOutcome::Accepted], report.ballots(), "{report}");
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_1_0_on_redis_loses_and_doubles_nothing() {
    survives(ClusterRelease::One, 2, &Fault::ALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_2_0_on_mysql_loses_and_doubles_nothing() {
    survives(ClusterRelease::Two, 2, &Fault::ALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_drops_no_request_while_it_shuts_down() {
    for release in [ClusterRelease::One, ClusterRelease::Two] {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let report = survives(release, 2, &[(Fault::TerminateApp(1), 0)]).await;
            if report.total.errors.is_empty() {
                break;
            }
            // On a busy machine requests may miss the deadlines of the services, which says nothing about the shutdown.
            let is_late = |error: &String| LATE.iter().any(|late| error.contains(late));
            assert!(attempts < 8 && report.total.errors.keys().all(is_late), "{report}");
        }
    }
}

/// Errors of a request that missed a deadline, as opposed to a dropped one.
const LATE: [&str; 3] = ["503", "no answer in time", "no results on the page"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_replicas_start_concurrently_on_an_empty_database() {
    survives(ClusterRelease::Two, 8, &[]).await;
}
