//! The OpenAPI descriptions of both services are true.

use jsonschema::{Validator, validator_for};
use serde_json::{Value, json};
use voting_tests::deployment::Deployment;
use voting_tests::http::{Answer, Visitor};
use voting_tests::process::Service;
use voting_tests::servers::Redis;

async fn deployment() -> (Deployment, Redis) {
    let redis = Redis::database().await;
    (Deployment::start("1.0", "1.1", &redis.url(), &[]).await, redis)
}

async fn description(service: &Service) -> Value {
    let answer = Visitor::new(service.admin_url("")).get("/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    serde_json::from_str(&answer.text).unwrap()
}

#[tokio::test]
async fn every_described_operation_is_served() {
    let (deployment, _redis) = deployment().await;
    for (service, base) in
        [(&deployment.app, deployment.app.url("")), (&deployment.analytics, deployment.analytics.url(""))]
    {
        let description = description(service).await;
        assert_eq!(description["openapi"], "3.1.0");
        let visitor = Visitor::new(base);
        for (path, operations) in description["paths"].as_object().unwrap() {
            let path = path.replace("{action}", "set");
            for method in operations.as_object().unwrap().keys() {
                // The stream of events has no end: only its head is read.
                let response = visitor.request(&method.to_uppercase(), &path).send().await.unwrap();
                let status = response.status().as_u16();
                assert!(![404, 405].contains(&status), "{method} {path}: {status}");
            }
        }
    }
}

#[tokio::test]
async fn an_event_matches_the_description() {
    let (deployment, _redis) = deployment().await;
    let description = description(&deployment.app).await;
    let mut stream = deployment.visitor().request("GET", "/events").send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    let event: Value = loop {
        text.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
        let data = text.lines().find_map(|line| line.strip_prefix("data:"));
        if let (Some(data), true) = (data, text.contains("\n\n")) {
            break serde_json::from_str(data).unwrap();
        }
    };
    let response = &description["paths"]["/events"]["get"]["responses"]["200"];
    matches(&description, &response["content"]["text/event-stream"]["schema"], &event);
}

/// A schema of the description with the schemas that it refers to.
fn schema(description: &Value, schema: &Value) -> Validator {
    let mut schema = schema.clone();
    schema["components"] = description["components"].clone();
    validator_for(&schema).unwrap()
}

/// Checks a value against its schema, and that the schema describes all that it has.
fn matches(description: &Value, of: &Value, value: &Value) {
    schema(description, of).validate(value).unwrap();
    let name = of["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
    let described = description["components"]["schemas"][name]["properties"].as_object().unwrap();
    let undescribed: Vec<_> =
        value.as_object().unwrap().keys().filter(|name| !described.contains_key(*name)).collect();
    assert_eq!(undescribed, [""; 0], "{value}");
}

/// Checks that a response has a described status and content.
fn documented<'a>(description: &'a Value, method: &str, path: &str, answer: &Answer) -> &'a Value {
    let response = &description["paths"][path][method]["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{method} {path} does not know {}", answer.status);
    if let Some(content) = response["content"].as_object() {
        let media_type = answer.header("content-type").split(';').next().unwrap();
        assert!(content.contains_key(media_type), "{method} {path}: {media_type}");
    }
    for (name, _) in response["headers"].as_object().into_iter().flatten() {
        // The feature flag is disabled here.
        let is_there = answer.headers.contains_key(name) || (name == "set-cookie" && path == "/");
        assert!(is_there, "{method} {path} {} has no {name}", answer.status);
    }
    response
}

#[tokio::test]
async fn responses_match_the_description() {
    let (Deployment { app, analytics }, redis) = deployment().await;
    let [of_app, of_analytics] = [description(&app).await, description(&analytics).await];
    let visitor = Visitor::new(app.url(""));

    documented(&of_app, "get", "/", &visitor.get("/").await);
    for form in ["vote=Cats", "vote=Birds", "vote=Cats&ballot=1"] {
        documented(&of_app, "post", "/", &visitor.post("/", form).await);
    }
    documented(&of_app, "post", "/", &visitor.post("/", format!("vote={}", "x".repeat(20_000))).await);
    for action in ["set", "clear", "toggle"] {
        let answer = visitor.post(&format!("/featureflag/{action}"), "").await;
        documented(&of_app, "post", "/featureflag/{action}", &answer);
    }

    let visitor = Visitor::new(analytics.url(""));
    let answer = visitor.get("/analytics").await;
    let response = documented(&of_analytics, "get", "/analytics", &answer);
    let results: Value = serde_json::from_str(&answer.text).unwrap();
    let of_results = &response["content"]["application/json"]["schema"];
    matches(&of_analytics, of_results, &results);
    // The schema is effective: it rejects a response without a count.
    assert!(
        !schema(&of_analytics, of_results)
            .is_valid(&json!({"category1": {"name": "Cats"}, "category2": results["category2"], "text": ""}))
    );
    drop(redis);
}

#[tokio::test]
async fn the_described_form_is_the_accepted_form() {
    let (deployment, _redis) = deployment().await;
    let description = description(&deployment.app).await;
    let body =
        &description["paths"]["/"]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"];
    let form = schema(&description, &body["schema"]);
    let visitor = deployment.visitor();
    let ballot = visitor.get("/").await.ballot();
    for (fields, is_taken) in [
        (json!({"vote": "Cats", "ballot": ballot}), true),
        (json!({"vote": "Cats"}), true),
        (json!({"vote": "Cats", "ballot": "3f2504e0-4f89-41d3-9a0c-0305e82c3301"}), false),
        (json!({"vote": "Cats", "ballot": "1"}), false),
        (json!({"ballot": ballot}), false),
    ] {
        let text: Vec<_> = fields
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| format!("{name}={}", value.as_str().unwrap()))
            .collect();
        assert_eq!(form.is_valid(&fields), is_taken, "{fields}");
        assert_eq!(visitor.post("/", text.join("&")).await.status == 303, is_taken, "{fields}");
    }
}
