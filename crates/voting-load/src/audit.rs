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
    /// Another store took it in the audit.
    pub(crate) is_elsewhere: bool,
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
            if store.others == 0 {
                decide(&mut store.ballots, [0, 1].map(|choice| after[choice].checked_sub(counted[choice])));
            }
            store.results = Some([counted, after]);
        } else {
            store.ballots = entries.into_iter().map(|entry| audited(entry, Attempt::Unanswered)).collect();
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

/// The result of casting a ballot once more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Counted,
    AlreadyCounted,
    /// It was counted before, or by an attempt without an answer.
    Unanswered,
    Elsewhere,
}

fn audited(entry: Entry, attempt: Attempt) -> Audited {
    let was_counted = match attempt {
        Attempt::Counted => Some(false),
        Attempt::AlreadyCounted => Some(true),
        Attempt::Unanswered | Attempt::Elsewhere => None,
    };
    Audited {
        app: entry.releases.app,
        choice: entry.choice,
        outcome: entry.outcome,
        was_counted,
        is_elsewhere: attempt == Attempt::Elsewhere,
    }
}

/// Decides by the votes that the audit added to the results which ballots had been counted before, where the answers do not
/// tell: none of them if the audit added as many votes as were possible, all of them if it added no more than it was told.
fn decide(ballots: &mut [Audited], added: [Option<u64>; 2]) {
    for choice in Choice::ALL {
        let of_choice = || ballots.iter().filter(|ballot| ballot.choice == choice);
        let is_open = |ballot: &Audited| ballot.was_counted.is_none() && !ballot.is_elsewhere;
        let new = of_choice().filter(|ballot| ballot.was_counted == Some(false)).count() as u64;
        let open = of_choice().filter(|ballot| is_open(ballot)).count() as u64;
        let was_counted = match added[choice.index()] {
            Some(votes) if votes == new => true,
            Some(votes) if votes == new + open => false,
            _ => continue,
        };
        for ballot in ballots.iter_mut().filter(|ballot| ballot.choice == choice && is_open(ballot)) {
            ballot.was_counted = Some(was_counted);
        }
    }
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
                let attempt = cast_again(&client, &form, entry.id, entry.choice, &storage).await?;
                load.progress.count_audited();
                done.push(audited(entry, attempt));
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
/// attempts.
async fn cast_again(
    client: &Client,
    form: &Form,
    id: BallotId,
    choice: Choice,
    storage: &str,
) -> anyhow::Result<Attempt> {
    let (start, mut may_be_counted) = (Instant::now(), false);
    loop {
        let answer = client.cast_with(form, id, choice).await;
        let is_elsewhere = answer.releases.is_some_and(|releases| releases.storage != storage);
        let why = match answer.outcome {
            CastOutcome::Counted | CastOutcome::AlreadyCounted if is_elsewhere => {
                return Ok(Attempt::Elsewhere);
            }
            CastOutcome::AlreadyCounted if may_be_counted => return Ok(Attempt::Unanswered),
            CastOutcome::AlreadyCounted => return Ok(Attempt::AlreadyCounted),
            CastOutcome::Counted => return Ok(Attempt::Counted),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn audited(choice: Choice, was_counted: Option<bool>, is_elsewhere: bool) -> Audited {
        Audited { app: "1.0".to_owned(), choice, outcome: BallotOutcome::Accepted, was_counted, is_elsewhere }
    }

    #[test]
    fn the_results_decide_where_answers_are_missing() {
        let (first, second) = (Choice::First, Choice::Second);
        let ballots = [
            audited(first, Some(true), false),
            audited(first, Some(false), false),
            audited(first, None, false),
            audited(first, None, false),
            audited(first, None, true),
            audited(second, None, false),
        ];
        for (added, decided) in [
            ([Some(1), Some(0)], [Some(true), Some(true), None, Some(true)]),
            ([Some(3), Some(1)], [Some(false), Some(false), None, Some(false)]),
            ([Some(2), None], [None; 4]),
            ([Some(0), Some(2)], [None; 4]),
        ] {
            let mut ballots = ballots.clone();
            decide(&mut ballots, added);
            let results = ballots.map(|ballot| ballot.was_counted);
            assert_eq!(results[..2], [Some(true), Some(false)]);
            assert_eq!(results[2..], decided, "{added:?}");
        }
    }
}
