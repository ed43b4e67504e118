//! A voter's HTTP client.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect;
use scraper::{Html, Selector};
use serde_json::Value;
use voting_core::{BallotId, Choice};

use super::Plan;

/// The votes of each choice.
pub type Counts = [u64; 2];

/// What a voter was told about one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Counted by this attempt.
    Counted,
    /// Counted before.
    AlreadyCounted,
    /// Not counted, and never will be; with the reason.
    Refused(String),
    /// Open; with the reason.
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
    /// The client of a plan.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn new(plan: &Plan) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(Duration::from_secs(10))
            .build()?;
        let Plan { url, analytics_url, choices, .. } = plan.clone();
        Ok(Self { http, url, analytics_url, choices })
    }

    /// One attempt to cast a ballot.
    pub async fn cast(&self, id: BallotId, choice: Choice) -> Outcome {
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
            Err(error) if error.is_connect() => return Outcome::Refused("no connection".to_owned()),
            Err(error) if error.is_timeout() => return Outcome::Unknown("no answer in time".to_owned()),
            Err(_) => return Outcome::Unknown("connection lost".to_owned()),
        };
        let status = answer.status();
        let outcome = answer.headers().get("x-vote-outcome").and_then(|outcome| outcome.to_str().ok());
        let outcome = match (status.as_u16(), outcome) {
            (303, Some("counted")) => Outcome::Counted,
            (303, Some("already-counted")) => Outcome::AlreadyCounted,
            (_, Some("refused")) => Outcome::Refused(format!("{status}, refused")),
            (_, outcome) => Outcome::Unknown(format!("{status}, {}", outcome.unwrap_or("outcome not said"))),
        };
        // The connection can be used again once the answer is read.
        let _ = answer.bytes().await;
        outcome
    }

    /// The votes as they are shown now.
    ///
    /// # Errors
    /// They are not.
    pub async fn counts(&self) -> anyhow::Result<Counts> {
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

    /// [`Client::counts`], waiting for a service that is just coming back.
    ///
    /// # Errors
    /// There are still no results after `patience`.
    pub async fn settled_counts(&self, patience: Duration) -> anyhow::Result<Counts> {
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

/// The counts that the bars of a page show.
fn counts_of_page(page: &str) -> anyhow::Result<Counts> {
    if page.contains("The votes are unavailable") {
        bail!("the page says that the votes are unavailable");
    }
    let page = Html::parse_document(page);
    let bars = Selector::parse("[data-bar]").map_err(|error| anyhow::anyhow!("{error}"))?;
    let counts: Vec<u64> =
        page.select(&bars).filter_map(|bar| bar.value().attr("value")?.parse().ok()).collect();
    counts.try_into().map_err(|_| anyhow::anyhow!("the page has no bars of two choices"))
}
