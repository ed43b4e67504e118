//! The JSON of `GET /analytics`. Fields may be added, none removed: the original's clients read it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the votes add up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Results {
    /// The first choice.
    pub category1: CategoryResult,
    /// The second choice.
    pub category2: CategoryResult,
    /// Both in words, as this release puts it.
    #[schema(example = "Cats: 2/6 (33%) | Dogs: 4/6 (67%)")]
    pub text: String,
}

/// The votes of one choice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CategoryResult {
    /// The choice.
    #[schema(example = "Cats")]
    pub name: String,
    /// Its votes.
    pub count: u64,
}

/// Why there are no results; the body of every answer that is not 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// One sentence: what is wrong, and what is allowed.
    pub error: String,
}
