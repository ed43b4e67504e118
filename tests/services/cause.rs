//! The cause of an outage is named: a silent store, a certificate.

use std::path::Path;
use std::process::Command;

use voting_tests::http::upstream;
use voting_tests::process::run;
use voting_tests::proxy::{Mode, Proxy};
use voting_tests::servers::{MySql, Redis};
use voting_tests::{ClosedPort, free_port};

/// The one line of `voting-storage check`.
async fn cause(url: &str) -> String {
    let ended = run("voting-storage", &["check"], &[("STORAGE_URL", url)]).await;
    assert!(!ended.success && ended.stderr.lines().count() == 1, "{}", ended.stderr);
    ended.stderr
}

#[tokio::test]
async fn a_silent_store_and_a_closed_port_are_named() {
    let (redis, mysql) = (Redis::database().await, MySql::database().await);
    // Dropped proxies close their connections.
    let proxies = [
        Proxy::start(redis.address(), Mode::Silent).await,
        Proxy::start(mysql.address(), Mode::Silent).await,
    ];
    let silent = [redis.url_at(proxies[0].address()), mysql.url_at(proxies[1].address())];
    for url in silent {
        let cause = cause(&url).await;
        assert!(cause.contains("does not answer"), "{cause}");
    }
    let closed = ClosedPort::reserve();
    for url in [redis.url_at(closed.address()), mysql.url_at(closed.address())] {
        let cause = cause(&url).await;
        assert!(cause.contains("onnection refused"), "{cause}");
    }
}

pub(crate) fn openssl(arguments: &str, folder: &Path) {
    let status = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
}

/// A certificate of version 1 and one of version 3, and their key.
fn certificates() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &str| openssl(arguments, folder.path());
    run("req -new -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=127.0.0.1");
    run("x509 -req -in request.pem -signkey key.pem -out v1.pem -days 30");
    run(
        "req -x509 -key key.pem -out v3.pem -days 30 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1",
    );
    folder
}

const VERSION_1: &str = "X.509 version 1; allowed: version 3, or ";

