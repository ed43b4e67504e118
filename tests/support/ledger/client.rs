//! A voter's HTTP client.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue};
use reqwest::redirect;
use scraper::{Html, Selector};
use serde_json::Value;
use voting_core::{BallotId, Choice};

use super::Plan;

/// Votes by choice.
pub type VoteCounts = [u64; 2];

/// The outcome of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CastOutcome {
    /// Counted by this attempt.
    Counted,
    /// Counted before.
    AlreadyCounted,
    /// Not counted, and never will be, with the reason.
    Refused(String),
    /// Unknown, with the reason.
    Unknown(String),
}

/// Casts votes and reads results.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    analytics_url: Option<String>,
    choices: [String; 2],
}

impl Client {
    /// # Errors
    /// The HTTP client is unavailable.
    pub fn new(plan: &Plan) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        if let Some(cookies) = &plan.cookies {
            headers.insert(COOKIE, HeaderValue::from_str(cookies)?);
        }
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .pool_max_idle_per_host(if plan.keeps_connections { usize::MAX } else { 0 })
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(Duration::from_secs(10))
            .build()?;
        let Plan { url, analytics_url, choices, .. } = plan.clone();
        Ok(Self { http, url, analytics_url, choices })
    }

    /// One attempt to cast a ballot.
    pub async fn cast(&self, id: BallotId, choice: Choice) -> CastOutcome {
        self.cast_by(id, choice).await.0
    }

    /// [`Client::cast`], and the releases that answered; empty without an answer.
    pub async fn cast_by(&self, id: BallotId, choice: Choice) -> (CastOutcome, String) {
        let form = [("vote", self.choices[choice.index()].as_str()), ("ballot", &id.to_string())];
        let body = reqwest::Url::parse_with_params("http://form", form)
            .map(|url| url.query().unwrap_or_default().to_owned());
        let request = self
            .http
            .post(format!("{}/", self.url))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body.unwrap_or_default());
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => {
                return (CastOutcome::Refused("no connection".to_owned()), String::new());
            }
            Err(error) if error.is_timeout() => {
                return (CastOutcome::Unknown("no answer in time".to_owned()), String::new());
            }
            Err(_) => return (CastOutcome::Unknown("connection lost".to_owned()), String::new()),
        };
        let status = answer.status();
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let path = header("x-voting-path").unwrap_or_default().to_owned();
        let outcome = header("x-vote-outcome");
        let outcome = match (status.as_u16(), outcome) {
            (303, Some("counted")) => CastOutcome::Counted,
            (303, Some("already-counted")) => CastOutcome::AlreadyCounted,
            (_, Some("refused")) => CastOutcome::Refused(format!("{status}, refused")),
            (_, outcome) => CastOutcome::Unknown(format!("{status}, {}", outcome.unwrap_or("no outcome"))),
        };
        // The connection is reused once the response is read.
        let _ = answer.bytes().await;
        (outcome, path)
    }

    /// Reads the current results.
    ///
    /// # Errors
    /// The results are unavailable.
    pub async fn counts(&self) -> anyhow::Result<VoteCounts> {
        match &self.analytics_url {
            Some(url) => {
                let text = self.get(&format!("{url}/analytics")).await?;
                let results: Value = serde_json::from_str(&text)?;
                let count = |choice: &str| results[choice]["count"].as_u64().context("no count");
                Ok([count("category1")?, count("category2")?])
            }
            None => counts_of_page(&self.get(&format!("{}/", self.url)).await?),
        }
    }

    /// [`Client::counts`], with retries during the recovery of the service.
    ///
    /// # Errors
    /// The results are unavailable for longer than `patience`.
    pub async fn settled_counts(&self, patience: Duration) -> anyhow::Result<VoteCounts> {
        let start = Instant::now();
        loop {
            match self.counts().await {
                Err(error) if start.elapsed() > patience => return Err(error.context("no results")),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                counts => return counts,
            }
        }
    }

    async fn get(&self, url: &str) -> anyhow::Result<String> {
        Ok(self.http.get(url).send().await?.error_for_status()?.text().await?)
    }
}

/// Reads the counts from the bars of a page.
fn counts_of_page(page: &str) -> anyhow::Result<VoteCounts> {
    if page.contains("The votes are unavailable") {
        bail!("the page shows no votes");
    }
    let page = Html::parse_document(page);
    let bars = Selector::parse("[data-bar]").map_err(|error| anyhow::anyhow!("{error}"))?;
    let counts: Vec<u64> =
        page.select(&bars).filter_map(|bar| bar.value().attr("value")?.parse().ok()).collect();
    counts.try_into().map_err(|_| anyhow::anyhow!("the page has no bars for two choices"))
}
