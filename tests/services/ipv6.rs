//! IPv6: listeners, and the addresses of stores and services, with and without brackets.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use voting_tests::http::Visitor;
use voting_tests::process::{Service, run};
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::{MySql, Redis};

/// A server of IPv4 alone, at an address of IPv6.
async fn at_ipv6(server: SocketAddr) -> Proxy {
    Proxy::start_on(Ipv6Addr::LOCALHOST.into(), server, Mode::Open).await
}

#[tokio::test]
async fn services_listen_on_both_families() {
    let store = ("STORAGE_URL", "redis://127.0.0.1:1");
    for program in ["voting-app", "voting-analytics"] {
        for address in ["::", "[::]"] {
            let service = Service::start(program, &[store, ("LISTEN_ADDRESS", address)]).await;
            for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
                let admin = SocketAddr::new(ip, service.admin.port());
                assert_eq!(
                    Visitor::new(format!("http://{admin}")).get("/livez").await.status,
                    200,
                    "{address}"
                );
                let public = SocketAddr::new(ip, service.address.port());
                assert_ne!(Visitor::new(format!("http://{public}")).get("/").await.status, 0, "{address}");
            }
        }
        for address in ["::1", "[::1]", "127.0.0.1", "::", "[::]"] {
            let settings = [store, ("LISTEN_ADDRESS", address)];
            let service = Service::start(program, &settings).await;
            let port = service.admin.port().to_string();
            let ended = run(program, &["check"], &[("ADMIN_PORT", &port), store, settings[1]]).await;
            assert!(ended.success, "{program} at {address}: {}", ended.stderr);
        }
    }
}

#[tokio::test]
async fn a_listener_on_loopback_of_ipv6_is_on_that_alone() {
    let service =
        Service::start("voting-app", &[("STORAGE_URL", "redis://127.0.0.1:1"), ("LISTEN_ADDRESS", "[::1]")])
            .await;
    let port = service.address.port();
    assert!(tokio::net::TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.is_ok());
    assert!(tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err());
}

/// Votes with these settings, and reads the results through a voting-analytics at an address of IPv6.
async fn votes_count(release: &str, settings: &[(&str, &str)]) {
    let own = [("RELEASE", release), ("LISTEN_ADDRESS", "::1")];
    let analytics = Service::start("voting-analytics", &[&own, settings].concat()).await;
    let port = analytics.address.port().to_string();
    let url = format!("http://[::1]:{port}");
    for place in [
        &[("ANALYTICS_HOST", "::1"), ("ANALYTICS_PORT", &port)][..],
        &[("ANALYTICS_HOST", "[::1]"), ("ANALYTICS_PORT", &port)],
        &[("ANALYTICS_URL", &url)],
    ] {
        let app = Service::start("voting-app", &[&own, settings, place].concat()).await;
        let visitor = Visitor::new(format!("http://[::1]:{}", app.address.port()));
        visitor.vote("Cats").await;
        assert!(visitor.results().await.starts_with("Cats: "), "{settings:?} {place:?}");
        visitor.vote("reset").await;
    }
    let tool = run("voting-storage", &["tally"], settings).await;
    assert!(tool.success, "{settings:?}: {}", tool.stderr);
}

#[tokio::test]
async fn redis_may_be_at_an_address_of_ipv6() {
    let redis = Redis::database().await;
    let proxy = at_ipv6(redis.address()).await;
    let port = proxy.address().port().to_string();
    votes_count("1.0", &[("STORAGE_URL", &redis.url_at(proxy.address()))]).await;
    for host in ["::1", "[::1]"] {
        // Without STORAGE_URL it is database 0, which belongs to a test of its own.
        let settings = [("REDIS_HOST", host), ("REDIS_PORT", port.as_str())];
        let checked = run("voting-storage", &["check"], &settings).await;
        assert!(checked.success, "{host}: {}", checked.stderr);
    }
}

#[tokio::test]
async fn mysql_may_be_at_an_address_of_ipv6() {
    let mysql = MySql::database().await;
    let proxy = at_ipv6(mysql.address()).await;
    let url = url::Url::parse(&mysql.url_at(proxy.address())).unwrap();
    votes_count("2.0", &[("STORAGE_URL", url.as_str())]).await;
    let port = proxy.address().port().to_string();
    for host in ["::1", "[::1]"] {
        let settings = [
            ("MYSQL_HOST", host),
            ("MYSQL_PORT", port.as_str()),
            ("MYSQL_USER", url.username()),
            ("MYSQL_PASSWORD", url.password().unwrap_or_default()),
            ("MYSQL_DATABASE", url.path().trim_start_matches('/')),
        ];
        votes_count("2.0", &settings).await;
    }
}
