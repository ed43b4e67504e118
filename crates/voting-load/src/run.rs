//! A load from its first page to its account.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::{JoinHandle, JoinSet};
use tokio_util::task::AbortOnDropHandle;
use voting_http::feature_flag;

use crate::audit::{added, audit};
use crate::book::Book;
use crate::client::{Client, Releases};
use crate::plan::{Plan, Progress, Voting};
use crate::report::Report;
use crate::sides::Sides;
use crate::voter::{Load, Voter};

impl Plan {
    /// [`run`] in a task of its own.
    pub fn start(self) -> (Progress, JoinHandle<anyhow::Result<Report>>) {
        let progress = Progress::default();
        let load = tokio::spawn({
            let progress = progress.clone();
            async move { run(&self, &progress).await }
        });
        (progress, load)
    }
}

/// Casts the ballots and audits them.
///
/// # Errors
/// The results are unreadable before or after the load, it was stopped before it began, or the audit of a ballot failed.
pub async fn run(plan: &Plan, progress: &Progress) -> anyhow::Result<Report> {
    let mut voters = voters(plan, progress)?;
    let load = Arc::new(Load {
        plan: plan.clone(),
        progress: progress.clone(),
        sides: Sides::default(),
        book: Book::new(progress.metrics().clone(), progress.picture().clone()),
    });
    let others = tokio::select! {
        others = watch(&mut voters, &load) => others?,
        () = progress.stopped() => anyhow::bail!("the load was ended before its first ballot"),
    };

    let start = Instant::now();
    progress.pace().begin(plan.rate);
    let _end = plan.duration.map(|duration| {
        let progress = progress.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::time::sleep(duration).await;
            progress.stop();
        }))
    });
    let mut voting = JoinSet::new();
    for voter in voters {
        voting.spawn(voter.vote(load.clone()));
    }
    let voters = voting.join_all().await;
    let took = start.elapsed();

    let stores = audit(&voters, &load, &others).await?;
    Ok(Report::new(&stores, &load.book.records(), took))
}

fn voters(plan: &Plan, progress: &Progress) -> anyhow::Result<Vec<Voter>> {
    let voter = |client| Voter::new(client, Releases::default());
    let picture = || progress.picture().clone();
    match &plan.voting {
        Voting::Forms(forms) => {
            let client = Arc::new(Client::new(&plan.url, forms)?.pictured(picture()));
            Ok((0..plan.voters).map(|_| voter(client.clone())).collect())
        }
        Voting::Browsers { flagged, cookie } => (0..plan.voters)
            .map(|place| {
                let flag = (place < *flagged).then_some(feature_flag::ON);
                let cookies = flag.into_iter().chain(cookie.as_deref());
                let client = Client::browser(&plan.url, cookies)?.pictured(picture());
                Ok(voter(Arc::new(client)))
            })
            .collect(),
    }
}

/// Waits for the results, and watches whether others vote. A voter with the feature flag and one without it see all stores
/// that the flag selects.
async fn watch(voters: &mut [Voter], load: &Load) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut others = BTreeMap::new();
    let ends = match load.plan.voting {
        Voting::Browsers { flagged, .. } if flagged > 0 && flagged < voters.len() => {
            vec![0, voters.len() - 1]
        }
        _ => vec![0],
    };
    for place in ends {
        let (counts, at) = voters[place].client.settled_results().await?;
        let votes = added(&voters[place].client, counts, load.plan.watch).await?;
        *others.entry(at.storage.clone()).or_default() += votes;
        if let Voting::Forms(_) = load.plan.voting {
            let (counts, _) = voters[place].client.settled_results().await?;
            load.sides.see(&at.storage, counts);
            voters.iter_mut().for_each(|voter| voter.at = at.clone());
        }
    }
    Ok(others)
}
