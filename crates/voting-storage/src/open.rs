//! Opens a store: picks the backend by URL.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use voting_core::{Choices, StoreKind};

use crate::metrics::StoreMetrics;
use crate::sharded::ShardedStore;
use crate::store::{StoreError, Timeouts, VoteStore};
use crate::url::{StoreAddress, StoreUrl};

/// Opens the store at this URL for this poll, with the default timeouts. Must be called on a Tokio runtime.
///
/// No connection is made yet: a store that is down at start-up is used as soon as it is up. Its schema is created or
/// updated whenever a connection is made.
///
/// # Errors
/// [`StoreError::Unusable`]: the driver does not know a part of the URL, or this build lacks the backend.
pub fn open(url: &StoreUrl, choices: &Choices) -> Result<Arc<dyn VoteStore>, StoreError> {
    open_with(url, choices, Timeouts::default(), StoreMetrics::default())
}

/// [`open`] with given timeouts and metrics.
///
/// # Errors
/// Those of [`open`].
pub fn open_with(
    url: &StoreUrl,
    choices: &Choices,
    timeouts: Timeouts,
    metrics: StoreMetrics,
) -> Result<Arc<dyn VoteStore>, StoreError> {
    let opener = Opener { choices, timeouts, metrics };
    opener.open(url)
}

/// Waits until a store is ready: connecting creates the schema, which may take longer than one call. `progress` gets the
/// time waited and the cause before each further attempt.
///
/// # Errors
/// The last error after `limit`, or one that a retry won't help.
pub async fn wait_until_ready(
    store: &dyn VoteStore,
    limit: Duration,
    progress: impl Fn(Duration, &str),
) -> Result<(), StoreError> {
    let start = Instant::now();
    loop {
        match store.ping().await {
            Err(
                StoreError::Unavailable(cause)
                | StoreError::Overloaded(cause)
                | StoreError::Unconfirmed(cause),
            ) if start.elapsed() < limit => {
                progress(start.elapsed(), &cause);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            done => return done,
        }
    }
}

struct Opener<'a> {
    choices: &'a Choices,
    timeouts: Timeouts,
    metrics: StoreMetrics,
}

impl Opener<'_> {
    fn open(&self, url: &StoreUrl) -> Result<Arc<dyn VoteStore>, StoreError> {
        match url {
            StoreUrl::Single(address) => self.open_single(address),
            StoreUrl::Cluster { seed, shards } => {
                let shards = (0..*shards).map(|shard| self.open_cluster_shard(seed, shard));
                let shards = shards.collect::<Result<_, _>>()?;
                Ok(Arc::new(ShardedStore::of_cluster(shards, self.timeouts.deadline)))
            }
            StoreUrl::Sharded(urls) => {
                let shards = urls.iter().map(|url| self.open(url)).collect::<Result<_, _>>()?;
                let names = urls.iter().map(ToString::to_string).collect();
                Ok(Arc::new(ShardedStore::listed(shards, names, self.timeouts.deadline)))
            }
        }
    }

    fn open_single(&self, address: &StoreAddress) -> Result<Arc<dyn VoteStore>, StoreError> {
        match address.kind() {
            #[cfg(feature = "redis")]
            StoreKind::Redis => {
                Ok(self.start(crate::redis::Backend::new(address, self.choices, self.timeouts)?))
            }
            #[cfg(feature = "mysql")]
            StoreKind::MySql => Ok(self.start(crate::mysql::Backend::new(address, self.choices)?)),
            StoreKind::Sqlite => {
                Ok(self.start(crate::sqlite::Backend::new(address, self.choices, self.timeouts)?))
            }
            #[cfg(not(all(feature = "redis", feature = "mysql")))]
            kind => Err(not_built_in(kind)),
        }
    }

    #[cfg(feature = "redis")]
    fn open_cluster_shard(&self, seed: &StoreAddress, shard: u16) -> Result<Arc<dyn VoteStore>, StoreError> {
        let backend = crate::redis::Backend::cluster_shard(seed, shard, self.choices, self.timeouts)?;
        Ok(self.start(backend))
    }

    #[cfg(not(feature = "redis"))]
    fn open_cluster_shard(&self, seed: &StoreAddress, _shard: u16) -> Result<Arc<dyn VoteStore>, StoreError> {
        Err(not_built_in(seed.kind()))
    }

    fn start(&self, backend: impl crate::backend::Backend) -> Arc<dyn VoteStore> {
        Arc::new(crate::batched::BatchedStore::start(backend, self.timeouts, self.metrics.clone()))
    }
}

#[cfg(not(all(feature = "redis", feature = "mysql")))]
fn not_built_in(kind: StoreKind) -> StoreError {
    StoreError::unusable(format!("this program was built without {kind}"))
}
