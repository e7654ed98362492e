//! Problems in the peer's envelope.

use serde::Serialize;

use crate::problem::{Kind, Problem};

/// The body of an answer that tells of a problem.
pub(crate) fn envelope(problem: &Problem, request_id: &str) -> Vec<u8> {
    let details = problem.code.map(|error_code| Details { error_code });
    let error = Told { kind: error_type(problem.kind), message: &problem.message, details };
    let envelope = Envelope { kind: "error", error, request_id };
    serde_json::to_vec(&envelope).unwrap_or_else(|_| br#"{"type":"error"}"#.to_vec())
}

#[derive(Serialize)]
struct Envelope<'e> {
    #[serde(rename = "type")]
    kind: &'static str,
    error: Told<'e>,
    request_id: &'e str,
}

#[derive(Serialize)]
struct Told<'e> {
    #[serde(rename = "type")]
    kind: &'static str,
    message: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

#[derive(Serialize)]
struct Details {
    error_code: &'static str,
}

fn error_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid | Kind::MethodNotAllowed | Kind::UnsupportedMediaType | Kind::Conflict | Kind::InTheWay => {
            "invalid_request_error"
        }
        Kind::Unauthenticated => "authentication_error",
        Kind::Forbidden => "permission_error",
        Kind::NotFound => "not_found_error",
        Kind::TooSlow => "timeout_error",
        Kind::TooLarge => "request_too_large",
        Kind::Busy { .. } => "rate_limit_error",
        Kind::Unavailable => "overloaded_error",
        Kind::Internal => "api_error",
    }
}
