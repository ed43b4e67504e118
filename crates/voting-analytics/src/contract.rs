//! The JSON of `GET /analytics`. Clients of azure-vote read it: fields may be added, none removed.

use serde::{Deserialize, Serialize};

/// The results of the poll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnalyticsResponse {
    /// The first choice.
    pub category1: CategoryResult,
    /// The second choice.
    pub category2: CategoryResult,
    /// Both in words. The wording depends on the release.
    pub text: String,
}

/// The result of one choice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryResult {
    /// The name of the choice.
    pub name: String,
    /// The number of votes.
    pub count: u64,
}

/// The body of every response other than 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// One sentence: the problem, and what is allowed.
    pub error: String,
}
