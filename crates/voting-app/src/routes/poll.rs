//! `GET /`: the page.

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::response::Response;
use voting_core::BallotId;
use voting_http::feature_flag;
use voting_http::headers::VOTING_PATH;

use crate::App;
use crate::notice::Notice;
use crate::page::{PollPage, Shown, render};
use crate::routes::feature_flag::refresh;

/// The page, with results that are not older than the request. Without results it can still be voted on.
#[utoipa::path(
    get,
    path = "/",
    responses((
        status = OK,
        description = "The page. Exactly one line has the word \"results\": `  <div id=\"results\"> Cats: 2 | Dogs: 4 </div>`.",
        content_type = "text/html",
        body = String,
        headers(
            ("x-voting-path" = String, description = "The releases that served it, as in `app=1.0, analytics=1.1, storage=1.0`."),
            ("set-cookie" = String, description = "Lets a feature flag that is on live on for 15 minutes."),
        ),
    )),
)]
pub(super) async fn show(State(app): State<App>, request: Request) -> Response {
    let headers = request.headers();
    let results = app.analytics.results(headers).await;
    let flag_is_on = feature_flag::is_on(headers);
    let notice = Notice::read(headers);
    let page = PollPage {
        app: &app,
        shown: Shown::new(&app, results.as_deref()),
        ballot: BallotId::new(),
        notice: notice.map(|notice| notice.text(&app.choices)),
        flag_is_on,
    };
    let mut response = render(&page);
    if let Some(path) = results.as_ref().and_then(|results| results.path.as_ref()) {
        let whole = [b"app=", app.release.version.as_bytes(), b", ", path.as_bytes()].concat();
        if let Ok(whole) = HeaderValue::from_bytes(&whole) {
            response.headers_mut().insert(VOTING_PATH.clone(), whole);
        }
    }
    if flag_is_on {
        refresh(headers, &mut response);
    }
    if notice.is_some() {
        Notice::clear(&mut response, headers);
    }
    response
}
