//! `GET /events`: live results as server-sent events.
//!
//! The data of an event is a [`ResultsView`] as JSON:
//! `{"text":"Cats: 2 | Dogs: 4","counts":[2,4],"analytics":"1.0","storage":"1.0"}`.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use voting_batch::GaugeGuard;

use crate::app::App;
use crate::error::AppError;
use crate::page::ResultsView;

/// The page notices by heartbeats that the stream has fallen silent. Browsers hide comments and events without data from it.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Proxies pass each event on at once: nginx by the first header; those that compress responses by the second.
const UNBUFFERED: [(HeaderName, &str); 2] =
    [(HeaderName::from_static("x-accel-buffering"), "no"), (header::CACHE_CONTROL, "no-cache, no-transform")];

/// Streams an event per change of the results, until the client disconnects or the service shuts down.
///
/// The first event follows within seconds. The data of an event is JSON of the schema `ResultsView`. After ten seconds without
/// one, an event of the type `heartbeat` follows.
///
/// # Errors
/// [`AppError::TooManyViewers`].
pub(super) async fn stream(State(app): State<App>) -> Result<Response, AppError> {
    let viewer = app.live.watch().ok_or(AppError::TooManyViewers)?;
    let guard = GaugeGuard::new(&app.metrics.viewers);
    let events = stream::unfold((app, viewer, guard), async |(app, mut viewer, guard)| {
        let results = tokio::select! {
            results = viewer.change() => results?,
            () = app.lifecycle.closing() => return None,
        };
        let event = Event::default().json_data(ResultsView::new(&app, results.as_deref())).ok()?;
        Some((Ok::<_, Infallible>(event), (app, viewer, guard)))
    });
    let heartbeat = Event::default().event("heartbeat").data("ok");
    let events = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT).event(heartbeat));
    Ok((UNBUFFERED, events).into_response())
}
