//! `GET /events`: the results as they change, as server-sent events.
//!
//! Each event's data is a JSON object: `{"text":"Cats: 2 | Dogs: 4","counts":[2,4]}`, or `{}` while there are no
//! results.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use utoipa::ToSchema;
use voting_storage::metrics::Counted;

use crate::App;
use crate::live::Latest;

/// The data of an event.
#[derive(Serialize, ToSchema)]
pub(super) struct Data<'a> {
    /// The line of results; not there while there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// The votes of each choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<[u64; 2]>,
}

/// An event for each change, until the viewer or the service leaves.
///
/// The first event comes at once with what was read last, if somebody looks already, else within a second or two. The data of each
/// is JSON of the schema Data.
#[utoipa::path(
    get,
    path = "/events",
    responses((status = OK, description = "Server-sent events, for as long as the viewer stays.", content_type = "text/event-stream", body = Data)),
)]
pub(super) async fn stream(State(app): State<App>) -> Response {
    let mut viewer = app.live.watch();
    // What was read for others a moment ago is news to this viewer.
    viewer.mark_changed();
    let counted = Counted::new(&app.metrics.viewers);
    let events = stream::unfold((app, viewer, counted), async |(app, mut viewer, counted)| {
        loop {
            tokio::select! {
                changed = viewer.changed() => changed.ok()?,
                () = app.lifecycle.closing() => return None,
            }
            let latest = viewer.borrow_and_update().clone();
            let data = match &latest {
                Latest::NotRead => continue,
                Latest::Unavailable => Data { text: None, counts: None },
                Latest::Results(results) => Data { text: Some(&results.text), counts: Some(results.counts) },
            };
            let event = Event::default().json_data(data).ok()?;
            return Some((Ok::<_, Infallible>(event), (app, viewer, counted)));
        }
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response()
}
