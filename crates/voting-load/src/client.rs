//! A voter's HTTP client.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::cookie::Jar;
use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue, LOCATION, ORIGIN};
use reqwest::{Url, redirect};
use serde_json::Value;
use tokio::time::Instant;
use voting_core::{BallotId, Choice};
use voting_http::serving_path::ServingPath;

use crate::page::{NoCounts, Page, VoteCounts};
use crate::picture::{Answer as Answered, Picture};
use crate::plan::{Forms, PATIENCE};

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

/// The releases that served a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Releases {
    /// The release of voting-app; empty if the response does not name one.
    pub app: String,
    /// The release of voting-storage; empty if the response does not name one.
    pub storage: String,
}

impl Releases {
    fn of(path: &ServingPath) -> Self {
        let release = |component| path.release(component).unwrap_or_default().to_owned();
        Self { app: release("app"), storage: release("storage") }
    }
}

/// The answer to a vote.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What became of the ballot.
    pub outcome: CastOutcome,
    /// The releases that answered; `None` without an answer, or if it names none.
    pub releases: Option<Releases>,
    /// Where the answer redirects to.
    pub(crate) location: Option<String>,
}

/// Results, and the releases that served them.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The results, or why the page does not tell them.
    pub(crate) counts: Result<VoteCounts, NoCounts>,
    pub(crate) releases: Releases,
}

/// Why there is no page.
#[derive(Clone, Debug)]
pub(crate) struct NoPage {
    pub(crate) why: Cow<'static, str>,
    /// The releases that answered; `None` without an answer, or if it names none.
    pub(crate) releases: Option<Releases>,
}

/// Casts votes and reads results.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    url: Url,
    analytics_url: Option<String>,
    form: Form,
    picture: Option<Picture>,
}

/// The form of the poll.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    action: Url,
    choices: [String; 2],
    origin: Option<HeaderValue>,
}

/// Time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(10);

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("voting-load/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(redirect::Policy::none())
        .timeout(TIMEOUT)
}

