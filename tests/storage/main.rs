//! Every backend on its real server: the common contract, and the specifics of each backend.

mod addresses;
mod clocks;
mod contract;
mod copies;
mod eviction;
mod lookup;
mod mysql;
mod numbers;
mod outage;
mod passwords;
mod redis;
mod redis_cluster;
mod sharded;
mod sqlite;
mod transfer;
mod writes;
