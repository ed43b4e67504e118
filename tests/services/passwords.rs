//! Users, passwords and TLS of the stores by settings alone; a password in a file changes under votes, as a token does.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{ChildStdin, ChildStdout, Command};
use voting_load::{BallotOutcome, Forms, Plan, Voting};
use voting_tests::http::Visitor;
use voting_tests::process::{Service, run};
use voting_tests::servers::{MySql, Redis};
use voting_tests::{PATIENCE, eventually, figure, free_port, replace_file};

use crate::cause::openssl;

const PASSWORDS: [&str; 3] = ["first", "second", "third"];

/// An authority, and the certificate that it signed for a server on this machine.
fn certificates() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let new = |arguments: &str| {
        openssl(&format!("req -x509 -newkey rsa:2048 -nodes -days 30 {arguments}"), folder.path())
    };
    new("-keyout ca-key.pem -out ca.pem -subj /CN=authority");
    new("-keyout key.pem -out server.pem -CA ca.pem -CAkey ca-key.pem -subj /CN=127.0.0.1 \
         -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE");
    folder
}

fn path(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

/// Votes while the password changes in the server and then in the file, and checks that each vote counts once.
async fn votes_go_on(
    releases: [&str; 2],
    settings: &[(&str, &str)],
    file: &str,
    set_password: impl AsyncFn(&str),
    end_connections: impl AsyncFn(),
) {
    let [app, analytics] = releases;
    let analytics = Service::start("voting-analytics", &[settings, &[("RELEASE", analytics)]].concat()).await;
    let analytics_url = format!("http://{}", analytics.address);
    let of_app = [("RELEASE", app), ("ANALYTICS_URL", analytics_url.as_str())];
    let app = Service::start("voting-app", &[settings, &of_app].concat()).await;
    let (progress, load) =
        Plan::until_stopped(app.url(""), Voting::Forms(Forms::default()), 8, Duration::from_millis(5))
            .start();
    let go_on = async || {
        let before = progress.cast();
        eventually("votes go on", PATIENCE, async || progress.cast() > before + 30).await;
    };
    go_on().await;
    let mut rounds = 0;
    for password in &PASSWORDS[1..] {
        set_password(password).await;
        // On a busy machine a connection may be lost meanwhile. Then they wait for the file.
        rounds += usize::from(tokio::time::timeout(Duration::from_secs(5), go_on()).await.is_ok());
        replace_file(file.as_ref(), password);
        go_on().await;
        end_connections().await;
        go_on().await;
        let ended = run("voting-storage", &["check"], settings).await;
        assert!(ended.success, "{}", ended.stderr);
    }
    assert!(rounds > 0, "no votes went on until the file had the new password");
    progress.stop();
    let report = load.await.unwrap().unwrap();
    assert!(report.is_clean(), "{report}");
    let accepted = report.total.outcomes[&BallotOutcome::Accepted];
    assert_eq!(accepted, report.ballots(), "{report}");
    let measured = format!(
        "{accepted} of {accepted} ballots accepted, lost {}, doubled {}",
        report.total.lost, report.total.doubled
    );
    figure("a password that changes under votes", measured);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_of_redis_changes_under_votes() {
    let folder = certificates();
    let [ca, certificate, key, file] =
        ["ca.pem", "server.pem", "key.pem", "password"].map(|name| path(&folder, name));
    let port = free_port().to_string();
    let tls = ["--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let redis = Redis::own_in(&[&tls[..], &["--tls-auth-clients", "no"]].concat(), Vec::new()).await;
    let set_password = async |password: &str| {
        let user = ["SETUSER", "voting", "on", "resetpass", &format!(">{password}"), "~*", "&*", "+@all"];
        redis.query::<()>("ACL", &user).await;
    };
    set_password(PASSWORDS[0]).await;
    replace_file(file.as_ref(), PASSWORDS[0]);
    let settings = [
        ("REDIS_HOST", "127.0.0.1"),
        ("REDIS_PORT", port.as_str()),
        ("REDIS_TLS", "true"),
        ("REDIS_USER", "voting"),
        ("REDIS_PASSWORD_FILE", file.as_str()),
        ("SSL_CERT_FILE", ca.as_str()),
    ];
    let end_connections = async || redis.query::<()>("CLIENT", &["KILL", "USER", "voting"]).await;
    votes_go_on(["1.0", "1.1"], &settings, &file, set_password, end_connections).await;
    // The password by its name in azure-vote, and no other one.
    let plain: Vec<_> = settings.into_iter().filter(|(name, _)| *name != "REDIS_PASSWORD_FILE").collect();
    for (password, is_right) in [(PASSWORDS[2], true), (PASSWORDS[0], false)] {
        let ended =
            run("voting-storage", &["check"], &[&plain[..], &[("REDIS_PWD", password)]].concat()).await;
        assert_eq!(ended.success, is_right, "{}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_of_mysql_changes_under_votes() {
    let folder = certificates();
    let [ca, certificate, key, file] =
        ["ca.pem", "server.pem", "key.pem", "password"].map(|name| path(&folder, name));
    let mysql = MySql::own_with(&[&format!("--ssl-cert={certificate}"), &format!("--ssl-key={key}")]).await;
    let user = format!("CREATE USER voting@'%' REQUIRE SSL; GRANT ALL ON {}.* TO voting@'%'", mysql.name());
    mysql.execute(&user).await;
    let set_password = async |password: &str| {
        mysql.execute(&format!("ALTER USER voting@'%' IDENTIFIED BY '{password}'")).await;
    };
    set_password(PASSWORDS[0]).await;
    replace_file(file.as_ref(), PASSWORDS[0]);
    let (host, port) = (mysql.address().ip().to_string(), mysql.address().port().to_string());
    let settings = [
        ("MYSQL_HOST", host.as_str()),
        ("MYSQL_PORT", port.as_str()),
        ("MYSQL_DATABASE", mysql.name()),
        ("MYSQL_USER", "voting"),
        ("MYSQL_PASSWORD_FILE", file.as_str()),
        ("MYSQL_SSL_MODE", "VERIFY_IDENTITY"),
        ("MYSQL_SSL_CA", ca.as_str()),
    ];
    let end_connections = async || mysql.end_sessions_of("voting").await;
    votes_go_on(["2.0", "2.0"], &settings, &file, set_password, end_connections).await;
    // Without the authority the certificate is not trusted; without TLS the user may not log in.
    let plain: Vec<_> = settings.into_iter().filter(|(name, _)| !name.contains("SSL")).collect();
    for (mode, part) in [("VERIFY_IDENTITY", "MYSQL_SSL_CA"), ("DISABLED", "denied")] {
        let ended =
            run("voting-storage", &["check"], &[&plain[..], &[("MYSQL_SSL_MODE", mode)]].concat()).await;
        assert!(!ended.success && ended.stderr.contains(part), "{mode}: {}", ended.stderr);
    }
}

/// A packet of MySQL's protocol.
fn packet(number: u8, content: &[u8]) -> Vec<u8> {
    let [a, b, c, _] = u32::try_from(content.len()).unwrap().to_le_bytes();
    [&[a, b, c, number][..], content].concat()
}

async fn read_packet(from: &mut ChildStdout) -> std::io::Result<Vec<u8>> {
    let mut header = [0; 4];
    from.read_exact(&mut header).await?;
    let mut content = vec![0; u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize];
    from.read_exact(&mut content).await?;
    Ok(content)
}

/// Asks the next client at this listener for its password as clear text, as MySQL does for tokens of Entra ID, and returns
/// what it sends. TLS ends in `openssl s_server` at this port.
async fn asks_for_clear_text(listener: &TcpListener, port: &str, folder: &Path) -> Option<String> {
    let (mut client, _) = listener.accept().await.unwrap();
    let all_but_compression = [0xdf, 0xff, 0xff, 0x01];
    let [a, b, c, d] = all_but_compression;
    let nonce = [b'n'; 20];
    let greeting = [
        &b"\x0a8.0.36\0\x01\0\0\0"[..],
        &nonce[..8],
        &[0, a, b, 45, 2, 0, c, d, 21],
        &[0; 10],
        &nonce[8..],
        b"\0mysql_native_password\0",
    ];
    client.write_all(&packet(0, &greeting.concat())).await.unwrap();
    let mut request_for_tls = [0; 36];
    client.read_exact(&mut request_for_tls).await.unwrap();
    let mut tls = Command::new("openssl");
    tls.args([
        "s_server",
        "-quiet",
        "-accept",
        port,
        "-naccept",
        "1",
        "-cert",
        "server.pem",
        "-key",
        "key.pem",
    ]);
    tls.current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut tls = tls.spawn().unwrap();
    let (mut to, mut from): (ChildStdin, ChildStdout) =
        (tls.stdin.take().unwrap(), tls.stdout.take().unwrap());
    let address = format!("127.0.0.1:{port}");
    let mut server = loop {
        match TcpStream::connect(&address).await {
            Ok(server) => break server,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
    let password = async {
        read_packet(&mut from).await?;
        to.write_all(&packet(3, b"\xfemysql_clear_password\0")).await?;
        let password = read_packet(&mut from).await?;
        to.write_all(&packet(5, b"\xff\x15\x04#28000Access denied")).await?;
        Ok::<_, std::io::Error>(String::from_utf8(password).unwrap())
    };
    let password = password.await.ok();
    // The client reads the answer before the connection ends.
    let _ = from.read_to_end(&mut Vec::new()).await;
    password
}

#[tokio::test]
async fn a_token_is_sent_as_it_is_to_a_mysql_whose_certificate_is_verified() {
    let folder = certificates();
    let [ca, file] = ["ca.pem", "token"].map(|name| path(&folder, name));
    // Tokens are long.
    let token = "a.token-of_Entra".repeat(120);
    replace_file(file.as_ref(), &token);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let settings =
        [("MYSQL_HOST", "127.0.0.1"), ("MYSQL_PORT", port.as_str()), ("MYSQL_PASSWORD_FILE", file.as_str())];
    let verified = [("MYSQL_SSL_MODE", "VERIFY_IDENTITY"), ("MYSQL_SSL_CA", ca.as_str())];
    for (tls, sent, part) in [
        (&verified[..], Some(format!("{token}\0")), "Access denied"),
        (&[("MYSQL_SSL_MODE", "REQUIRED")], None, "allowed: MYSQL_SSL_MODE=VERIFY_CA or VERIFY_IDENTITY"),
    ] {
        let of_tls = free_port().to_string();
        let settings = [&settings[..], tls].concat();
        let (asked, ended) = tokio::join!(
            asks_for_clear_text(&listener, &of_tls, folder.path()),
            run("voting-storage", &["check"], &settings),
        );
        assert_eq!(asked, sent);
        assert!(!ended.success && ended.stderr.contains(part), "{}", ended.stderr);
        assert!(!ended.stderr.contains("of_Entra"), "{}", ended.stderr);
    }
}

/// Runs the tool and a service with each kind of empty file, and then with the password in it.
async fn an_empty_file_is_an_outage(release: &str, settings: &[(&str, &str)], file: &Path) {
    let settings = [settings, &[("RELEASE", release)]].concat();
    for empty in ["", "\n", "\r\n"] {
        replace_file(file, empty);
        for arguments in [&["check"][..], &["tally"], &["migrate", "--wait", "0"]] {
            let ended = run("voting-storage", arguments, &settings).await;
            assert!(!ended.success, "{empty:?} {arguments:?}: {}", ended.stdout);
            let last = ended.stderr.lines().last().unwrap_or_default();
            assert!(last.contains("the password file is empty: ") && last.contains("allowed: "), "{last}");
        }
    }
    let app = Service::start("voting-app", &settings).await;
    let visitor = Visitor::new(app.url(""));
    assert_eq!(visitor.post("/", "vote=Cats").await.status, 503);
    let ready = Visitor::new(app.admin_url("")).get("/readyz").await;
    assert_eq!(ready.status, 503, "{}", ready.text);
    replace_file(file, "first");
    eventually("votes are counted", PATIENCE, async || visitor.post("/", "vote=Cats").await.status == 303)
        .await;
    let ended = run("voting-storage", &["check"], &settings).await;
    assert!(ended.success, "{}", ended.stderr);
}

#[tokio::test]
async fn an_empty_password_file_of_redis_is_an_outage_until_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(&folder, "password");
    // Without a password, anybody is the default user.
    let redis = Redis::with(&["--save", ""]).await;
    redis.query::<()>("ACL", &["SETUSER", "voting", "on", ">first", "~*", "&*", "+@all"]).await;
    let port = redis.address().port().to_string();
    let settings = [("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &port), ("REDIS_PASSWORD_FILE", &file)];
    an_empty_file_is_an_outage("1.0", &[&settings[..], &[("REDIS_USER", "voting")]].concat(), file.as_ref())
        .await;
    let redis = Redis::with(&["--save", "", "--requirepass", "first"]).await;
    let url = format!("redis://{}", redis.address());
    let settings = [("STORAGE_URL", url.as_str()), ("REDIS_PASSWORD_FILE", &file)];
    an_empty_file_is_an_outage("1.0", &settings, file.as_ref()).await;
}

#[tokio::test]
async fn an_empty_password_file_of_mysql_is_an_outage_until_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(&folder, "password");
    let mysql = MySql::own_with(&[]).await;
    let name = mysql.name();
    mysql
        .execute(&format!(
            "CREATE USER voting@'%' IDENTIFIED BY 'first'; GRANT ALL ON {name}.* TO voting@'%'"
        ))
        .await;
    let url = format!("mysql://voting@{}/{name}", mysql.address());
    let settings = [("STORAGE_URL", url.as_str()), ("MYSQL_PASSWORD_FILE", &file)];
    an_empty_file_is_an_outage("2.0", &settings, file.as_ref()).await;
}
