//! Answers that tell of a problem: every kind of problem with its status, its envelope and its headers.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::operation::{Operation, Schemas};
use crate::dialects::managed_agents::error;
use crate::problem::{Kind, Problem};

/// It is refused before any handler, too.
const ADDRESS_TOO_LONG: &str = "The address with its query is longer than 65,534 bytes. The answer has no body.";

/// A header that names what can't be read goes before any handler.
const HEADERS_TOO_LARGE: &str =
    "Its line and headers have more than 64 KiB, or there are more than 100. Without a body.";

/// What a kind of problem means to a client.
fn meaning(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid => {
            "Something in the request is wrong, or not possible as things are; the message begins with the field."
        }
        Kind::Unauthenticated => "There is no key, or it is unknown or revoked.",
        Kind::Forbidden => {
            "The request came under a `Host` or from an `Origin` that this server doesn't know; or the sandbox's user may not do that to a file."
        }
        Kind::NotFound => "There is no such thing, or it is another tenant's.",
        Kind::Gone => "It was removed for good.",
        Kind::NoSuchPart => "The range that was asked for isn't in the file.",
        Kind::MethodNotAllowed => "The path takes other methods; `allow` names them.",
        Kind::TooSlow => "The body stood still for too long.",
        Kind::Conflict => {
            "Something has changed meanwhile, a name is taken, or an `Idempotency-Key` was used otherwise."
        }
        Kind::InTheWay => "What is in the way goes by itself: try again.",
        Kind::TooLarge => "The body is too large.",
        Kind::UnsupportedMediaType => "The body isn't said to be JSON.",
        Kind::Busy { .. } => {
            "There is too much to do, or too much input waits in the session: wait as long as `retry-after` says."
        }
        Kind::Unavailable => "The server is starting or stopping, or has too many connections.",
        Kind::Internal => "The server failed; its log has the cause under the request's id.",
    }
}

/// Which kinds of problems a route may tell of.
fn kinds(method: &Method, path: &str, open: bool, operation: &Operation) -> Vec<Kind> {
    let busy = Kind::Busy { retry_after: Duration::ZERO };
    let writes = *method != Method::GET;
    [
        (Kind::Invalid, !open),
        (Kind::Unauthenticated, !open),
        (Kind::Forbidden, true),
        (Kind::NotFound, path.contains('{') || operation.looks_up),
        (Kind::Gone, operation.may_be_gone),
        (Kind::NoSuchPart, operation.may_lack_part),
        (Kind::TooSlow, operation.body.is_some()),
        (Kind::Conflict, writes || operation.may_be_gone),
        (Kind::InTheWay, writes),
        (Kind::TooLarge, operation.body.is_some()),
        (Kind::UnsupportedMediaType, operation.body.is_some()),
        (busy, !open),
        (Kind::Internal, true),
        (Kind::Unavailable, true),
    ]
    .into_iter()
    .filter_map(|(kind, may)| may.then_some(kind))
    .collect()
}

/// The answers, by status, of a route that didn't succeed.
pub(super) fn answers(method: &Method, path: &str, open: bool, operation: &Operation) -> Map<String, Value> {
    let kinds = kinds(method, path, open, operation);
    let mut answers: Map<String, Value> = kinds
        .into_iter()
        .map(|kind| {
            let status = status(kind).as_u16();
            (status.to_string(), json!({"$ref": format!("#/components/responses/{}", name(status))}))
        })
        .collect();
    for status in [414, 431] {
        answers.insert(status.to_string(), json!({"$ref": format!("#/components/responses/{}", name(status))}));
    }
    answers
}

/// Every answer that tells of a problem.
pub(super) fn components(schemas: &mut Schemas) -> Map<String, Value> {
    let (envelope, told) = (schemas.apart::<error::Envelope<'_>>(), schemas.apart::<error::Told<'_>>());
    // Frames of streams name it too.
    schemas.of::<error::Envelope<'_>>();
    let mut by_status: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
    // Another method is no route, so it has no description to answer within.
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::MethodNotAllowed) {
        by_status.entry(status(kind).as_u16()).or_default().push(kind);
    }
    let mut all: Map<String, Value> = by_status
        .into_iter()
        .map(|(status, kinds)| {
            let meanings: Vec<&str> = kinds.iter().map(|kind| meaning(*kind)).collect();
            let types: Vec<&str> = kinds.iter().map(|kind| error::error_type(*kind)).collect();
            (
                name(status),
                json!({
                    "description": meanings.join(" Or: "),
                    "headers": headers(&kinds),
                    "content": {"application/json": {"schema": of_types(&envelope, &told, &types)}},
                }),
            )
        })
        .collect();
    all.insert(name(414), json!({"description": ADDRESS_TOO_LONG}));
    all.insert(name(431), json!({"description": HEADERS_TOO_LARGE}));
    all
}

/// The envelope with only these types of errors in it.
fn of_types(envelope: &Value, told: &Value, types: &[&str]) -> Value {
    let (mut envelope, mut told, mut types) = (envelope.clone(), told.clone(), types.to_vec());
    types.dedup();
    told["properties"]["type"] = json!({"enum": types});
    envelope["properties"]["error"] = told;
    envelope
}

fn headers(kinds: &[Kind]) -> Value {
    let mut headers = json!({"request-id": {"$ref": "#/components/headers/request-id"}});
    if kinds.iter().any(|kind| Problem::new(*kind, "").retry_after().is_some()) {
        headers["retry-after"] = json!({"$ref": "#/components/headers/retry-after"});
    }
    if kinds.contains(&Kind::Conflict) {
        headers["x-should-retry"] = json!({"$ref": "#/components/headers/x-should-retry"});
    }
    if kinds.contains(&Kind::Unauthenticated) {
        headers["www-authenticate"] = json!({"$ref": "#/components/headers/www-authenticate"});
    }
    headers
}

fn status(kind: Kind) -> StatusCode {
    Problem::new(kind, "").status()
}

fn name(status: u16) -> String {
    let name = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    name.unwrap_or("Other").replace(' ', "")
}
