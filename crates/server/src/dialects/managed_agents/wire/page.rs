//! Pages of lists, and what is left of a deleted thing.

use schemars::JsonSchema;
use serde::Serialize;

/// A page that leads on.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub(crate) struct Page<T> {
    pub(crate) data: Vec<T>,
    pub(crate) next_page: Option<String>,
}

/// A page that leads on and back.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub(crate) struct BiPage<T> {
    pub(crate) data: Vec<T>,
    pub(crate) next_page: Option<String>,
    pub(crate) prev_page: Option<String>,
}

/// Confirms that something is gone.
#[derive(Debug, Serialize)]
pub(crate) struct Deleted {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
}
