//! The page behind real reverse proxies, with the examples of `docs/proxies.md`.

use std::path::Path;

use scraper::{Html, Selector};
use tempfile::TempDir;
use url::Url;
use voting_core::BallotId;
use voting_tests::PATIENCE;
use voting_tests::deployment::Deployment;
use voting_tests::http::{Answer, Visitor, send};
use voting_tests::process::{Service, Signal};
use voting_tests::reverse_proxy::{ReverseProxy, examples};
use voting_tests::servers::Redis;

async fn deployment(settings: &[(&str, &str)]) -> (Deployment, Redis) {
    let redis = Redis::database().await;
    (Deployment::start("1.0", "1.1", &redis.url(), settings).await, redis)
}

/// What a browser sends over plain HTTP for a form of the page at `origin`: no `Sec-Fetch-Site`.
async fn vote_from(origin: &str, host: &str, proxy: &ReverseProxy) -> Answer {
    let visitor = Visitor::new(proxy.url("127.0.0.1"));
    let request = visitor.request("POST", "/").header("host", host).header("origin", origin);
    let form = format!("vote=Cats&ballot={}", BallotId::new());
    send(request.header("content-type", "application/x-www-form-urlencoded").body(form)).await
}

/// Votes through a proxy at `vote.example` as a browser does, and from elsewhere.
async fn assert_own_forms_only(name: &str, proxy: &ReverseProxy) {
    let host = format!("vote.example:{}", proxy.port);
    let own = format!("http://{host}");
    let answer = vote_from(&own, &host, proxy).await;
    assert_eq!(answer.status, 303, "{name}: {}", answer.text);
    let answer = vote_from(&own.to_uppercase().replace("HTTP:", "http:"), &host, proxy).await;
    assert_eq!(answer.status, 303, "{name}: {}", answer.text);
    for foreign in ["http://evil.example", "http://vote.example:1", "http://vote.example", "null"] {
        let answer = vote_from(foreign, &host, proxy).await;
        assert_eq!(answer.status, 403, "{name}: {foreign}");
        assert!(answer.text.contains(foreign), "{name}: {}", answer.text);
    }
}

const NGINX_DEFAULTS: &str = "server { listen 80; location / { proxy_pass http://voting_app; } } \
     upstream voting_app { server voting-app:8080; }";

#[tokio::test]
async fn the_documented_proxies_pass_on_what_forms_need() {
    let (deployment, _redis) = deployment(&[]).await;
    let app = deployment.app.address;
    assert_own_forms_only("nginx", &ReverseProxy::nginx(&examples("nginx")[0], app).await).await;
    assert_own_forms_only("HAProxy", &ReverseProxy::haproxy(&examples("haproxy")[0], app).await).await;
    assert_own_forms_only("Envoy", &ReverseProxy::envoy(&examples("envoy")[0], app).await).await;
    assert_own_forms_only("Traefik", &ReverseProxy::traefik(&examples("traefik")[0], app).await).await;
}

#[tokio::test]
async fn a_forwarded_host_counts_if_it_is_trusted() {
    let (trusting, _redis) = deployment(&[("TRUST_FORWARDED_HOST", "true")]).await;
    let app = trusting.app.address;
    let nginx = |headers: &str| NGINX_DEFAULTS.replace("location / {", &format!("location / {{ {headers}"));
    let forwarded_host =
        nginx("proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Proto $scheme;");
    let forwarded = nginx("proxy_set_header Forwarded 'for=_a;host=\"$http_host\";proto=$scheme';");
    let haproxy = examples("haproxy")[0].replace(
        "default_backend",
        "http-request set-header X-Forwarded-Host %[req.hdr(host)]\n    http-request set-header Host voting-app\n    default_backend",
    );
    let envoy = examples("envoy")[0].replace(
        "cluster: voting-app",
        "cluster: voting-app, host_rewrite_literal: inner, append_x_forwarded_host: true",
    );
    let traefik =
        examples("traefik")[0].replace("loadBalancer:", "loadBalancer:\n        passHostHeader: false");
    let proxies = [
        ("nginx, X-Forwarded-Host", ReverseProxy::nginx(&forwarded_host, app).await),
        ("nginx, Forwarded", ReverseProxy::nginx(&forwarded, app).await),
        ("HAProxy", ReverseProxy::haproxy(&haproxy, app).await),
        ("Envoy", ReverseProxy::envoy(&envoy, app).await),
        ("Traefik", ReverseProxy::traefik(&traefik, app).await),
    ];
    for (name, proxy) in &proxies {
        assert_own_forms_only(name, proxy).await;
    }

    // Without the setting the headers count for nothing.
    let (wary, _redis) = deployment(&[]).await;
    let proxy = ReverseProxy::nginx(&forwarded_host, wary.app.address).await;
    let host = format!("vote.example:{}", proxy.port);
    assert_eq!(vote_from(&format!("http://{host}"), &host, &proxy).await.status, 403);
}