#[tokio::test]
async fn a_certificate_that_mysql_is_rejected_for_is_named_with_the_setting() {
    let folder = certificates();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (certificate, mode, part) in [
        ("v1.pem", "", VERSION_1),
        ("v1.pem", "?ssl-mode=REQUIRED", VERSION_1),
        ("v3.pem", "?ssl-mode=VERIFY_IDENTITY", "CA:FALSE"),
    ] {
        let (certificate, key) = (path(certificate), path("key.pem"));
        let mysql =
            MySql::own_with(&[&format!("--ssl-cert={certificate}"), &format!("--ssl-key={key}")]).await;
        let cause = cause(&format!("{}{mode}", mysql.url())).await;
        assert!(cause.contains(part) && cause.contains("ssl-mode=DISABLED"), "{cause}");
        let off = format!("{}?ssl-mode=DISABLED", mysql.url());
        let ended = run("voting-storage", &["migrate"], &[("STORAGE_URL", &off)]).await;
        assert!(ended.success, "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_certificate_that_redis_is_rejected_for_is_named_with_the_setting() {
    let folder = certificates();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (certificate, part) in [("v1.pem", VERSION_1), ("v3.pem", "CA:FALSE")] {
        let port = free_port().to_string();
        let (certificate, key) = (path(certificate), path("key.pem"));
        let tls =
            ["--save", "", "--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key];
        let _redis = Redis::with(&[&tls[..], &["--tls-auth-clients", "no"]].concat()).await;
        let cause = cause(&format!("rediss://127.0.0.1:{port}")).await;
        assert!(cause.contains(part) && cause.contains("redis:// instead of rediss://"), "{cause}");
    }
}

#[tokio::test]
async fn tls_that_one_side_alone_expects_is_named_with_the_setting() {
    let folder = certificates();
    let [certificate, key] = ["v3.pem", "key.pem"].map(|name| folder.path().join(name).display().to_string());
    let port = free_port().to_string();
    let tls = ["--save", "", "--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let redis = Redis::with(&[&tls[..], &["--tls-auth-clients", "no"]].concat()).await;
    let without = cause(&format!("rediss://{}", redis.address())).await;
    assert!(without.contains("if its port is without TLS, redis:// instead of rediss://"), "{without}");
    let with = cause(&format!("redis://127.0.0.1:{port}")).await;
    assert!(with.contains("if its port is with TLS, rediss:// instead of redis://"), "{with}");
    let mysql = MySql::own_with(&["--skip-ssl"]).await;
    let without = cause(&format!("{}?ssl-mode=REQUIRED", mysql.url())).await;
    assert!(without.contains("TLS"), "{without}");
}

#[tokio::test]
async fn a_file_of_authorities_without_a_certificate_is_named() {
    let mysql = MySql::database().await;
    let empty = tempfile::NamedTempFile::new().unwrap();
    for file in [empty.path(), Path::new("/nonexistent.pem")] {
        let cause = cause(&format!("{}?ssl-mode=VERIFY_CA&ssl-ca={}", mysql.url(), file.display())).await;
        assert!(cause.contains("the file of ssl-ca or MYSQL_SSL_CA"), "{cause}");
        assert!(cause.contains("allowed: a file with certificates in PEM"), "{cause}");
    }
}

/// A server that takes each connection for one of HTTP.
async fn http() -> std::net::SocketAddr {
    upstream(axum::Router::new()).await
}

#[tokio::test]
async fn a_server_of_another_kind_is_named_in_one_line() {
    let (redis, mysql) = (Redis::database().await, MySql::database().await);
    for address in [http().await, mysql.address()] {
        for scheme in ["redis", "redis+cluster"] {
            let cause = cause(&format!("{scheme}://{address}")).await;
            assert!(cause.contains("is not a Redis; allowed: "), "{cause}");
        }
    }
    for address in [http().await, redis.address()] {
        let cause = cause(&format!("mysql://u:p@{address}/d")).await;
        assert!(cause.contains("is no MySQL"), "{cause}");
    }
}

#[tokio::test]
async fn a_mysql_that_requires_tls_says_so() {
    let mysql = MySql::own_with(&[]).await;
    let name = mysql.name();
    let user =
        format!("CREATE USER voting@'%' IDENTIFIED BY 'x' REQUIRE X509; GRANT ALL ON {name}.* TO voting@'%'");
    mysql.execute(&user).await;
    let url = |user: &str| format!("mysql://{user}@{}/{name}?ssl-mode=DISABLED", mysql.address());
    let denied = cause(&url("voting:x")).await;
    assert!(denied.contains("MYSQL_SSL_MODE than DISABLED"), "{denied}");
    let folder = certificates();
    let [certificate, key] = ["v3.pem", "key.pem"].map(|name| folder.path().join(name).display().to_string());
    let mysql = MySql::own_with(&[&format!("--ssl-cert={certificate}"), &format!("--ssl-key={key}")]).await;
    mysql.execute("SET GLOBAL require_secure_transport = ON").await;
    let denied = cause(&format!("{}?ssl-mode=DISABLED", mysql.url())).await;
    assert!(denied.contains("MYSQL_SSL_MODE than DISABLED"), "{denied}");
    // A certificate of `openssl req -x509`, which is also the authority.
    let own = cause(&format!("{}?ssl-mode=VERIFY_CA&ssl-ca={certificate}", mysql.url())).await;
    assert!(own.contains("CA:FALSE"), "{own}");
}

#[tokio::test]
async fn authorities_and_certificates_of_clients_are_named_for_redis() {
    let folder = certificates();
    let [certificate, key] = ["v3.pem", "key.pem"].map(|name| folder.path().join(name).display().to_string());
    let run = async |url: &str, authorities: &str| {
        let ended =
            run("voting-storage", &["check"], &[("STORAGE_URL", url), ("SSL_CERT_FILE", authorities)]).await;
        assert!(!ended.success && ended.stderr.lines().count() == 1, "{}", ended.stderr);
        ended.stderr
    };
    for (clients, part) in [("no", "CA:FALSE"), ("yes", "tls-auth-clients no")] {
        let port = free_port().to_string();
        let (mut certificate, mut of_key) = (certificate.clone(), key.clone());
        if clients == "yes" {
            // One that is not that of an authority.
            openssl(
                "req -x509 -newkey rsa:2048 -nodes -keyout ca-key.pem -out ca.pem -days 30 -subj /CN=authority",
                folder.path(),
            );
            openssl(
                "req -x509 -newkey rsa:2048 -nodes -days 30 -keyout own-key.pem -out own.pem -CA ca.pem -CAkey ca-key.pem \
                 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE",
                folder.path(),
            );
            [certificate, of_key] =
                ["own.pem", "own-key.pem"].map(|name| folder.path().join(name).display().to_string());
        }
        let authorities =
            if clients == "yes" { folder.path().join("ca.pem") } else { folder.path().join("v3.pem") };
        let authorities = authorities.display().to_string();
        let tls =
            ["--save", "", "--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &of_key];
        let asked = ["--tls-auth-clients", clients, "--tls-ca-cert-file", &authorities];
        let _redis = Redis::with(&[&tls[..], &asked].concat()).await;
        let url = format!("rediss://127.0.0.1:{port}");
        let named = run(&url, &authorities).await;
        assert!(named.contains(part), "{named}");
        if clients == "yes" {
            let unknown = cause(&url).await;
            assert!(
                unknown.contains("a certificate that this machine trusts")
                    && unknown.contains("SSL_CERT_FILE"),
                "{unknown}"
            );
        }
        for wrong in [&key, "/nonexistent.pem"] {
            let cause = run(&url, wrong).await;
            assert!(
                cause.contains("SSL_CERT_FILE: ") && cause.contains("allowed: a file with certificates"),
                "{cause}"
            );
        }
    }
}

#[tokio::test]
async fn a_key_of_redis_without_a_count_is_named() {
    let redis = Redis::database().await;
    for value in ["text", "1.5", "", "99999999999999999999"] {
        redis.query::<()>("SET", &["Cats", value]).await;
        let cause = cause(&redis.url()).await;
        assert!(cause.contains("the key Cats holds no count") && cause.contains("allowed: "), "{cause}");
    }
    redis.query::<()>("DEL", &["Cats"]).await;
    redis.query::<()>("LPUSH", &["Cats", "1"]).await;
    let cause = cause(&redis.url()).await;
    assert!(cause.contains("the key Cats holds no count"), "{cause}");
}
