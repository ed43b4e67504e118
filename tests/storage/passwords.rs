//! Passwords in a file that change under load, as tokens that expire do. No vote is refused, and each counts once.
//!
//! In a rotation, either the server or the file has the new password first.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tempfile::TempDir;
use tokio::task::JoinSet;
use voting_core::{Cast, Choice, Choices};
use voting_storage::{PasswordFile, StoreUrl, VoteStore};
use voting_tests::servers::{MySql, Redis, RedisCluster};
use voting_tests::store::{ballot, open_patient};
use voting_tests::{PATIENCE, eventually, figure, replace_file};

/// A mounted secret.
struct Secret {
    file: PathBuf,
    _folder: TempDir,
}

impl Secret {
    fn new(password: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = Self { file: folder.path().join("password"), _folder: folder };
        secret.change(password);
        secret
    }

    fn change(&self, password: &str) {
        replace_file(&self.file, &format!("{password}\n"));
    }

    /// The store at this URL, which has no password.
    fn open(&self, url: &str) -> Arc<dyn VoteStore> {
        let url: StoreUrl = url.parse().unwrap();
        open_patient(&url.with_password_file(&PasswordFile::open(&self.file).unwrap()), &Choices::default())
    }
}

/// Voters that cast one ballot after the other.
struct Voters {
    store: Arc<dyn VoteStore>,
    stop: Arc<AtomicBool>,
    cast: Arc<AtomicUsize>,
    voters: JoinSet<Vec<voting_core::Ballot>>,
}

impl Voters {
    fn start(store: Arc<dyn VoteStore>) -> Self {
        let (stop, cast) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut voters = JoinSet::new();
        for number in 0..8 {
            let (store, stop, cast) = (store.clone(), stop.clone(), cast.clone());
            voters.spawn(async move {
                let mut ballots = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let ballot = ballot(Choice::ALL[number % 2]);
                    store
                        .cast_new(ballot)
                        .await
                        .unwrap_or_else(|error| panic!("a vote was refused: {error}"));
                    store.tally().await.unwrap_or_else(|error| panic!("no results: {error}"));
                    ballots.push(ballot);
                    cast.fetch_add(1, Ordering::Relaxed);
                }
                ballots
            });
        }
        Self { store, stop, cast, voters }
    }

    /// Waits until votes are cast that were begun after now.
    async fn go_on(&self) {
        let before = self.cast.load(Ordering::Relaxed);
        let voters = self.voters.len();
        eventually("votes go on", PATIENCE, async || self.cast.load(Ordering::Relaxed) > before + 2 * voters)
            .await;
    }

    /// Stops, and accounts for every ballot.
    async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let ballots = self.voters.join_all().await.concat();
        let tally = self.store.tally().await.unwrap();
        let sum: u64 = Choice::ALL.into_iter().map(|choice| tally[choice]).sum();
        assert_eq!(sum, ballots.len() as u64);
        figure(
            "a password that changes under votes",
            format!("{sum} of {sum} ballots accepted, each counted once"),
        );
        for ballot in ballots {
            assert_eq!(self.store.cast(ballot).await.unwrap(), Cast::AlreadyCounted);
        }
    }
}

/// Gives the user of the URLs this password, besides the others.
async fn add_password(redis: &Redis, password: &str) {
    let user = ["SETUSER", "voting", "on", &format!(">{password}"), "~*", "&*", "+@all"];
    redis.query::<()>("ACL", &user).await;
}

/// Gives the user of the URLs this password alone.
async fn set_password(redis: &Redis, password: &str) {
    redis.query::<()>("ACL", &["SETUSER", "voting", "resetpass"]).await;
    add_password(redis, password).await;
}

fn redis_url(redis: &Redis) -> String {
    redis.url().replace("redis://", "redis://voting@")
}

/// A Redis with the first password, the file with it, and voters.
async fn voters_of_redis() -> (Redis, Secret, Voters) {
    let redis = Redis::own().await;
    add_password(&redis, "first").await;
    let secret = Secret::new("first");
    let voters = Voters::start(secret.open(&redis_url(&redis)));
    voters.go_on().await;
    (redis, secret, voters)
}

/// Ends the store's connections.
async fn end_connections(redis: &Redis) {
    redis.query::<()>("CLIENT", &["KILL", "USER", "voting"]).await;
}