#[tokio::test]
async fn a_trusted_origin_may_vote_behind_a_proxy_that_replaces_the_host() {
    // The port of the proxy is known after the app has started, so the browser's address has none.
    let origins = "https://other.example, http://Vote.example:80";
    let (deployment, _redis) = deployment(&[("TRUSTED_ORIGINS", origins)]).await;
    let proxy = ReverseProxy::nginx(NGINX_DEFAULTS, deployment.app.address).await;
    for own in ["http://vote.example", "https://other.example"] {
        assert_eq!(vote_from(own, "vote.example", &proxy).await.status, 303, "{own}");
    }
    for foreign in ["https://vote.example", "http://vote.example:8080", "http://evil.example", "null"] {
        assert_eq!(vote_from(foreign, "vote.example", &proxy).await.status, 403, "{foreign}");
    }
}

#[tokio::test]
async fn browsers_are_told_to_use_tls_again_if_they_used_it() {
    let (plain, _redis) = deployment(&[]).await;
    let (strict, _redis) = deployment(&[("HSTS_MAX_AGE", "86400")]).await;
    let (forgetting, _redis) = deployment(&[("HSTS_MAX_AGE", "0")]).await;
    for (deployment, proto, expected) in [
        (&plain, "https", ""),
        (&strict, "http", ""),
        (&strict, "https", "max-age=86400"),
        (&forgetting, "https", "max-age=0"),
    ] {
        let visitor = deployment.visitor();
        for (method, path, status) in
            [("GET", "/", 200), ("POST", "/featureflag/set", 303), ("GET", "/missing", 404)]
        {
            let answer = send(visitor.request(method, path).header("x-forwarded-proto", proto)).await;
            assert_eq!(answer.status, status, "{path}");
            assert_eq!(answer.header("strict-transport-security"), expected, "{proto} {path}");
        }
        // Requests that no route sees.
        let foreign = visitor.request("POST", "/").header("x-forwarded-proto", proto);
        let answer = send(foreign.header("origin", "https://evil.example")).await;
        assert_eq!((answer.status, answer.header("strict-transport-security")), (403, expected), "{proto}");
    }
}

/// Starts an app with a log, which is complete after [`end`].
async fn logged(folder: &Path, store: &str) -> Service {
    let settings = [("STORAGE_URL", store), ("SHUTDOWN_WAIT", "0"), ("LOG_FORMAT", "json")];
    Service::start_logged("voting-app", &settings, Some(&folder.join("log"))).await
}

async fn end(mut service: Service, folder: &TempDir) -> String {
    service.signal(Signal::Terminate);
    service.wait().await;
    std::fs::read_to_string(folder.path().join("log")).unwrap()
}

