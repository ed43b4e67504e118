//! The picture at `/split`: a load of this process on its own poll, and the page that shows it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use voting_load::split::{MOST_RATE, Settings, Split};
use voting_load::{Plan, Progress, Voting, run};

/// Number of voters, and of those with the feature flag.
const VOTERS: usize = 20;
const FLAGGED: usize = 4;
/// Page views per second, from the first viewer of the picture on.
const RATE: u32 = 10;

/// Delay before the load begins again after it has failed.
const AGAIN: Duration = Duration::from_secs(5);

/// The routes of the picture, and the load, which runs while the picture has a viewer.
pub fn picture() -> (Router, Load) {
    let progress = Progress::default();
    // The poll is its user's: without their word the load only looks at the page.
    progress.pace().set_views_only(true);
    progress.pace().set_rate(Some(RATE));
    let share = FLAGGED * 100 / VOTERS;
    let split = Split::new(
        progress.clone(),
        Settings {
            target: format!("{VOTERS} visitors of this poll, {share}% of them with the feature flag"),
            poll_link: Some("./"),
            most_rate: MOST_RATE,
            has_votes_switch: true,
            pauses_unwatched: true,
        },
    );
    (split.clone().routes(), Load { progress, split })
}

/// The load behind the picture.
pub struct Load {
    progress: Progress,
    split: Split,
}

impl Load {
    /// Sends requests to the poll at this address while the picture has a viewer.
    pub async fn run(self, address: SocketAddr) {
        let Self { progress, split } = self;
        let host = match address.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let url = format!("http://{}", SocketAddr::new(host, address.port()));
        let voting = Voting::Browsers { flagged: FLAGGED, cookie: None };
        let plan = Plan { is_audited: false, ..Plan::until_stopped(url, voting, VOTERS, Duration::ZERO) };
        let load = async {
            loop {
                progress.pace().resumed().await;
                if let Err(error) = run(&plan, &progress).await {
                    tracing::warn!(error = format!("{error:#}"), "the load of /split failed");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        tokio::join!(load, split.pause_unwatched());
    }
}
