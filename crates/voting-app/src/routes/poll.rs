//! `GET /`: the page of the poll.

use axum::extract::{Request, State};
use axum::response::Response;
use voting_core::BallotId;
use voting_http::serving_path::ServingPath;

use crate::app::App;
use crate::base::Base;
use crate::feature_flag;
use crate::notice::Notice;
use crate::page::{PollPage, ResultsView, render};

/// Serves the page, with results that are not older than the request.
///
/// While the results are unavailable, the page says so and still takes votes.
pub(super) async fn show(State(app): State<App>, request: Request) -> Response {
    let (base, headers) = (Base::of(&request), request.headers());
    let results = app.analytics.results(headers).await;
    let flag_is_on = feature_flag::is_on(headers);
    let notice = Notice::read(headers);
    let page = PollPage {
        app: &app,
        root: base.root(),
        results: ResultsView::new(&app, results.as_deref()),
        ballot: BallotId::new(),
        notice: notice.map(|notice| notice.text(&app.choices)),
        flag_is_on,
    };
    let mut response = render(&page);
    if let Some(path) = results.as_ref().and_then(|results| results.path.as_ref()) {
        response.headers_mut().insert(ServingPath::HEADER, path.into());
    }
    if flag_is_on {
        feature_flag::set(&mut response, &base);
    }
    if notice.is_some() {
        Notice::clear(&mut response, &base);
    }
    response
}
