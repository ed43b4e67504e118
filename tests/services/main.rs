//! The services on real stores: the HTTP contract, invalid input, and outages.

mod analytics;
mod bad_input;
mod bad_releases;
mod cause;
mod check;
mod feature_flag;
mod findings;
mod ipv6;
mod limits;
mod load;
mod openapi;
mod outage;
mod output;
mod page;
mod passwords;
mod permissions;
mod proxies;
mod releases;
mod retries;
mod security;
mod settings;
mod start;
mod telemetry;
mod tool;
