//! A visitor of the page, and fake upstreams.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use reqwest::header::{CONTENT_TYPE, COOKIE};
use reqwest::{Client, Response, redirect};
use scraper::{Html, Selector};
use voting_core::BallotId;

use crate::PATIENCE;

/// A client of one service, which does not follow redirects.
#[derive(Clone, Debug)]
pub struct Visitor {
    client: Client,
    base: String,
    cookies: Option<String>,
}

/// A response with its body.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Visitor {
    /// A visitor of the service at this URL, which has no trailing slash.
    pub fn new(base: impl Into<String>) -> Self {
        let client = Client::builder().no_proxy().redirect(redirect::Policy::none()).timeout(PATIENCE);
        Self { client: client.build().unwrap(), base: base.into(), cookies: None }
    }

    #[must_use]
    pub fn with_cookies(&self, cookies: &str) -> Self {
        Self { cookies: Some(cookies.to_owned()), ..self.clone() }
    }

    /// A request for [`send`].
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        // A link of the page is relative to it.
        let path = path.strip_prefix("./").map_or_else(|| path.to_owned(), |path| format!("/{path}"));
        let request = self.client.request(method.parse().unwrap(), format!("{}{path}", self.base));
        match &self.cookies {
            Some(cookies) => request.header(COOKIE, cookies),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request("GET", path)).await
    }

    /// Posts a form.
    pub async fn post(&self, path: &str, body: impl Into<String>) -> Answer {
        let form = "application/x-www-form-urlencoded";
        send(self.request("POST", path).header(CONTENT_TYPE, form).body(body.into())).await
    }

    /// [`served`] for [`Visitor::get`].
    pub async fn get_served(&self, path: &str) -> Answer {
        served(|| self.get(path)).await
    }

    /// The results line of the page, as the tutorial's `grep results` shows it.
    pub async fn results(&self) -> String {
        self.get_served("/").await.results()
    }

    /// Votes on a poll whose store works.
    pub async fn vote(&self, choice: &str) {
        // With an id, so that a repeated request counts once.
        let form = format!("vote={choice}&ballot={}", BallotId::new());
        let answer = served(|| self.post("/", &form)).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/"), "{}", answer.text);
    }
}

/// The response of a service with a working store and upstream. On a busy machine they may miss a deadline of the service. Such
/// a request is repeated; one that failed earlier than any deadline is not.
pub async fn served<F: Future<Output = Answer>>(request: impl Fn() -> F) -> Answer {
    /// Shorter than the deadline of any call of the services.
    const DEADLINE: Duration = Duration::from_millis(900);
    let start = Instant::now();
    loop {
        let attempt = Instant::now();
        let answer = request().await;
        let has_failed = answer.status == 503 || answer.text.contains("The votes are unavailable");
        if !has_failed || attempt.elapsed() <= DEADLINE || start.elapsed() >= PATIENCE {
            return answer;
        }
    }
}

pub async fn send(request: reqwest::RequestBuilder) -> Answer {
    read(request.send().await.unwrap()).await
}

async fn read(response: Response) -> Answer {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}

impl Answer {
    /// The value of a header; empty without the header.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The text of the only line with the word `results`.
    pub fn results(&self) -> String {
        let lines: Vec<_> = self.text.lines().filter(|line| line.contains("results")).collect();
        assert_eq!(lines.len(), 1, "{}", self.text);
        let inner =
            lines[0].strip_prefix("  <div id=\"results\"> ").and_then(|line| line.strip_suffix(" </div>"));
        inner.unwrap_or_else(|| panic!("{:?}", lines[0])).to_owned()
    }

    /// An attribute of the first element that matches the selector.
    pub fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        let page = Html::parse_document(&self.text);
        let element = page.select(&Selector::parse(selector).unwrap()).next()?;
        element.value().attr(name).map(ToOwned::to_owned)
    }

    /// The text of the first element that matches the selector, with single spaces.
    pub fn element(&self, selector: &str) -> Option<String> {
        let page = Html::parse_document(&self.text);
        let element = page.select(&Selector::parse(selector).unwrap()).next()?;
        let text: String = element.text().collect();
        Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// The ballot id of the form.
    pub fn ballot(&self) -> String {
        self.attribute("input[name=ballot]", "value").expect("the page has no ballot")
    }
}

/// Serves these routes on a free port until the test ends.
pub async fn upstream(routes: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    address
}
