//! Problems in the peer's envelope.

use schemars::JsonSchema;
use serde::Serialize;

use crate::problem::{Kind, Problem};

/// The body of an answer that tells of a problem.
pub(crate) fn envelope(problem: &Problem, request_id: &str) -> Vec<u8> {
    let details = problem.code.map(|error_code| Details { error_code });
    let error = Told { kind: error_type(problem.kind), message: &problem.message, details };
    let envelope = Envelope { kind: "error", error, request_id };
    serde_json::to_vec(&envelope).unwrap_or_else(|_| br#"{"type":"error"}"#.to_vec())
}

/// What a problem is told in.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(crate) struct Envelope<'e> {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "error"))]
    kind: &'static str,
    error: Told<'e>,
    /// The request's id, under which the server's log has it; null when the server didn't read the request.
    #[schemars(with = "Option<&str>")]
    request_id: &'e str,
}

/// The problem itself.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ErrorTold")]
pub(crate) struct Told<'e> {
    #[serde(rename = "type")]
    kind: &'static str,
    /// For a person: where it is (the path of a field, if it is about one), what was expected, what came, and what to do.
    message: &'e str,
    /// For a program: which of the API's named causes it is, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

/// For a program: which of the API's named causes it is.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ErrorDetails")]
struct Details {
    #[schemars(extend("enum" = CODES))]
    error_code: &'static str,
}

const CODES: [&str; 4] =
    ["environment_archived", "environment_not_found", "invalid_config_type_change", "invalid_metadata"];

/// The API's name for a kind of problem.
pub(crate) fn error_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid
        | Kind::MethodNotAllowed
        | Kind::UnsupportedMediaType
        | Kind::Conflict
        | Kind::InTheWay
        | Kind::NoSuchPart => "invalid_request_error",
        Kind::Unauthenticated => "authentication_error",
        Kind::Forbidden => "permission_error",
        Kind::NotFound | Kind::Gone => "not_found_error",
        Kind::TooSlow => "timeout_error",
        Kind::TooLarge => "request_too_large",
        Kind::Busy { .. } => "rate_limit_error",
        Kind::Unavailable => "overloaded_error",
        Kind::Internal => "api_error",
    }
}
