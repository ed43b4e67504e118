//! The command `check`, the health check of the containers.

use std::time::Duration;

use voting_tests::http::Visitor;
use voting_tests::process::{Ended, Service, Signal, run};
use voting_tests::{ClosedPort, PATIENCE, Stopwatch, eventually};

/// Services run without a store, too.
const STORE: (&str, &str) = ("STORAGE_URL", "redis://127.0.0.1:1");

async fn check(program: &str, service: &Service) -> Ended {
    let port = service.admin.port().to_string();
    // In a container the check has the settings of the service.
    run(program, &["check"], &[("ADMIN_PORT", &port), ("RELEASE", "1.0"), STORE]).await
}

#[tokio::test]
async fn check_succeeds_while_the_service_runs_even_without_its_store() {
    for program in ["voting-app", "voting-analytics"] {
        let service = Service::start(program, &[STORE]).await;
        let ended = check(program, &service).await;
        assert!(ended.success, "{program}: {}", ended.stderr);
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""), "{program}");
    }
}

#[tokio::test]
async fn check_fails_in_one_line_and_in_time() {
    for program in ["voting-app", "voting-analytics"] {
        // Long enough for the checks.
        let service = Service::start(program, &[STORE, ("SHUTDOWN_WAIT", "60")]).await;

        service.signal(Signal::Stop);
        let stopwatch = Stopwatch::start();
        let frozen = check(program, &service).await;
        stopwatch.assert_within(Duration::from_secs(2), "the check of a frozen service");
        service.signal(Signal::Continue);

        service.signal(Signal::Terminate);
        let admin = Visitor::new(service.admin_url(""));
        eventually("the shutdown begins", PATIENCE, async || {
            admin.get("/readyz").await.text.contains("[-]shutdown")
        })
        .await;
        let draining = check(program, &service).await;

        let admin = service.admin;
        drop(service);
        let closed = ClosedPort::reserve();
        let port = closed.address().port().to_string();
        let absent = run(program, &["check"], &[("ADMIN_PORT", &port)]).await;
        let any_port = run(program, &["--admin-port", "0", "check"], &[]).await;

        for (ended, line) in [
            (frozen, format!("the admin port {admin}: no response within 2 seconds")),
            (draining, format!("the admin port {admin}: 503 Service Unavailable: [-]shutdown failed")),
            (absent, format!("the admin port 127.0.0.1:{port}: Connection refused (os error 111)")),
            (
                any_port,
                "ADMIN_PORT: \"0\" selects a free port, which check can't know; allowed: a number from 1 to 65535"
                    .to_owned(),
            ),
        ] {
            assert!(!ended.success, "{line}");
            assert_eq!(ended.stderr, format!("{program}: {line}\n"));
        }
    }
}
