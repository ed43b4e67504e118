//! The OpenAPI descriptions of both services: the files, and their correctness.

use std::path::Path;

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
async fn the_files_equal_the_served_descriptions() {
    let (deployment, _redis) = deployment().await;
    for (service, name) in [(&deployment.app, "voting-app"), (&deployment.analytics, "voting-analytics")] {
        let said = description(service).await;
        assert_eq!(said["openapi"], "3.1.0");
        let said = format!("{}\n", serde_json::to_string_pretty(&said).unwrap());
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/openapi/{name}.json"));
        if std::env::var_os("UPDATE_FILES").is_some() {
            std::fs::write(&file, &said).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        let how = "UPDATE_FILES=1 cargo test --workspace --test services openapi";
        assert!(kept == said, "docs/openapi/{name}.json is not what the code says; run: {how}");
    }
}

/// A schema of the description with the schemas that it refers to.
fn schema(description: &Value, schema: &Value) -> Validator {
    let mut schema = schema.clone();
    schema["components"] = description["components"].clone();
    validator_for(&schema).unwrap()
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
    let validator = schema(&of_analytics, &response["content"]["application/json"]["schema"]);
    let results: Value = serde_json::from_str(&answer.text).unwrap();
    validator.validate(&results).unwrap();
    // The schema is effective: it rejects a response without a count.
    assert!(
        !validator
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
