//! The feature flag cookie.

use voting_tests::deployment::Deployment;
use voting_tests::http::send;
use voting_tests::servers::Redis;

async fn deployment() -> (Deployment, Redis) {
    let redis = Redis::database().await;
    (Deployment::start("1.0", "1.1", &redis.url(), &[("FEATUREFLAG", "true")]).await, redis)
}

#[tokio::test]
async fn the_cookie_lasts_15_minutes_is_refreshed_and_can_be_cleared() {
    let (deployment, _redis) = deployment().await;
    let visitor = deployment.visitor();
    let on = "featureflag=on; HttpOnly; SameSite=Lax; Path=/; Max-Age=900";

    let set = visitor.post("/featureflag/set", "").await;
    assert_eq!((set.status, set.header("location"), set.header("set-cookie")), (303, "/", on));
    assert_eq!(visitor.get("/").await.header("set-cookie"), "");

    let flagged = visitor.with_cookies("a=b; featureflag=on");
    let page = flagged.get("/").await;
    assert_eq!(page.header("set-cookie"), on);
    assert_eq!(page.attribute("footer form", "action").unwrap(), "./featureflag/clear");

    let clear = flagged.post("/featureflag/clear", "").await;
    assert_eq!(clear.status, 303);
    assert_eq!(clear.header("set-cookie"), "featureflag=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0");
}

#[tokio::test]
async fn only_the_value_on_shows_as_set() {
    let (deployment, _redis) = deployment().await;
    for cookies in ["featureflag=off", "featureflag=", "featureflag=once", "notfeatureflag=on"] {
        let page = deployment.visitor().with_cookies(cookies).get("/").await;
        assert_eq!(page.attribute("footer form", "action").unwrap(), "./featureflag/set", "{cookies}");
        assert_eq!(page.header("set-cookie"), "", "{cookies}");
    }
}

#[tokio::test]
async fn the_cookie_is_secure_behind_tls() {
    let (deployment, _redis) = deployment().await;
    for (name, value, is_secure) in [
        ("x-forwarded-proto", "https", true),
        ("x-forwarded-proto", "HTTPS", true),
        ("x-forwarded-proto", "https,http", true),
        ("forwarded", "for=192.0.2.1;proto=https, for=10.0.0.1;proto=http", true),
        ("forwarded", "Proto=\"HTTPS\"", true),
        ("x-forwarded-proto", "http", false),
        ("x-forwarded-proto", "http,https", false),
        ("forwarded", "proto=http", false),
    ] {
        let request = deployment.visitor().request("POST", "/featureflag/set").header(name, value);
        let cookie = send(request).await.header("set-cookie").to_owned();
        assert_eq!(cookie.contains("; Secure"), is_secure, "{name}: {value}: {cookie}");
    }
}

#[tokio::test]
async fn the_error_of_an_unknown_action_names_the_allowed_ones() {
    let (deployment, _redis) = deployment().await;
    let answer = deployment.visitor().post("/featureflag/toggle", "").await;
    assert_eq!(answer.status, 404);
    assert!(answer.text.contains("/featureflag/set or /featureflag/clear"), "{}", answer.text);
    assert_eq!(answer.header("set-cookie"), "");
    let got = deployment.visitor().get("/featureflag/set").await;
    assert_eq!((got.status, got.header("allow"), got.header("set-cookie")), (405, "POST", ""));
}