/// The ids of the store's connections.
async fn redis_connections(redis: &Redis) -> Vec<String> {
    let list: String = redis.query("CLIENT", &["LIST"]).await;
    let own = list.lines().filter(|line| line.contains(" user=voting "));
    own.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

/// How many commands AUTH the server has executed, and how many of them it has refused.
async fn logins(redis: &Redis) -> [u64; 2] {
    let info: String = redis.query("INFO", &["commandstats"]).await;
    let auth = info.lines().find_map(|line| line.strip_prefix("cmdstat_auth:")).unwrap_or_default();
    ["calls", "failed_calls"].map(|name| {
        let value = auth.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        value.map_or(0, |value| value.parse().unwrap())
    })
}

/// Waits until this many open connections have logged in again.
async fn logged_in(redis: &Redis, before: [u64; 2], connections: u64) {
    eventually("open connections log in again", PATIENCE, async || {
        let [calls, failed] = logins(redis).await;
        calls - failed >= before[0] - before[1] + connections
    })
    .await;
}

/// Connections in use: one for votes and one for results. A second one for votes may be idle, and logs in when it is used.
const IN_USE: u64 = 2;

#[tokio::test]
async fn open_connections_to_redis_log_in_again_when_the_password_changes() {
    let (redis, secret, voters) = voters_of_redis().await;
    for password in ["second", "third"] {
        // As with tokens, the old password is good until the new one is in use.
        add_password(&redis, password).await;
        let (open, before) = (redis_connections(&redis).await, logins(&redis).await);
        secret.change(password);
        logged_in(&redis, before, IN_USE).await;
        set_password(&redis, password).await;
        voters.go_on().await;
        let now = redis_connections(&redis).await;
        assert!(open.iter().all(|id| now.contains(id)), "{open:?}, {now:?}");
    }
    voters.finish().await;
}

#[tokio::test]
async fn connections_to_redis_that_are_ended_log_in_with_the_new_password() {
    let (redis, secret, voters) = voters_of_redis().await;
    for password in ["second", "third"] {
        // The server first.
        set_password(&redis, password).await;
        voters.go_on().await;
        secret.change(password);
        end_connections(&redis).await;
        voters.go_on().await;
    }
    // The server first, and the file only after a login was refused.
    set_password(&redis, "fourth").await;
    end_connections(&redis).await;
    let [_, failed] = logins(&redis).await;
    eventually("a login is refused", PATIENCE, async || logins(&redis).await[1] > failed).await;
    secret.change("fourth");
    voters.go_on().await;
    // The file first: the last password still works.
    let [_, failed] = logins(&redis).await;
    secret.change("fifth");
    eventually("a login is refused", PATIENCE, async || logins(&redis).await[1] > failed).await;
    end_connections(&redis).await;
    voters.go_on().await;
    let before = logins(&redis).await;
    set_password(&redis, "fifth").await;
    logged_in(&redis, before, IN_USE).await;
    voters.finish().await;
}

#[tokio::test]
async fn a_file_that_is_empty_or_gone_keeps_the_last_password() {
    let (redis, secret, voters) = voters_of_redis().await;
    for is_gone in [false, true] {
        if is_gone {
            std::fs::remove_file(&secret.file).unwrap();
        } else {
            secret.change("");
        }
        end_connections(&redis).await;
        voters.go_on().await;
    }
    set_password(&redis, "second").await;
    secret.change("second");
    end_connections(&redis).await;
    voters.go_on().await;
    voters.finish().await;
}

#[tokio::test]
async fn a_sharded_poll_and_a_cluster_change_their_password_under_load() {
    let cluster = RedisCluster::start().await;
    let single = [Redis::own().await, Redis::own().await];
    let of_cluster = cluster.url(2).replace("redis+cluster://", "redis+cluster://voting@");
    let sharded = format!("{} {}", redis_url(&single[0]), redis_url(&single[1]));
    for (url, servers) in [(of_cluster, &cluster.servers[..]), (sharded, &single[..])] {
        for server in servers {
            add_password(server, "first").await;
        }
        let secret = Secret::new("first");
        let voters = Voters::start(secret.open(&url));
        voters.go_on().await;
        for password in ["second", "third"] {
            let mut before = Vec::new();
            for server in servers {
                add_password(server, password).await;
                before.push(logins(server).await);
            }
            secret.change(password);
            for (server, before) in servers.iter().zip(before) {
                logged_in(server, before, 1).await;
                set_password(server, password).await;
                voters.go_on().await;
                end_connections(server).await;
                voters.go_on().await;
            }
        }
        voters.finish().await;
    }
}

#[tokio::test]
async fn connections_to_mysql_are_replaced_when_the_password_changes() {
    let mysql = MySql::own().await;
    let name = mysql.name();
    mysql
        .execute(&format!(
            "CREATE USER voting@'%' IDENTIFIED BY 'first'; GRANT ALL ON {name}.* TO voting@'%'"
        ))
        .await;
    let set_password = async |password: &str| {
        mysql.execute(&format!("ALTER USER voting@'%' IDENTIFIED BY '{password}'")).await;
    };
    let secret = Secret::new("first");
    let url = format!("mysql://voting@{}/{name}?ssl-mode=DISABLED", mysql.address());
    let voters = Voters::start(secret.open(&url));
    voters.go_on().await;
    let are_replaced = async |open: Vec<i64>| {
        eventually("connections are replaced", PATIENCE, async || {
            let now = mysql.sessions_of("voting").await;
            !open.iter().any(|id| now.contains(id))
        })
        .await;
        voters.go_on().await;
    };
    // The server first.
    for password in ["second", "third"] {
        let open = mysql.sessions_of("voting").await;
        set_password(password).await;
        voters.go_on().await;
        secret.change(password);
        are_replaced(open).await;
    }
    // The file first. Connections that end meanwhile are replaced by the last password.
    let refused = mysql.status("Aborted_connects").await;
    let open = mysql.sessions_of("voting").await;
    secret.change("fourth");
    eventually("a login is refused", PATIENCE, async || mysql.status("Aborted_connects").await > refused)
        .await;
    let now = mysql.sessions_of("voting").await;
    assert!(open.iter().all(|id| now.contains(id)), "{open:?}, {now:?}");
    mysql.end_sessions_of("voting").await;
    voters.go_on().await;
    let open = mysql.sessions_of("voting").await;
    set_password("fourth").await;
    are_replaced(open).await;
    // The server first, and the file only after a login was refused.
    set_password("fifth").await;
    let refused = mysql.status("Aborted_connects").await;
    mysql.end_sessions_of("voting").await;
    eventually("a login is refused", PATIENCE, async || mysql.status("Aborted_connects").await > refused)
        .await;
    secret.change("fifth");
    voters.go_on().await;
    voters.finish().await;
}
