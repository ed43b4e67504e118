//! The picture of a load: a page that shows live where the requests go, and sets the pace of the load.
//!
//! - `GET /split`: the page. Without scripts it reloads itself, except as `/split?still`.
//! - `GET /split/data?since=N`: the same facts as JSON, with the answers after the first N.
//! - `POST /split/load`: changes the pace, with the fields `rate`, `burst` and `votes`. Forms of other sites are rejected.
//! - `GET /split/assets/VERSION/NAME`: the page's own files.
//!
//! The page has no authentication, and it changes the load, so its port is for the operator alone.

mod control;
mod view;

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use askama::Template as _;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::time::Instant;
use url::form_urlencoded;
use voting_http::asset::Asset;
use voting_http::config::ProxyArgs;
use voting_http::layer::common_headers;
use voting_http::{origin, page};

use crate::pace::Pace;
use crate::picture::Picture;
use crate::plan::Progress;
use crate::split::view::{Data, SplitPage};

/// The highest rate that the page sets, unless the load began with a higher one: enough for a picture, and little enough that
/// a slip of the hand harms no poll.
pub const MOST_RATE: u32 = 200;
/// Number of turns of a burst.
pub const BURST: u32 = 50;
/// A load that pauses without viewers does so after this time.
const UNWATCHED: Duration = Duration::from_secs(15);

/// What the page says about its load, and lets a visitor change.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The poll, as a text.
    pub target: String,
    /// The link to the poll, relative to the page; `None` if a browser may not reach it.
    pub poll_link: Option<&'static str>,
    /// The highest rate.
    pub most_rate: u32,
    /// Whether the visitor decides whether voters vote.
    pub has_votes_switch: bool,
    /// Whether the load pauses while the page has no viewer.
    pub pauses_unwatched: bool,
}

/// The page of a load; clones share its state.
#[derive(Clone)]
pub struct Split(Arc<Inner>);

struct Inner {
    settings: Settings,
    progress: Progress,
    /// The last look of a viewer.
    watched: Mutex<Option<Instant>>,
}

static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::style("split.css", include_bytes!("../assets/split.css")));
static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::script("split.js", include_bytes!("../assets/split.js")));
static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::svg("split.svg", include_bytes!("../assets/split.svg")));

impl Split {
    /// The page of the load with this progress.
    pub fn new(progress: Progress, settings: Settings) -> Self {
        progress.pace().set_paused(settings.pauses_unwatched);
        Self(Arc::new(Inner { settings, progress, watched: Mutex::default() }))
    }

    /// The routes of the page.
    pub fn routes(self) -> Router {
        Router::new()
            .route("/split", get(show))
            .route("/split/data", get(data))
            .route("/split/load", post(control::change))
            .route("/split/assets/{version}/{name}", get(asset))
            .layer(middleware::from_fn(protect))
            .with_state(self)
    }

    /// Pauses the load while the page has no viewer.
    pub async fn pause_unwatched(self) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let watched = *self.0.watched.lock().unwrap_or_else(PoisonError::into_inner);
            if watched.is_some_and(|last| last.elapsed() > UNWATCHED) {
                self.pace().set_paused(true);
            }
        }
    }

    fn pace(&self) -> &Pace {
        self.0.progress.pace()
    }

    fn picture(&self) -> &Picture {
        self.0.progress.picture()
    }

    /// Records a look of a viewer.
    fn watch(&self) {
        if self.0.settings.pauses_unwatched {
            *self.0.watched.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            self.pace().set_paused(false);
        }
    }
}

async fn show(State(split): State<Split>, RawQuery(query): RawQuery) -> Response {
    split.watch();
    let reloads = query.as_deref() != Some("still");
    let data = Data::new(&split.0.progress, &split.picture().snapshot(0));
    page::respond(SplitPage { settings: &split.0.settings, data, reloads }.render())
}

async fn data(State(split): State<Split>, RawQuery(query): RawQuery) -> Response {
    split.watch();
    let query = query.unwrap_or_default();
    let since = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "since");
    let since = since.and_then(|(_, number)| number.parse().ok()).unwrap_or_default();
    let data = Data::new(&split.0.progress, &split.picture().snapshot(since));
    ([(header::CACHE_CONTROL, "no-store")], Json(data)).into_response()
}

async fn asset(Path((version, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    match [&*STYLE, &*SCRIPT, &*ICON].into_iter().find(|asset| asset.name == name) {
        Some(asset) => asset.respond(&version, &headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Rejects forms of other sites, and has no answer taken for something else than it is.
async fn protect(request: Request, next: Next) -> Response {
    let mut response = match origin::check(&request, &ProxyArgs::default()) {
        Ok(()) => next.run(request).await,
        Err(foreign) => {
            let text = format!(
                "This form was sent by {}, not by the page of the load at {}.\n",
                foreign.origin, foreign.host
            );
            (StatusCode::FORBIDDEN, text).into_response()
        }
    };
    response.headers_mut().extend(common_headers());
    response
}