impl Client {
    /// A client of the poll at this URL, without a trailing slash, that sends forms of its own.
    ///
    /// # Errors
    /// The URL is invalid, or the HTTP client is unavailable.
    pub fn new(url: &str, forms: &Forms) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        if let Some(cookies) = &forms.cookies {
            headers.insert(COOKIE, HeaderValue::from_str(cookies)?);
        }
        let idle = if forms.keeps_connections { usize::MAX } else { 0 };
        let http = builder().default_headers(headers).pool_max_idle_per_host(idle).build()?;
        let url = page_url(url)?;
        let form = Form { action: url.clone(), choices: forms.choices.clone(), origin: None };
        Ok(Self { http, url, analytics_url: forms.analytics_url.clone(), form, picture: None })
    }

    /// A browser on the poll at this URL, with a cookie jar of its own in which there are these, in the form `NAME=VALUE`.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub(crate) fn browser<'a>(url: &str, cookies: impl IntoIterator<Item = &'a str>) -> anyhow::Result<Self> {
        let url = page_url(url)?;
        let jar = Jar::default();
        for cookie in cookies {
            jar.add_cookie_str(&format!("{cookie}; Path=/"), &url);
        }
        let http = builder().cookie_provider(Arc::new(jar)).build()?;
        let form = Form { action: url.clone(), choices: Default::default(), origin: None };
        Ok(Self { http, url, analytics_url: None, form, picture: None })
    }

    /// This client, whose answers are part of the picture.
    pub(crate) fn pictured(self, picture: Picture) -> Self {
        Self { picture: Some(picture), ..self }
    }

    fn show(&self, path: Option<ServingPath>, start: Instant, is_vote: bool, has_failed: bool) {
        if let Some(picture) = &self.picture {
            picture.answer(&Answered { path, latency: start.elapsed(), is_vote, has_failed });
        }
    }

    /// One attempt to cast a ballot.
    pub async fn cast(&self, id: BallotId, choice: Choice) -> Answer {
        self.cast_with(&self.form, id, choice).await
    }

    /// [`Client::cast`] with a form of the page.
    pub(crate) async fn cast_with(&self, form: &Form, id: BallotId, choice: Choice) -> Answer {
        let start = Instant::now();
        let (answer, path) = self.try_to_cast(form, id, choice).await;
        let is_accepted = matches!(answer.outcome, CastOutcome::Counted | CastOutcome::AlreadyCounted);
        self.show(path, start, true, !is_accepted);
        answer
    }

    async fn try_to_cast(&self, form: &Form, id: BallotId, choice: Choice) -> (Answer, Option<ServingPath>) {
        let fields = [("vote", form.choices[choice.index()].as_str()), ("ballot", &id.to_string())];
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut request = self.http.post(form.action.clone());
        if let Some(origin) = &form.origin {
            request = request.header(ORIGIN, origin);
        }
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
        let none = |outcome| (Answer { outcome, releases: None, location: None }, None);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => {
                return none(CastOutcome::Refused("no connection".to_owned()));
            }
            Err(error) if error.is_timeout() => {
                return none(CastOutcome::Unknown("no answer in time".to_owned()));
            }
            Err(_) => return none(CastOutcome::Unknown("connection lost".to_owned())),
        };
        let status = answer.status();
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let outcome = match (status.as_u16(), header("x-vote-outcome")) {
            (303, Some("counted")) => CastOutcome::Counted,
            (303, Some("already-counted")) => CastOutcome::AlreadyCounted,
            (_, Some("refused")) => CastOutcome::Refused(format!("{status}, refused")),
            (_, outcome) => CastOutcome::Unknown(format!("{status}, {}", outcome.unwrap_or("no outcome"))),
        };
        let location = header(LOCATION.as_str()).map(ToOwned::to_owned);
        let path = ServingPath::from_headers(answer.headers());
        let releases = path.as_ref().map(Releases::of);
        // The connection is reused once the response is read.
        let _ = answer.bytes().await;
        (Answer { outcome, releases, location }, path)
    }

    /// Reads the page, or where an answer of it redirects to.
    pub(crate) async fn page(&self, location: Option<&str>) -> Result<(Page, Form, Seen), NoPage> {
        let start = Instant::now();
        let mut path = None;
        let page = self.try_to_read(location, &mut path).await;
        let releases = path.as_ref().map(Releases::of);
        self.show(path, start, false, page.is_err());
        match page {
            Ok((page, form)) => {
                let seen = Seen { counts: page.counts, releases: releases.unwrap_or_default() };
                Ok((page, form, seen))
            }
            Err(why) => Err(NoPage { why, releases }),
        }
    }

    /// [`Client::page`], which says as well by which path the answer came.
    async fn try_to_read(
        &self,
        location: Option<&str>,
        path: &mut Option<ServingPath>,
    ) -> Result<(Page, Form), Cow<'static, str>> {
        let url = location.and_then(|location| self.url.join(location).ok());
        let url = url.unwrap_or_else(|| self.url.clone());
        let answer = self.http.get(url).send().await.map_err(|error| match error {
            error if error.is_connect() => "page: no connection",
            error if error.is_timeout() => "page: no answer in time",
            _ => "page: connection lost",
        })?;
        *path = ServingPath::from_headers(answer.headers());
        if !answer.status().is_success() {
            let why = format!("page: {}", answer.status());
            // The connection is reused once the response is read.
            let _ = answer.bytes().await;
            return Err(why.into());
        }
        let url = answer.url().clone();
        let text = answer.text().await.map_err(|_| "page: connection lost")?;
        let page = Page::parse(&text).ok_or("page: not that of a poll")?;
        let action = url.join(&page.action).map_err(|_| "page: not that of a poll")?;
        let origin = HeaderValue::from_str(&action.origin().ascii_serialization()).ok();
        let form = Form { action, choices: page.choices.clone(), origin };
        Ok((page, form))
    }

    /// Reads the current results.
    ///
    /// # Errors
    /// The results are unavailable.
    pub async fn counts(&self) -> anyhow::Result<VoteCounts> {
        Ok(self.results().await?.counts?)
    }

    /// [`Client::counts`], with the releases that served them.
    pub(crate) async fn results(&self) -> anyhow::Result<Seen> {
        let Some(url) = &self.analytics_url else {
            return self.page(None).await.map(|(.., seen)| seen).map_err(|no| anyhow::anyhow!("{}", no.why));
        };
        let answer = self.http.get(format!("{url}/analytics")).send().await?.error_for_status()?;
        let path = ServingPath::from_headers(answer.headers());
        let releases = path.as_ref().map(Releases::of).unwrap_or_default();
        let results: Value = serde_json::from_str(&answer.text().await?)?;
        let count = |choice: &str| results[choice]["count"].as_u64().context("no count");
        Ok(Seen { counts: Ok([count("category1")?, count("category2")?]), releases })
    }

    /// [`Client::counts`], with retries during the recovery of the service.
    ///
    /// # Errors
    /// The results are unavailable for a minute.
    pub async fn settled_counts(&self) -> anyhow::Result<VoteCounts> {
        Ok(self.settled_results().await?.0)
    }

    /// [`Client::settled_counts`], with the releases that served them.
    pub(crate) async fn settled_results(&self) -> anyhow::Result<(VoteCounts, Releases)> {
        let start = Instant::now();
        loop {
            let error = match self.results().await {
                Ok(Seen { counts: Ok(counts), releases }) => return Ok((counts, releases)),
                Ok(Seen { counts: Err(why), .. }) => why.into(),
                Err(error) => error,
            };
            if start.elapsed() > PATIENCE {
                return Err(error.context(format!("no results at {}", self.url)));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The form that this client sends without a page.
    pub(crate) fn own_form(&self) -> &Form {
        &self.form
    }
}

fn page_url(url: &str) -> anyhow::Result<Url> {
    Url::parse(&format!("{}/", url.trim_end_matches('/'))).with_context(|| format!("not a URL: {url:?}"))
}
