//! A host name with two addresses, of which the first is silent.
//!
//! The programs run with a hosts file of their own, in a mount namespace.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use voting_tests::process::{clean, program};
use voting_tests::servers::{MySql, Redis, RedisCluster};
use voting_tests::{PATIENCE, Stopwatch, figure, free_port};

/// The silence of an address.
#[derive(Clone, Copy, Debug)]
enum Silence {
    /// Connection requests get no answer.
    Unreachable,
    /// Connections are accepted and get no answer.
    Mute,
}

/// Listens at this address until the result is dropped.
async fn silent(address: SocketAddr, silence: Silence) -> Box<dyn std::any::Any> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    match silence {
        Silence::Mute => Box::new(socket.listen(1024).unwrap()),
        Silence::Unreachable => {
            // A queue of one connection, and it is full.
            let listener = socket.listen(0).unwrap();
            let connecting: Vec<_> = (0..4).map(|_| tokio::spawn(TcpStream::connect(address))).collect();
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            Box::new((listener, connecting))
        }
    }
}

/// Forwards connections of this address to a server.
async fn forward(from: SocketAddr, to: SocketAddr) {
    let listener = TcpListener::bind(from).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
}

/// Checks that a store is found behind the name `votes.test`, whose first address is silent.
async fn the_second_address_is_used(server: SocketAddr, silence: Silence, url: impl Fn(&str) -> String) {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n127.0.0.1 votes.test\n127.0.0.2 votes.test\n").unwrap();
    let port = free_port();
    // Resolvers put the address first that equals the address of the sender.
    let _silent = silent(SocketAddr::from(([127, 0, 0, 1], port)), silence).await;
    forward(SocketAddr::from(([127, 0, 0, 2], port)), server).await;

    let mut unshare = clean("unshare".as_ref());
    unshare.env("PATH", std::env::var_os("PATH").unwrap());
    unshare.args(["--map-root-user", "--mount", "sh", "-c"]);
    unshare.arg("mount --bind \"$0\" /etc/hosts && exec \"$@\"").arg(&hosts);
    // Repeats a call that takes too long, as creating a schema may on a slow machine.
    unshare.arg(program("voting-storage")).args(["migrate", "--wait", &PATIENCE.as_secs().to_string()]);
    unshare.env("STORAGE_URL", url(&format!("votes.test:{port}"))).stderr(Stdio::piped());
    let stopwatch = Stopwatch::start();
    let output = tokio::time::timeout(2 * PATIENCE, unshare.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{silence:?}: {}", String::from_utf8_lossy(&output.stderr));
    let (scheme, after) = (url("").split(':').next().unwrap().to_owned(), stopwatch.elapsed());
    figure(
        &format!("{scheme}, first address {silence:?}"),
        format!("voting-storage migrate ends after {after:.1?}"),
    );
}

const BOTH: [Silence; 2] = [Silence::Unreachable, Silence::Mute];

#[tokio::test]
async fn the_second_address_of_a_redis_is_used_when_the_first_is_silent() {
    let redis = Redis::database().await;
    for silence in BOTH {
        the_second_address_is_used(redis.address(), silence, |host| format!("redis://{host}")).await;
    }
}

#[tokio::test]
async fn the_second_address_of_a_mysql_is_used_when_the_first_is_silent() {
    let mysql = MySql::database().await;
    for silence in BOTH {
        let url = |host: &str| mysql.url().replace(&mysql.address().to_string(), host);
        the_second_address_is_used(mysql.address(), silence, url).await;
    }
}

#[tokio::test]
async fn the_second_address_of_a_shard_is_used_when_the_first_is_silent() {
    let parts = [MySql::database().await, MySql::database().await];
    let url = |host: &str| {
        format!("{} {}", parts[0].url(), parts[1].url().replace(&parts[1].address().to_string(), host))
    };
    the_second_address_is_used(parts[1].address(), Silence::Unreachable, url).await;
}

#[tokio::test]
async fn the_second_address_of_a_cluster_is_used_when_the_first_is_silent() {
    let cluster = RedisCluster::start().await;
    let url = |host: &str| format!("redis+cluster://{host}?parts=2");
    the_second_address_is_used(cluster.servers[0].address(), Silence::Unreachable, url).await;
}
