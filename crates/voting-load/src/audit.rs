//! The audit: every ballot is cast once more in its store, and the answer says whether it had been counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use voting_core::{BallotId, Choice};

use crate::book::Entry;
use crate::client::{CastOutcome, Client, Form};
use crate::outcome::BallotOutcome;
use crate::page::VoteCounts;
use crate::plan::{PATIENCE, Voting};
use crate::voter::{Load, Voter};

/// A ballot, and whether it had been counted before the audit.
#[derive(Clone, Debug)]
pub(crate) struct Audited {
    /// The release of voting-app that answered.
    pub(crate) app: String,
    pub(crate) choice: Choice,
    pub(crate) outcome: BallotOutcome,
    /// `None` if that can't be told.
    pub(crate) was_counted: Option<bool>,
}

/// The ballots and results of one store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) storage: String,
    pub(crate) ballots: Vec<Audited>,
    /// The results before the load.
    pub(crate) before: Option<VoteCounts>,
    /// The results between the load and the audit, and after it; `None` if no voter reaches the store any more.
    pub(crate) results: Option<[VoteCounts; 2]>,
    /// Ballots that came from the page of another store.
    pub(crate) moved: u64,
    /// Votes that came while no ballot was cast.
    pub(crate) others: u64,
}

/// The most voters that look for a store at the same time.
const AT_A_TIME: usize = 32;

/// A voter on a store.
type Auditor = (Arc<Client>, Form);

/// Audits the ballots of these voters, store by store. `others` are the votes that came to a store before the load.
///
/// # Errors
/// The results are unavailable, or a ballot got no answer.
pub(crate) async fn audit(
    voters: &[Voter],
    load: &Arc<Load>,
    others: &BTreeMap<String, u64>,
) -> anyhow::Result<Vec<Store>> {
    let mut entries = BTreeMap::<&str, Vec<Entry>>::new();
    for entry in voters.iter().flat_map(|voter| &voter.entries) {
        entries.entry(&entry.releases.storage).or_default().push(entry.clone());
    }
    let sides = load.sides.all();
    let mut stores = Vec::new();
    // A store without ballots may have got votes of others, or lost its own.
    for storage in sides.keys() {
        entries.entry(storage).or_default();
    }
    for (storage, entries) in entries {
        let side = sides.get(storage).copied().unwrap_or_default();
        let auditors = auditors(voters, storage, load).await;
        let mut store = Store {
            storage: storage.to_owned(),
            before: side.before,
            moved: side.moved,
            others: others.get(storage).copied().unwrap_or_default(),
            ..Store::default()
        };
        if let Some((client, _)) = auditors.first() {
            let counted = client.settled_counts().await?;
            store.others += added(client, counted, load.plan.watch).await?;
            store.ballots = ballots(&auditors, entries, storage, load).await?;
            let after = client.settled_counts().await?;
            store.others += added(client, after, load.plan.watch).await?;
            store.results = Some([counted, after]);
        } else {
            store.ballots = entries.into_iter().map(|entry| audited(entry, None)).collect();
        }
        stores.push(store);
    }
    Ok(stores)
}

/// Watches the results for a while, in which no ballot is cast, and counts the votes that came nevertheless.
///
/// # Errors
/// The results are unavailable.
pub(crate) async fn added(client: &Client, counts: VoteCounts, watch: Duration) -> anyhow::Result<u64> {
    if watch.is_zero() {
        return Ok(0);
    }
    tokio::time::sleep(watch).await;
    let later = client.settled_counts().await?;
    Ok((0..2).map(|choice| later[choice].saturating_sub(counts[choice])).sum())
}

/// Voters whose page is now that of this store; first those who were on it last.
async fn auditors(voters: &[Voter], storage: &str, load: &Load) -> Vec<Auditor> {
    let Voting::Browsers { .. } = load.plan.voting else {
        let Some(Voter { client, .. }) = voters.first() else { return Vec::new() };
        let is_there = client.settled_results().await.is_ok_and(|(_, at)| at.storage == storage);
        return is_there.then(|| (client.clone(), client.own_form().clone())).into_iter().collect();
    };
    let mut candidates: Vec<_> = voters.iter().collect();
    candidates.sort_by_key(|voter| voter.at.storage != storage);
    for candidates in candidates.chunks(AT_A_TIME) {
        let mut looks = JoinSet::new();
        for voter in candidates {
            let client = voter.client.clone();
            looks.spawn(async move {
                client.settled_results().await.ok()?;
                let (_, form, seen) = client.page(None).await.ok()?;
                Some((client, form, seen.releases.storage))
            });
        }
        let found = looks.join_all().await.into_iter().flatten();
        let found: Vec<_> =
            found.filter(|(.., at)| at == storage).map(|(client, form, _)| (client, form)).collect();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

fn audited(entry: Entry, was_counted: Option<bool>) -> Audited {
    Audited { app: entry.releases.app, choice: entry.choice, outcome: entry.outcome, was_counted }
}

async fn ballots(
    auditors: &[Auditor],
    entries: Vec<Entry>,
    storage: &str,
    load: &Arc<Load>,
) -> anyhow::Result<Vec<Audited>> {
    let mut tasks = JoinSet::new();
    let share = entries.len().div_ceil(load.plan.voters).max(1);
    for (place, share) in entries.chunks(share).enumerate() {
        let (client, form) = auditors[place % auditors.len()].clone();
        let (share, storage, load) = (share.to_vec(), storage.to_owned(), load.clone());
        tasks.spawn(async move {
            let mut done = Vec::with_capacity(share.len());
            for entry in share {
                let was_counted = was_counted(&client, &form, entry.id, entry.choice, &storage).await?;
                load.progress.count_audited();
                done.push(audited(entry, was_counted));
            }
            Ok::<_, anyhow::Error>(done)
        });
    }
    let mut all = Vec::with_capacity(entries.len());
    while let Some(share) = tasks.join_next().await {
        all.extend(share??);
    }
    Ok(all)
}

/// Casts a ballot once more, whose answer says whether it was counted before. On a busy machine that may need several
/// attempts; if one without an answer may have counted it, or another store took it, that can't be told.
async fn was_counted(
    client: &Client,
    form: &Form,
    id: BallotId,
    choice: Choice,
    storage: &str,
) -> anyhow::Result<Option<bool>> {
    let (start, mut may_be_counted) = (Instant::now(), false);
    loop {
        let answer = client.cast_with(form, id, choice).await;
        let is_elsewhere = answer.releases.is_some_and(|releases| releases.storage != storage);
        let why = match answer.outcome {
            CastOutcome::Counted | CastOutcome::AlreadyCounted if is_elsewhere => return Ok(None),
            CastOutcome::Counted => return Ok(Some(false)),
            CastOutcome::AlreadyCounted => return Ok((!may_be_counted).then_some(true)),
            CastOutcome::Refused(why) => why,
            CastOutcome::Unknown(why) => {
                may_be_counted = true;
                why
            }
        };
        if start.elapsed() > PATIENCE {
            anyhow::bail!("the audit needs a working service, but a ballot failed: {why}")
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
