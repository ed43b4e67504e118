//! One poll split over several stores of one kind, its parts, so that no single row, key or server takes every vote.
//!
//! A ballot's id says which part it belongs to. So each part alone decides whether a ballot is new, and nothing has to
//! happen in two parts at once. The votes are the sum of the parts; as each part is an origin of its own (see
//! [`crate::tally`]), transfers and backups work as with one store.
//!
//! What was merged in from elsewhere lies in one part only: the one that has a counter of this origin already, else the
//! one that the origin's own id says.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::JoinSet;

use crate::ballot::{Ballot, Cast};
use crate::poll::Category;
use crate::store::{StoreError, StoreKind, VoteStore};
use crate::tally::{Origin, Snapshot, Tally};

/// Several stores as one; at least one.
pub(crate) struct Split(Vec<Arc<dyn VoteStore>>);

impl Split {
    pub(crate) fn new(parts: Vec<Arc<dyn VoteStore>>) -> Self {
        Self(parts)
    }

    /// Where something with this id belongs. The last bytes of a UUID are random; the first tell the time.
    fn place(&self, id: &[u8; 16]) -> usize {
        let [.., a, b, c, d] = *id;
        u32::from_be_bytes([a, b, c, d]) as usize % self.0.len()
    }

    /// What each part answers, in order, asked at the same time. All are asked, whatever the first to fail says.
    async fn each<T, F>(&self, ask: impl Fn(usize, Arc<dyn VoteStore>) -> F) -> Result<Vec<T>, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let mut asked = JoinSet::new();
        for (place, part) in self.0.iter().enumerate() {
            let answer = ask(place, part.clone());
            asked.spawn(async move { (place, answer.await) });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by_key(|(place, _)| *place);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }
}

#[async_trait]
impl VoteStore for Split {
    fn kind(&self) -> StoreKind {
        self.0[0].kind()
    }

    async fn cast(&self, ballot: Ballot) -> Result<Cast, StoreError> {
        self.0[self.place(ballot.id.as_bytes())].cast(ballot).await
    }

    async fn tally(&self) -> Result<Tally, StoreError> {
        let tallies = self.each(|_, part| async move { part.tally().await }).await?;
        let [first, second] = Category::ALL.map(|category| tallies.iter().map(|tally| tally[category]).sum());
        Ok(Tally::new(first, second))
    }

    async fn reset(&self) -> Result<(), StoreError> {
        self.each(|_, part| async move { part.reset().await }).await.map(drop)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.each(|_, part| async move { part.ping().await }).await.map(drop)
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let mut all = Snapshot::default();
        for part in self.each(|_, part| async move { part.snapshot().await }).await? {
            all.merge(&part);
        }
        Ok(all)
    }

    async fn merge(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let there = self.each(|_, part| async move { part.snapshot().await }).await?;
        let holder = |category, origin: &Origin| {
            let has_it = |part: &Snapshot| part.counters(category).contains_key(origin);
            there.iter().position(has_it).unwrap_or_else(|| self.place(origin.as_bytes()))
        };
        let mut shares = vec![Snapshot::default(); self.0.len()];
        for category in Category::ALL {
            for (&origin, &counter) in snapshot.counters(category) {
                shares[holder(category, &origin)].insert(category, origin, counter);
            }
        }
        let shares = Arc::new(shares);
        let merge = |place: usize, part: Arc<dyn VoteStore>| {
            let shares = shares.clone();
            async move { part.merge(&shares[place]).await }
        };
        self.each(merge).await.map(drop)
    }
}
