//! Serving the document.
//!
//! It needs no key: it is the same for every installation of a version and tells nothing of anybody; it says how a key is
//! sent, and those who read it, generators and browsers, have none to send yet. `Host` and `Origin` are checked as
//! everywhere.

use std::sync::LazyLock;

use axum::http::{HeaderName, HeaderValue, header};
use serde_json::json;

use super::operation::Operation;
use super::{Schemas, openapi};

static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi().to_string());

/// `GET /v1/openapi.json`.
pub(crate) async fn serve() -> ([(HeaderName, HeaderValue); 1], &'static str) {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], &DOCUMENT)
}

pub(crate) fn describe(_: &mut Schemas) -> Operation {
    let object = json!({"type": "object", "required": ["openapi", "info", "paths", "components"]});
    Operation::new("get_openapi", object)
}
