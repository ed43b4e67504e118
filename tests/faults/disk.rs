//! The disk of a SQLite file.

use voting_core::BallotId;
use voting_tests::faults::{Disk, Preload};
use voting_tests::http::Visitor;
use voting_tests::process::Service;
use voting_tests::{PATIENCE, Stopwatch, eventually, figure};

/// A POST of this ballot; the answer's outcome.
async fn cast(visitor: &Visitor, id: BallotId) -> String {
    let answer = visitor.post("/", format!("vote=Cats&ballot={id}")).await;
    answer.header("x-vote-outcome").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_file_takes_votes_again_after_its_file_system_was_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/votes.db", folder.path().display());
    let preload = Preload::start();
    let variables = preload.variables();
    let preloaded = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let settings = [("RELEASE", "2.0"), ("STORAGE_URL", &url), ("ANALYTICS_URL", "http://127.0.0.1:9")];
    let settings: Vec<_> = settings.into_iter().chain(preloaded).collect();
    let app = Service::start("voting-app", &settings).await;
    let visitor = Visitor::new(app.url(""));
    let known = BallotId::new();
    eventually("a vote counts", PATIENCE, async || cast(&visitor, known).await.ends_with("counted")).await;

    preload.set_disk(Disk::ReadOnly);
    let tries = BallotId::new();
    eventually("a new vote is refused", PATIENCE, async || cast(&visitor, tries).await == "refused").await;
    assert_eq!(cast(&visitor, known).await, "already-counted");
    // A read opens the file again, and its connection stays open while only votes follow.
    let metrics = app.admin_url("/metrics");
    for _ in 0..3 {
        reqwest::get(&metrics).await.unwrap().error_for_status().unwrap();
    }
    cast(&visitor, tries).await;
    reqwest::get(&metrics).await.unwrap().error_for_status().unwrap();

    preload.set_disk(Disk::Writable);
    let recovery = Stopwatch::start();
    eventually("votes count again", PATIENCE, async || cast(&visitor, tries).await.ends_with("counted"))
        .await;
    let measured = format!("votes count again after {:.1?}", recovery.elapsed());
    figure("SQLite's file system is writable again", measured);
}
