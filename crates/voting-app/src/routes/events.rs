//! `GET /events`: the results as they change, as server-sent events.
//!
//! Each event's data is a JSON object, [`Shown`]:
//! `{"text":"Cats: 2 | Dogs: 4","counts":[2,4],"analytics":"1.0","storage":"1.0"}`. While there are no results,
//! `text` says so, and `counts` and `analytics` are not there.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use voting_batch::GaugeGuard;

use crate::App;
use crate::page::Shown;

/// An event for each change, until the viewer or the service leaves.
///
/// The first event comes at once with what was read last, if somebody looks already, else within a second or two. The data of each
/// is JSON of the schema Shown.
#[utoipa::path(
    get,
    path = "/events",
    responses((status = OK, description = "Server-sent events, for as long as the viewer stays.", content_type = "text/event-stream", body = Shown)),
)]
pub(super) async fn stream(State(app): State<App>) -> Response {
    let viewer = app.live.watch();
    let counted = GaugeGuard::new(&app.metrics.viewers);
    let events = stream::unfold((app, viewer, counted), async |(app, mut viewer, counted)| {
        let results = tokio::select! {
            results = viewer.change() => results?,
            () = app.lifecycle.closing() => return None,
        };
        let event = Event::default().json_data(Shown::new(&app, results.as_deref())).ok()?;
        Some((Ok::<_, Infallible>(event), (app, viewer, counted)))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response()
}
