//! The part of Istio's API that the manifests use. Unknown fields are errors.
//!
//! `tests/mesh` parses the same files with Istio's own parser.

#![allow(dead_code, reason = "a field that is only there to be parsed strictly")]

use std::collections::BTreeMap;

use serde::Deserialize;
pub use voting_tests::resource::Resource;

use crate::gateway_api::Reference;

pub type Labels = BTreeMap<String, String>;

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct VirtualService {
    pub hosts: Vec<String>,
    #[serde(default)]
    pub gateways: Vec<String>,
    #[serde(default)]
    pub http: Vec<HttpRoute>,
    #[serde(default)]
    pub tcp: Vec<TcpRoute>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HttpRoute {
    pub name: String,
    #[serde(default, rename = "match")]
    pub matches: Vec<HttpMatch>,
    pub fault: Option<HttpFault>,
    pub route: Vec<Target>,
    pub mirror: Option<Destination>,
    pub mirror_percentage: Option<Percentage>,
    pub retries: Retries,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct HttpFault {
    pub delay: Delay,
    pub abort: Abort,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Delay {
    pub percentage: Percentage,
    pub fixed_delay: String,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Abort {
    pub percentage: Percentage,
    pub http_status: u16,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Percentage {
    pub value: f64,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HttpMatch {
    pub method: Option<ExactMatch>,
    pub uri: Option<ExactMatch>,
    #[serde(default)]
    pub headers: BTreeMap<String, StringMatch>,
    #[serde(default)]
    pub source_labels: Labels,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct ExactMatch {
    pub exact: String,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct StringMatch {
    pub regex: String,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Retries {
    pub attempts: u32,
    pub retry_on: String,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct TcpRoute {
    #[serde(default, rename = "match")]
    pub matches: Vec<TcpMatch>,
    pub route: Vec<Target>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct TcpMatch {
    pub port: Option<u16>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub destination: Destination,
    pub weight: Option<u32>,
    pub headers: Option<Headers>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    pub host: String,
    pub subset: Option<String>,
    pub port: Port,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Port {
    pub number: u16,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Headers {
    pub response: HeaderChanges,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct HeaderChanges {
    pub add: BTreeMap<String, String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DestinationRule {
    pub host: String,
    /// The namespaces whose pods the rule is for; empty: all.
    #[serde(default)]
    pub export_to: Vec<String>,
    pub traffic_policy: TrafficPolicy,
    #[serde(default)]
    pub subsets: Vec<Subset>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TrafficPolicy {
    pub tls: Tls,
    pub connection_pool: Option<ConnectionPool>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub mode: String,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct ConnectionPool {
    pub http: HttpPool,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HttpPool {
    pub idle_timeout: String,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Subset {
    pub name: String,
    pub labels: Labels,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    pub selector: Labels,
    pub servers: Vec<Server>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub port: ServerPort,
    pub hosts: Vec<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct ServerPort {
    pub number: u16,
    pub name: String,
    pub protocol: String,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct PeerAuthentication {
    pub mtls: MutualTls,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct MutualTls {
    pub mode: String,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AuthorizationPolicy {
    pub selector: Option<Selector>,
    #[serde(default)]
    pub target_refs: Vec<Reference>,
    #[serde(default)]
    pub rules: Vec<Rule>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Selector {
    pub match_labels: Labels,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    #[serde(default)]
    pub from: Vec<From>,
    #[serde(default)]
    pub to: Vec<To>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct From {
    pub source: Source,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Source {
    pub service_accounts: Vec<String>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct To {
    pub operation: Operation,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    pub ports: Vec<String>,
}
