//! Every backend on its real server: the common contract, and the specifics of each backend.

mod clocks;
mod contract;
mod eviction;
mod lookup;
mod mysql;
mod outage;
mod redis;
mod redis_cluster;
mod sharded;
mod sqlite;
mod transfer;
mod writes;
