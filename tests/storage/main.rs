//! Every backend against its real server: the contract that all of them keep, and what each has of its own.

mod contract;
mod mysql;
mod outage;
mod redis;
mod redis_cluster;
mod sharded;
mod sqlite;
mod transfer;
