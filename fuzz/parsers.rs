//! The parsers of untrusted input, each with the facts that hold for any input. `cargo fuzz` searches for an input that
//! breaks one; `tests/parsers` tries the corpus and mutations of it.

use std::time::SystemTime;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use futures_util::FutureExt as _;
use voting_app::form::Form;
use voting_app::notice::Notice;
use voting_core::{Choices, Snapshot};
use voting_faults::{Component, FaultPlan};
use voting_http::server::MAX_HEADER_BYTES;
use voting_http::{feature_flag, forwarded, trace};
use voting_storage::{StoreUrl, backup};

const URL_ENCODED: &str = "application/x-www-form-urlencoded";

/// The body of a form of either type. What is read from it is what a form with these fields says.
pub fn form(body: &[u8]) {
    let choices = Choices::default();
    let parse = |content_type, body: &[u8]| {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let form = Form::parse(&headers, body.to_vec(), &choices, SystemTime::now());
        form.now_or_never().expect("a complete body needs no wait")
    };
    for content_type in [URL_ENCODED, "multipart/form-data; boundary=X"] {
        if let Ok(Form::Vote(ballot) | Form::NewVote(ballot)) = parse(content_type, body) {
            let again = format!("vote={}&ballot={}", choices.name(ballot.choice), ballot.id);
            assert_eq!(parse(URL_ENCODED, again.as_bytes()), Ok(Form::Vote(ballot)));
        }
    }
}

/// The `Cookie` header. A further cookie decides the feature flag, whatever the others are.
pub fn cookie(cookies: &[u8]) {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(cookies) {
        headers.append(header::COOKIE, value);
    }
    let _ = (Notice::read(&headers), feature_flag::is_on(&headers));
    headers.append(header::COOKIE, HeaderValue::from_static("featureflag=on"));
    assert!(feature_flag::is_on(&headers));
}

/// A backup. What is read from it can be written and read again.
pub fn backup(text: &[u8]) {
    let choices = Choices::default();
    let read = |text: &str| -> Option<Snapshot> { backup::read(text, &choices).ok() };
    if let Some(snapshot) = read(&String::from_utf8_lossy(text)) {
        let written = backup::write(&snapshot, &choices).unwrap();
        assert_eq!(read(&written), Some(snapshot));
    }
}

/// The URL of a store. Neither its text nor an error shows the password.
pub fn store_url(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let shown = match text.parse::<StoreUrl>() {
        Ok(url) => format!("{url} {url:?}"),
        Err(error) => format!("{error} {error:?}"),
    };
    let user_info = text.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
    let password =
        user_info.and_then(|(user_info, _)| user_info.split_once(':')).map(|(_, password)| password);
    // Elsewhere in the text it may be shown, and a path of SQLite is, whatever it looks like.
    let is_secret = |password: &&str| password.starts_with("secret-") && text.matches(password).count() == 1;
    if let Some(password) = password.filter(is_secret).filter(|_| !shown.starts_with("SQLite")) {
        assert!(!shown.contains(password), "{shown}");
    }
}

/// The headers of a request, a line each. What a proxy says in them is some text, or nothing is known. What is forwarded of
/// them fits into the next service's request.
pub fn headers(lines: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().and_then(|name| HeaderName::from_bytes(name).ok());
        let value = parts.next().and_then(|value| HeaderValue::from_bytes(value.trim_ascii()).ok());
        if let (Some(name), Some(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let _ = forwarded::is_https(&headers);
    for said in [forwarded::host(&headers), forwarded::prefix(&headers)].into_iter().flatten() {
        assert!(!said.is_empty());
    }
    let carried = trace::carried(&headers);
    let length: usize = carried.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    assert!(length < MAX_HEADER_BYTES, "{length}");
    for (name, value) in &trace::outgoing(carried) {
        assert!(value.to_str().is_ok(), "{name}");
    }
}

/// The faults of a bad release. A plan is what its text says, or the error is one line that says what is allowed.
pub fn faults(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    for component in [Component::App, Component::Analytics] {
        match FaultPlan::parse(&text, component) {
            Ok(plan) => {
                assert!(plan.faults().iter().all(|fault| fault.is_of(component)));
                assert_eq!(FaultPlan::parse(&plan.to_string(), component), Ok(plan));
            }
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("allowed: ") && error.lines().count() == 1, "{error}");
            }
        }
    }
}
