//! A voter's part of a load.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use voting_core::{BallotId, Choice};

use crate::book::{Book, Entry};
use crate::client::{CastOutcome, Client, Form, NoPage, Releases, Seen};
use crate::outcome::BallotOutcome;
use crate::page::{NoCounts, Page};
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
        let (mut open, mut location) = (None, None);
        loop {
            // Before its turn, a voter has the page open.
            if open.is_none() && !load.progress.pace().views_only() {
                open = self.look(load, location.take()).await;
            }
            let Some(turn) = load.progress.turn(&load.plan).await else { return };
            let Turn::Ballot { number, due } = turn else {
                open = self.view(load, None).await;
                continue;
            };
            if open.is_none() {
                open = self.look(load, None).await;
            }
            let Some((page, form)) = open.take() else { return };
            location = self.cast(load, &form, page.ballot, number, due).await;
            if load.progress.pace().rate().is_none() {
                load.progress.sleep(load.plan.pause).await;
            }
        }
    }

    async fn vote_by_forms(&mut self, load: &Load) {
        let form = self.client.own_form().clone();
        while let Some(Turn::Ballot { number, due }) = load.progress.turn(&load.plan).await {
            self.cast(load, &form, BallotId::new(), number, due).await;
            if self.entries.len().is_multiple_of(READ_EVERY) {
                self.read(load).await;
            }
            if load.progress.pace().rate().is_none() {
                tokio::time::sleep(load.plan.pause).await;
            }
        }
    }

    /// Reads the page, or where the last answer redirects to, until there is one; `None` if the load ends before.
    async fn look(&mut self, load: &Load, mut location: Option<String>) -> Option<(Page, Form)> {
        loop {
            let page = self.view(load, location.take()).await;
            if page.is_some() || !load.progress.sleep(DELAY).await {
                return page;
            }
        }
    }

    /// Reads the page, or where the last answer redirects to, once; `None` without a page that this voter can vote on.
    async fn view(&mut self, load: &Load, location: Option<String>) -> Option<(Page, Form)> {
        let least = load.sides.least();
        match self.client.page(location.as_deref()).await {
            Ok((page, form, seen)) => {
                self.at = seen.releases;
                let Releases { app, storage } = &self.at;
                match seen.counts {
                    Ok(counts) => {
                        load.sides.see(storage, counts);
                        load.book.read(app, load.sides.judge(&least, storage, counts));
                        return Some((page, form));
                    }
                    Err(why) => load.book.error(app, &why.to_string()),
                }
                // Without the results before the first ballot there is no account of a store.
                load.sides.knows(storage).then_some((page, form))
            }
            Err(NoPage { why, releases }) => {
                load.book.error(&releases.as_ref().unwrap_or(&self.at).app, &why);
                None
            }
        }
    }

    /// Reads the results, which must show every vote that was accepted before, by any voter.
    async fn read(&mut self, load: &Load) {
        let least = load.sides.least();
        let app = self.entries.last().map_or("", |entry| &entry.releases.app);
        match self.client.results().await {
            Ok(Seen { counts: Ok(counts), releases }) => {
                load.book.read(app, load.sides.judge(&least, &releases.storage, counts));
            }
            Ok(Seen { counts: Err(why), .. }) => load.book.error(app, &why.to_string()),
            Err(_) => load.book.error(app, &NoCounts::Unavailable.to_string()),
        }
    }

    /// Casts a ballot, with retries. Returns where the answer redirects to.
    async fn cast(
        &mut self,
        load: &Load,
        form: &Form,
        id: BallotId,
        number: u64,
        due: Option<Instant>,
    ) -> Option<String> {
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
        let ballot = load.sides.begin();
        let location = loop {
            let answer = self.client.cast_with(form, id, choice).await;
            releases = answer.releases.unwrap_or(releases);
            let why = match answer.outcome {
                CastOutcome::Counted | CastOutcome::AlreadyCounted => {
                    outcome = BallotOutcome::Accepted;
                    load.book.accepted(&releases.app, attempt.elapsed());
                    load.sides.accept(ballot, &releases.storage, &self.at.storage, choice);
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
        load.sides.end(outcome);
        load.book.ballot(&releases.app, outcome);
        load.progress.count_cast();
        if load.plan.is_audited {
            self.entries.push(Entry { id, choice, outcome, releases });
        }
        location
    }
}
