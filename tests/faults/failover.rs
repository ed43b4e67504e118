//! Failovers to replicas under votes: what is lost and what is not.

use std::time::Duration;

use tokio::task::JoinHandle;
use voting_load::{Forms, Plan, Progress, Report, Voting};
use voting_tests::deployment::Deployment;
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::{MySql, Redis, RedisCluster};
use voting_tests::{PATIENCE, eventually, figure};

const VOTERS: u16 = 8;

/// A release under votes.
struct Poll {
    progress: Progress,
    load: JoinHandle<anyhow::Result<Report>>,
    _deployment: Deployment,
}

impl Poll {
    /// Starts a release of the app and of analytics on this store, and voters, and waits for the first votes.
    async fn start(app: &str, analytics: &str, store: &str) -> Self {
        let deployment = Deployment::start(app, analytics, store, &[]).await;
        let plan = Plan::until_stopped(
            deployment.app.url(""),
            Voting::Forms(Forms::default()),
            VOTERS.into(),
            Duration::from_millis(10),
        );
        let (progress, load) = Plan { leave_some: true, ..plan }.start();
        let poll = Self { progress, load, _deployment: deployment };
        poll.more_votes(100).await;
        poll
    }

    /// Waits for this number of ballots whose outcome is final.
    async fn more_votes(&self, ballots: u64) {
        let until = self.progress.cast() + ballots;
        let reaches = || async { self.progress.cast() >= until || self.load.is_finished() };
        eventually("voters vote", PATIENCE, reaches).await;
    }

    /// Waits for votes after the failover, and accounts for every ballot. Nothing is ever counted twice or against its
    /// answer.
    async fn end(self, name: &str) -> Report {
        self.more_votes(200).await;
        self.progress.stop();
        let report = self.load.await.unwrap().unwrap();
        let measured = format!(
            "{} ballots, lost {}, doubled {}",
            report.ballots(),
            report.total.lost,
            report.total.doubled
        );
        figure(name, measured);
        assert_eq!((report.total.doubled, report.total.counted_though_refused), (0, 0), "{report}");
        report
    }
}

/// A Redis, its replica, the network to the store and the one between both.
struct Replicated {
    primary: Redis,
    replica: Redis,
    network: Proxy,
    link: Proxy,
}

impl Replicated {
    async fn start() -> Self {
        let primary = Redis::own().await;
        let link = Proxy::start(primary.address(), Mode::Open).await;
        let replica = primary.replica_by(link.address(), &[], Vec::new()).await;
        let network = Proxy::start(primary.address(), Mode::Open).await;
        Self { primary, replica, network, link }
    }

    async fn poll(&self) -> Poll {
        Poll::start("1.0", "1.1", &self.primary.url_at(self.network.address())).await
    }

    /// Cuts the replica off; returns a number of ballots that it has for certain.
    async fn cut_off(&self, poll: &Poll) -> u64 {
        let certain = poll.progress.cast();
        self.primary.replicated_to(&self.replica).await;
        self.link.set(Mode::Silent);
        certain
    }