#[tokio::test]
async fn a_rejected_form_is_named_with_both_values_on_the_page_and_in_one_log_line() {
    let redis = Redis::database().await;
    let folder = tempfile::tempdir().unwrap();
    let app = logged(folder.path(), &redis.url()).await;
    let proxy = ReverseProxy::nginx(NGINX_DEFAULTS, app.address).await;
    let answer = vote_from("http://vote.example", "vote.example", &proxy).await;
    assert_eq!((answer.status, answer.header("x-vote-outcome")), (403, "unconfirmed"));
    let page = answer.element("main").unwrap();
    for part in ["http://vote.example", "voting_app", "TRUSTED_ORIGINS"] {
        assert!(page.contains(part), "{page}");
    }
    let markup = vote_from(&format!("http://<b>{}", "x".repeat(3000)), "vote.example", &proxy).await;
    assert!(!markup.text.contains("<b>x") && markup.text.len() < 3000, "{}", markup.text);

    drop(proxy);
    let log = end(app, &folder).await;
    let lines: Vec<_> = log.lines().filter(|line| line.contains("form of another origin rejected")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(
        (&line["level"], &line["origin"], &line["host"]),
        (&"WARN".into(), &"http://vote.example".into(), &"voting_app".into())
    );
}

#[tokio::test]
async fn live_results_pass_a_proxy_that_buffers_by_default() {
    let (deployment, _redis) = deployment(&[]).await;
    let app = deployment.app.address;
    for (name, proxy) in [
        ("nginx", ReverseProxy::nginx(NGINX_DEFAULTS, app).await),
        ("HAProxy", ReverseProxy::haproxy(&examples("haproxy")[0], app).await),
        ("Envoy", ReverseProxy::envoy(&examples("envoy")[0], app).await),
        ("Traefik", ReverseProxy::traefik(&examples("traefik")[0], app).await),
    ] {
        let visitor = Visitor::new(proxy.url("127.0.0.1"));
        let request = visitor.request("GET", "/events");
        let first = async { request.send().await.unwrap().chunk().await.unwrap().unwrap() };
        let first = tokio::time::timeout(PATIENCE, first).await.unwrap_or_else(|_| panic!("{name} buffers"));
        assert!(first.starts_with(b"data: {"), "{name}: {first:?}");
    }
    let events = deployment.visitor().request("GET", "/events").send().await.unwrap();
    assert_eq!(events.headers()["cache-control"], "no-cache, no-transform");
    assert_eq!(events.headers()["x-accel-buffering"], "no");
}

/// The links of a page at this URL.
fn links(page: &Answer, url: &Url) -> Vec<Url> {
    let html = Html::parse_document(&page.text);
    let attributes = ["href", "src", "action", "data-events"];
    let all = Selector::parse("*").unwrap();
    let found = html.select(&all).flat_map(|element| {
        let values: Vec<_> = attributes.iter().filter_map(|name| element.value().attr(name)).collect();
        values.into_iter().map(|value| url.join(value).unwrap())
    });
    found.collect()
}

#[tokio::test]
async fn the_page_works_under_a_path_prefix() {
    let (deployment, _redis) = deployment(&[("FEATUREFLAG", "true")]).await;
    let app = deployment.app.address;
    let nginx = &examples("nginx")[1];
    let silent = nginx.replace("proxy_set_header X-Forwarded-Prefix /poll;", "");
    assert_ne!(*nginx, silent);
    for (name, proxy, cookie_path) in [
        ("nginx", ReverseProxy::nginx(nginx, app).await, "/poll"),
        ("nginx that does not name the prefix", ReverseProxy::nginx(&silent, app).await, "/"),
        ("HAProxy", ReverseProxy::haproxy(&examples("haproxy")[1], app).await, "/poll"),
        ("Envoy", ReverseProxy::envoy(&examples("envoy")[1], app).await, "/poll"),
        ("Traefik", ReverseProxy::traefik(&examples("traefik")[1], app).await, "/poll"),
    ] {
        let origin = proxy.url("127.0.0.1");
        let url = Url::parse(&format!("{origin}/poll/")).unwrap();
        let visitor = Visitor::new(&origin);
        let page = visitor.get("/poll/").await;
        let found = links(&page, &url);
        assert!(found.len() >= 7, "{name}: {found:?}");
        for link in found {
            assert!(link.path().starts_with("/poll/"), "{name}: {link}");
            // A form and the events are tried below.
            if link.path().contains("/assets/") {
                assert_eq!(visitor.get(link.path()).await.status, 200, "{name}: {link}");
            }
        }
        let events = visitor.request("GET", "/poll/events").send().await.unwrap();
        assert_eq!(events.headers()["content-type"], "text/event-stream", "{name}");

        let post = async |path: &str, body: &str| {
            let form = "application/x-www-form-urlencoded";
            let request =
                visitor.request("POST", path).header("origin", &origin).header("content-type", form);
            send(request.body(body.to_owned())).await
        };
        for (path, body) in [("/poll/", "vote=Cats"), ("/poll/featureflag/set", "")] {
            let answer = post(path, body).await;
            let target =
                Url::parse(&format!("{origin}{path}")).unwrap().join(answer.header("location")).unwrap();
            assert_eq!(
                (answer.status, target.as_str()),
                (303, url.as_str()),
                "{name}: {path}: {}",
                answer.text
            );
            let cookie = answer.header("set-cookie");
            assert!(cookie.contains(&format!("; Path={cookie_path};")), "{name}: {cookie}");
        }
        for (path, answer) in
            [("/poll/", post("/poll/", "vote=Birds").await), ("/poll/a/b", visitor.get("/poll/a/b").await)]
        {
            let found = links(&answer, &Url::parse(&format!("{origin}{path}")).unwrap());
            assert!(found.contains(&url), "{name}: no way back to the page: {found:?}");
            assert!(found.iter().all(|link| link.path().starts_with("/poll/")), "{name}: {found:?}");
        }
    }
}
