//! A voter's part of a load.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use voting_core::{BallotId, Choice};

use crate::book::{BallotOutcome, Book, Entry};
use crate::client::{CastOutcome, Client, Form, Releases};
use crate::page::Page;
use crate::plan::{Plan, Progress, Turn, Voting};
use crate::sides::Sides;

/// What all voters of a load share.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) plan: Plan,
    pub(crate) progress: Progress,
    pub(crate) sides: Sides,
    pub(crate) book: Book,
}

/// A voter.
#[derive(Debug)]
pub(crate) struct Voter {
    pub(crate) client: Arc<Client>,
    pub(crate) entries: Vec<Entry>,
    /// The releases that served its last page.
    pub(crate) at: Releases,
}

/// The error of a ballot that was never accepted.
pub const GAVE_UP: &str = "gave up";
/// Number of ballots between two reads of the results, for voters who don't read the page anyway.
const READ_EVERY: usize = 5;
/// Delay between two attempts.
const DELAY: Duration = Duration::from_millis(100);
/// A ballot that begins later after its turn was late.
const LATE: Duration = Duration::from_secs(1);

impl Voter {
    pub(crate) fn new(client: Arc<Client>, at: Releases) -> Self {
        Self { client, entries: Vec::new(), at }
    }

    /// Votes until the end of the load.
    pub(crate) async fn vote(mut self, load: Arc<Load>) -> Self {
        match load.plan.voting {
            Voting::Browsers { .. } => self.vote_on_pages(&load).await,
            Voting::Forms(_) => self.vote_by_forms(&load).await,
        }
        self
    }

    async fn vote_on_pages(&mut self, load: &Load) {
        let mut location = None;
        while let Some((page, form)) = self.look(load, location.take()).await {
            let Some(turn) = load.progress.turn(&load.plan).await else { return };
            location = self.cast(load, &form, page.ballot, turn).await;
            if load.plan.rate.is_none() {
                load.progress.sleep(load.plan.pause).await;
            }
        }
    }

    async fn vote_by_forms(&mut self, load: &Load) {
        let form = self.client.own_form().clone();
        while let Some(turn) = load.progress.turn(&load.plan).await {
            self.cast(load, &form, BallotId::new(), turn).await;
            if self.entries.len().is_multiple_of(READ_EVERY) {
                self.read(load).await;
            }
            if load.plan.rate.is_none() {
                tokio::time::sleep(load.plan.pause).await;
            }
        }
    }

    /// Reads the page, or where the last answer redirects to; `None` if the load ends before there is one.
    async fn look(&mut self, load: &Load, mut location: Option<String>) -> Option<(Page, Form)> {
        loop {
            let least = load.sides.least();
            match self.client.page(location.as_deref()).await {
                Ok((page, form, seen)) => {
                    self.at = seen.releases;
                    let Releases { app, storage } = &self.at;
                    if let Some(counts) = seen.counts {
                        load.sides.see(storage, counts);
                        load.book.read(app, least.is_missed_by(storage, counts));
                        return Some((page, form));
                    }
                    load.book.error(app, "no results on the page");
                    // Without the results before the first ballot there is no account of a store.
                    if load.sides.knows(storage) {
                        return Some((page, form));
                    }
                }
                Err(error) => load.book.error(&self.at.app, &error),
            }
            location = None;
            if !load.progress.sleep(DELAY).await {
                return None;
            }
        }
    }

    /// Reads the results, which must show every vote that was accepted before, by any voter.
    async fn read(&mut self, load: &Load) {
        let least = load.sides.least();
        let app = self.entries.last().map_or("", |entry| &entry.releases.app);
        match self.client.results().await.map(|seen| (seen.counts, seen.releases)) {
            Ok((Some(counts), releases)) => {
                load.book.read(app, least.is_missed_by(&releases.storage, counts));
            }
            _ => load.book.error(app, "no results on the page"),
        }
    }

    /// Casts a ballot, with retries. Returns where the answer redirects to.
    async fn cast(&mut self, load: &Load, form: &Form, id: BallotId, turn: Turn) -> Option<String> {
        let Turn { number, due } = turn;
        // Two thirds for the first choice, so that swapped choices show.
        let choice = if number % 3 == 2 { Choice::Second } else { Choice::First };
        let retry = load.plan.retry && !(load.plan.leave_some && number % 4 == 3);
        let start = Instant::now();
        // A vote that waited for a free voter took that long.
        let mut attempt = due.unwrap_or(start);
        if start.saturating_duration_since(attempt) > LATE {
            load.book.late(&self.at.app);
        }
        let (mut releases, mut outcome) = (self.at.clone(), BallotOutcome::Refused);
        let location = loop {
            let answer = self.client.cast_with(form, id, choice).await;
            releases = answer.releases.unwrap_or(releases);
            let why = match answer.outcome {
                CastOutcome::Counted | CastOutcome::AlreadyCounted => {
                    outcome = BallotOutcome::Accepted;
                    load.book.accepted(&releases.app, attempt.elapsed());
                    load.sides.accept(&releases.storage, &self.at.storage, choice);
                    break answer.location;
                }
                CastOutcome::Refused(why) => why,
                CastOutcome::Unknown(why) => {
                    outcome = BallotOutcome::Unknown;
                    why
                }
            };
            load.book.error(&releases.app, &why);
            let gives_up = retry && start.elapsed() > load.plan.patience;
            if gives_up {
                load.book.error(&releases.app, GAVE_UP);
            }
            if !retry || gives_up {
                break None;
            }
            tokio::time::sleep(DELAY).await;
            attempt = Instant::now();
        };
        load.book.ballot(&releases.app, outcome);
        load.progress.count_cast();
        self.entries.push(Entry { id, choice, outcome, releases });
        location
    }
}