    /// The primary dies, and the replica takes over.
    async fn fail_over(&mut self) {
        self.primary.server().kill().await;
        self.replica.query::<()>("REPLICAOF", &["NO", "ONE"]).await;
        self.network.set_target(self.replica.address());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinated_failover_of_redis_loses_nothing() {
    let redis = Replicated::start().await;
    // FAILOVER wants to know the replica by its own address.
    let direct = redis.primary.replica(&[], Vec::new()).await;
    let poll = redis.poll().await;
    redis.primary.hand_over_to(&direct).await;
    redis.network.set_target(direct.address());
    assert_eq!(poll.end("FAILOVER of Redis").await.total.lost, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_redis_loses_at_most_the_votes_that_its_replica_lacked() {
    let mut redis = Replicated::start().await;
    let poll = redis.poll().await;
    let before = redis.cut_off(&poll).await;
    poll.more_votes(100).await;
    redis.fail_over().await;
    let since = poll.progress.cast() - before;
    let report = poll.end("death of Redis, replica cut off before").await;
    assert!(report.total.lost > 0 && report.total.lost <= since + u64::from(VOTERS), "{since}: {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn min_replicas_to_write_bounds_the_loss() {
    let mut redis = Replicated::start().await;
    for (name, value) in [("min-replicas-to-write", "1"), ("min-replicas-max-lag", "1")] {
        redis.primary.query::<()>("CONFIG", &["SET", name, value]).await;
    }
    let poll = redis.poll().await;
    let before = redis.cut_off(&poll).await;
    eventually("Redis misses its replica", PATIENCE, async || {
        redis.primary.query::<String>("INFO", &["replication"]).await.contains("min_slaves_good_slaves:0")
    })
    .await;
    let since = poll.progress.cast() - before;
    // Longer than a ballot is tried: every later one is refused.
    tokio::time::sleep(Duration::from_secs(4)).await;
    redis.fail_over().await;
    let report = poll.end("death of Redis, min-replicas-to-write 1, replica cut off before").await;
    assert!(report.total.lost <= since + u64::from(VOTERS), "{since}: {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_mariadb_with_a_semi_synchronous_replica_loses_nothing() {
    let (mut primary, replica) = MySql::replicated(Vec::new(), Vec::new()).await;
    let network = Proxy::start(primary.address(), Mode::Open).await;
    let poll = Poll::start("2.0", "2.0", &primary.url_of_user_at(network.address()).await).await;
    primary.server().kill().await;
    replica.promote().await;
    network.set_target(replica.address());
    assert_eq!(poll.end("death of MariaDB, semi-synchronous replica").await.total.lost, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_mariadb_loses_the_votes_that_an_asynchronous_replica_lacked() {
    let (mut primary, replica) = MySql::replicated(Vec::new(), Vec::new()).await;
    let network = Proxy::start(primary.address(), Mode::Open).await;
    let poll = Poll::start("2.0", "2.0", &primary.url_of_user_at(network.address()).await).await;
    // The replica has every ballot of before, and falls behind.
    let before = poll.progress.cast();
    primary.execute("SET GLOBAL rpl_semi_sync_master_enabled = OFF").await;
    sqlx::Executor::execute(&mut replica.operator().await, sqlx::raw_sql("STOP SLAVE IO_THREAD"))
        .await
        .unwrap();
    poll.more_votes(100).await;
    primary.server().kill().await;
    replica.promote().await;
    let since = poll.progress.cast() - before;
    network.set_target(replica.address());
    let report = poll.end("death of MariaDB, asynchronous replica cut off before").await;
    assert!(report.total.lost > 0 && report.total.lost <= since + u64::from(VOTERS), "{since}: {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_cluster_that_loses_a_primary_goes_on_with_its_replica() {
    let mut cluster = RedisCluster::durable().await;
    cluster.add_replica_of(1).await;
    let poll = Poll::start("1.0", "1.1", &cluster.url(5)).await;
    let before = poll.progress.cast();
    cluster.servers[1].replicated_to(&cluster.servers[3]).await;
    cluster.servers[1].server().kill().await;
    let since = poll.progress.cast() - before;
    cluster.servers[3].replication_is("role:master").await;
    let report = poll.end("death of a primary of Redis Cluster, with a replica").await;
    // Replication is asynchronous: what the last answers acknowledged may be on its way.
    assert!(report.total.lost <= since + u64::from(VOTERS), "{since}: {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_cluster_without_replicas_loses_nothing_while_a_primary_is_away() {
    let mut cluster = RedisCluster::durable().await;
    let poll = Poll::start("1.0", "1.1", &cluster.url(5)).await;
    cluster.servers[1].server().kill().await;
    // Longer than the others take to notice.
    tokio::time::sleep(Duration::from_secs(8)).await;
    cluster.servers[1].server().restart().await;
    let report = poll.end("death and restart of a primary of Redis Cluster, no replica").await;
    assert_eq!(report.total.lost, 0, "{report}");
}
