//! What was spent, and what may be.

use schemars::JsonSchema;
use serde::Serialize;

/// An amount of money.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Money {
    /// Whole cents.
    #[schemars(regex(pattern = "^(0|[1-9][0-9]*)$"))]
    pub(crate) amount: String,
    #[schemars(extend("const" = "USD"))]
    pub(crate) currency: &'static str,
}

/// What a session may cost.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Budget {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "limit"))]
    pub(crate) kind: &'static str,
    pub(crate) max_list_cost: Money,
}
