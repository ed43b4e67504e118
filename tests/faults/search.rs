//! The search for schedules that break a guarantee.

use voting_tests::faults::{ClusterRelease, Event, Fault, Schedule};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_guarantee_is_found_and_its_schedule_shrunk_to_the_cause() {
    let faults = [
        (Fault::AppClock(0, 60), 100, 300),
        (Fault::DistantStore(20), 200, 300),
        (Fault::KillStore, 500, 100),
        (Fault::KillApp(1), 700, 100),
    ];
    let events = faults.map(|(fault, start, length)| Event { fault, start, length }).to_vec();
    let schedule = Schedule { release: ClusterRelease::Volatile, events };
    let verdict = schedule.verdict().await;
    assert!(verdict.lost > 0 && verdict.broken.is_some(), "{verdict:?}");
    assert_eq!(schedule.shortest_failing().await, Some(vec![2]));

    // The same faults of a Redis that keeps its votes.
    let verdict = Schedule { release: ClusterRelease::One, ..schedule }.verdict().await;
    assert_eq!((verdict.lost, verdict.doubled), (0, 0), "{verdict:?}");
    assert_eq!(verdict.broken, None);
}
