//! Secrets, and ports that other sites and visitors must not reach.

use tokio::net::TcpStream;
use voting_tests::deployment::Deployment;
use voting_tests::http::{Visitor, send};
use voting_tests::process::{Service, Signal, clean, program};
use voting_tests::servers::Redis;
use voting_tests::{PATIENCE, eventually, free_port};

#[tokio::test]
async fn secrets_stay_out_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let (port, admin) = (free_port().to_string(), free_port().to_string());
    let dead = free_port().to_string();
    for settings in [
        vec![
            ("MYSQL_HOST", "127.0.0.1".to_owned()),
            ("MYSQL_PORT", dead.clone()),
            ("MYSQL_PASSWORD", "hunter2".to_owned()),
        ],
        vec![("STORAGE_URL", format!("mysql://voter:hunter2@127.0.0.1:{dead}/votes"))],
        vec![("STORAGE_URL", format!("redis://:hunter2@127.0.0.1:{dead}"))],
    ] {
        let file = std::fs::File::create(&log).unwrap();
        let mut command = clean(&program("voting-app"));
        command
            .envs(settings)
            .env("RELEASE", "2.0")
            .env("RUST_LOG", "trace")
            .env("SHUTDOWN_WAIT", "0")
            .env("LISTEN_ADDRESS", "127.0.0.1");
        command.env("PORT", &port).env("ADMIN_PORT", &admin).stdout(file.try_clone().unwrap()).stderr(file);
        let mut app = command.spawn().unwrap();
        let visitor = Visitor::new(format!("http://127.0.0.1:{port}"));
        eventually("the app listens", PATIENCE, || async {
            TcpStream::connect(format!("127.0.0.1:{port}")).await.is_ok()
        })
        .await;
        let answer = visitor.post("/", "vote=Cats").await;
        assert_eq!(answer.status, 503);
        assert!(
            !answer.text.contains("hunter2") && !answer.text.contains("refused (os error"),
            "{}",
            answer.text
        );
        // Its exit writes the whole log.
        Signal::Terminate.send(app.id().unwrap());
        assert!(app.wait().await.unwrap().success());
        let log = std::fs::read_to_string(&log).unwrap();
        assert!(log.contains("answered with 503"), "{log}");
        assert!(!log.contains("hunter2"), "{log}");
    }
}

#[tokio::test]
async fn the_operators_routes_are_not_on_the_public_port() {
    let redis = Redis::database().await;
    let deployment = Deployment::start("1.0", "1.1", &redis.url(), &[]).await;
    deployment.visitor().vote("Cats").await;
    for (service, votes) in [(&deployment.app, true), (&deployment.analytics, false)] {
        let (public, admin) = (Visitor::new(service.url("")), Visitor::new(service.admin_url("")));
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(public.get(path).await.status, 404, "{path}");
            assert_eq!(admin.get_served(path).await.status, 200, "{path}");
        }
        let metrics = admin.get("/metrics").await.text;
        assert!(metrics.contains("voting_build_info{"), "{metrics}");
        let counted = "choice=\"Cats\",outcome=\"counted\"} 1";
        assert_eq!(metrics.contains(counted), votes, "{metrics}");
    }
}

#[tokio::test]
async fn an_admin_port_on_loopback_rejects_the_names_of_other_sites() {
    let store = format!("redis://127.0.0.1:{}", free_port());
    for name in ["voting-app", "voting-analytics"] {
        let service = Service::start(name, &[("STORAGE_URL", &store)]).await;
        let admin = Visitor::new(service.admin_url(""));
        for path in ["/livez", "/readyz", "/metrics", "/openapi.json"] {
            let foreign = send(admin.request("GET", path).header("host", "evil.example:9090")).await;
            assert_eq!(foreign.status, 421, "{name} {path}");
        }
        for host in ["localhost:9090", "10.0.0.7:9090", "[::1]"] {
            let answer = send(admin.request("GET", "/livez").header("host", host)).await;
            // An admin port on loopback has no other address.
            assert_eq!(answer.status, if host.starts_with("10.") { 421 } else { 200 }, "{name} {host}");
        }
        // The port for proxies has any name.
        let public = Visitor::new(service.url(""));
        let answer = send(public.request("GET", "/").header("host", "vote.example")).await;
        assert_ne!(answer.status, 421, "{name}");
    }
}
