//! Faults under load: a small cluster of the real programs, fault injection, and the report of the ledger.
//!
//! [`Cluster::run`] injects one fault after the other, [`Cluster::play`] a [`Schedule`], whose faults overlap.

mod cluster;
mod log;
mod preload;
mod schedule;
mod store;
mod verdict;

use std::time::Duration;

pub use cluster::Cluster;
pub use preload::{Disk, Preload};
pub use schedule::{Change, Event, Schedule, shrink};
pub use verdict::Verdict;

/// The releases and the store of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterRelease {
    /// App 1.0 and analytics 1.1 on Redis with its append-only file.
    One,
    /// App and analytics 2.0 on MySQL or MariaDB.
    Two,
    /// App and analytics 2.0 on a SQLite file.
    Embedded,
    /// [`ClusterRelease::One`] on a Redis that keeps nothing on disk, so that a restart breaks the guarantees: for tests of
    /// the search for such schedules.
    Volatile,
}

impl ClusterRelease {
    /// Those that keep the guarantees.
    pub const ALL: [Self; 3] = [Self::One, Self::Two, Self::Embedded];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of an app.
    KillApp(usize),
    /// SIGTERM of an app.
    TerminateApp(usize),
    /// An app is frozen.
    FreezeApp(usize),
    /// The wall clock of an app is wrong by this number of seconds.
    AppClock(usize, i64),
    /// The log of an app is not read.
    BlockLog(usize),
    /// `kill -9` of voting-analytics.
    KillAnalytics,
    /// voting-analytics is frozen.
    FreezeAnalytics,
    /// The wall clock of voting-analytics is wrong by this number of seconds.
    AnalyticsClock(i64),
    /// `kill -9` of the store.
    KillStore,
    /// The store is frozen.
    FreezeStore,
    /// The store runs a tenth of the time.
    SlowStore,
    /// The wall clock of the store is wrong by this number of seconds.
    StoreClock(i64),
    /// Redis pauses writes, the rows of MySQL or the file of SQLite are locked by another client.
    LockStore,
    /// Redis lacks a replica, MySQL is read-only, the file system of the file of SQLite is read-only.
    ReadOnlyStore,
    /// Redis, or each session of MariaDB, has reached its memory limit.
    FullMemory,
    /// Writes to the disk of the store fail.
    FullDisk,
    /// Redis may evict keys, which it says to new connections.
    Eviction,
    /// The replica takes over. Redis hands over to it; MariaDB dies, and its semi-synchronous replica is promoted. There is
    /// no way back.
    Failover,
    /// Every connection to the store is cut at its first response.
    DropAnswers,
    /// The store refuses connections.
    CutConnections,
    /// The network to the store loses every packet.
    SilentNetwork,
    /// The network to the store takes this number of milliseconds in each direction.
    DistantStore(u64),
    /// Connections are cut, and new ones stay silent forever.
    HalfOpenConnections,
}

/// A part of a cluster that has one fault at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    App(usize),
    Analytics,
    Store,
    Network,
}

impl Fault {
    /// The faults of `cargo xtask ledger --faults`, and their lengths in milliseconds.
    pub const ALL: [(Self, u64); 8] = [
        (Self::KillApp(0), 500),
        (Self::TerminateApp(1), 0),
        (Self::KillAnalytics, 500),
        (Self::KillStore, 0),
        (Self::FreezeStore, 5000),
        (Self::DropAnswers, 1000),
        (Self::CutConnections, 1000),
        // Longer than any deadline.
        (Self::SilentNetwork, 4000),
    ];

    /// One fault of each kind that this cluster can have.
    pub fn kinds(release: ClusterRelease) -> Vec<Self> {
        let mut kinds = vec![
            Self::KillApp(0),
            Self::TerminateApp(0),
            Self::FreezeApp(0),
            Self::AppClock(0, 0),
            Self::BlockLog(0),
            Self::KillAnalytics,
            Self::FreezeAnalytics,
            Self::AnalyticsClock(0),
            Self::LockStore,
            Self::ReadOnlyStore,
            Self::FullDisk,
        ];
        let of_servers = [
            Self::KillStore,
            Self::FreezeStore,
            Self::SlowStore,
            Self::StoreClock(0),
            Self::DropAnswers,
            Self::CutConnections,
            Self::SilentNetwork,
            Self::DistantStore(0),
            Self::HalfOpenConnections,
            Self::FullMemory,
            Self::Failover,
        ];
        match release {
            ClusterRelease::One | ClusterRelease::Volatile => {
                kinds.extend(of_servers);
                kinds.push(Self::Eviction);
            }
            ClusterRelease::Two => kinds.extend(of_servers),
            ClusterRelease::Embedded => {}
        }
        kinds
    }

    /// A fault that this cluster can have.
    fn random(release: ClusterRelease, random: &mut fastrand::Rng) -> Self {
        let kinds = Self::kinds(release);
        let replica = random.usize(0..cluster::REPLICAS);
        let seconds = [2, 60, 3600, 26 * 3600][random.usize(0..4)];
        let offset = if random.bool() { seconds } else { -seconds };
        match kinds[random.usize(0..kinds.len())] {
            Self::KillApp(_) => Self::KillApp(replica),
            Self::TerminateApp(_) => Self::TerminateApp(replica),
            Self::FreezeApp(_) => Self::FreezeApp(replica),
            Self::AppClock(..) => Self::AppClock(replica, offset),
            Self::BlockLog(_) => Self::BlockLog(replica),
            Self::AnalyticsClock(_) => Self::AnalyticsClock(offset),
            Self::StoreClock(_) => Self::StoreClock(offset),
            Self::DistantStore(_) => Self::DistantStore(random.u64(20..400)),
            other => other,
        }
    }

    /// The part of the cluster that has this fault.
    pub fn target(self) -> Target {
        match self {
            Self::KillApp(app)
            | Self::TerminateApp(app)
            | Self::FreezeApp(app)
            | Self::AppClock(app, _)
            | Self::BlockLog(app) => Target::App(app),
            Self::KillAnalytics | Self::FreezeAnalytics | Self::AnalyticsClock(_) => Target::Analytics,
            Self::KillStore
            | Self::FreezeStore
            | Self::SlowStore
            | Self::StoreClock(_)
            | Self::LockStore
            | Self::ReadOnlyStore
            | Self::FullMemory
            | Self::FullDisk
            | Self::Eviction
            | Self::Failover => Target::Store,
            Self::DropAnswers
            | Self::CutConnections
            | Self::SilentNetwork
            | Self::DistantStore(_)
            | Self::HalfOpenConnections => Target::Network,
        }
    }
}

/// The delay after a fault, so that its consequences show.
const AFTER: Duration = Duration::from_millis(500);
