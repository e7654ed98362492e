//! Requests that may be sent twice and are carried out once.
//!
//! A client sends `Idempotency-Key` with a POST. The answer is stored in the same transaction as what the request did;
//! the same key with the same method, path and body gets it again, marked `x-tenure-replayed: true`, for 24 hours. The
//! same key with anything else is a conflict. Requests that failed did nothing and are not kept.
//!
//! The official SDKs send no key, but count their repetitions of a request in `x-stainless-retry-count`. Their answers are
//! kept under a key made from the request until they have been given; a repetition of a request whose answer wasn't
//! given (the server died in between) gets it, once, within 15 minutes. An answer that was given and lost on its way is
//! not known to be lost: repeating that request carries it out again.

use std::future::Future;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use tenure_core::id::TenantId;
use tenure_engine::{Done, Engine, Error, IdempotencyRecord, KeyOrigin, Keyed};

use super::asked::{Asked, Repetition, answer};
use crate::problem::{Kind, Problem};

/// Prints the answer to what was done.
pub(crate) type Render = Arc<dyn Fn(&Done) -> Vec<u8> + Send + Sync>;

/// What becomes of a POST that is sent twice. Every route says it in the table of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// It is carried out once, if it bears a key; its handler acts within [`once`].
    CarriedOutOnce,
    /// A key is refused, for this reason.
    KeyRefused(&'static str),
}

/// Lets a request through that has no answer yet; `Err` is the answer. It comes before everything that depends on what
/// there is, since that may have changed since the first time.
pub(super) async fn unanswered(engine: &Engine, asked: Asked) -> Result<Asked, Response> {
    let Some(repetition) = asked.repetition().filter(|repetition| repetition.again) else { return Ok(asked) };
    let sessions = engine.sessions();
    let found = sessions.answer(asked.tenant, &repetition.key).await;
    let replayed = match found {
        Ok(None) => return Ok(asked),
        Ok(Some(record)) => match repetition.origin {
            KeyOrigin::Client => replay(asked, record),
            // Once: from here on the answer counts as given.
            KeyOrigin::Request => {
                let forgotten = sessions.forget_answer(asked.tenant, repetition.key).await;
                forgotten.map_err(Problem::from).and_then(|()| replay(asked, record))
            }
        },
        Err(error) => Err(error.into()),
    };
    Err(replayed.into_response())
}

/// Carries a request out and keeps its answer. If another with the same key was quicker, its answer is given.
pub(crate) async fn once<A, F>(engine: &Engine, asked: Asked, render: Render, act: A) -> Result<Response, Problem>
where
    A: FnOnce(Option<Keyed>) -> F,
    F: Future<Output = Result<Done, Error>>,
{
    let Some(Repetition { key, origin, again: _ }) = asked.repetition() else {
        let done = act(None).await?;
        return Ok(answer(asked, render(&done)));
    };
    let (sessions, tenant) = (engine.sessions().clone(), asked.tenant);
    let keyed = Keyed { key: key.clone(), fingerprint: asked.fingerprint, render: Arc::clone(&render), origin };
    match (act(Some(keyed)).await, origin) {
        (Ok(done), KeyOrigin::Client) => Ok(answer(asked, render(&done))),
        (Ok(done), KeyOrigin::Request) => {
            let mut response = answer(asked, render(&done));
            response.extensions_mut().insert(Unmarked { tenant, key });
            Ok(response)
        }
        (Err(Error::KeyTaken(record)), _) => replay(asked, *record),
        // What is in the way may be what the other one did.
        (Err(error), KeyOrigin::Client) => match sessions.answer(tenant, &key).await {
            Ok(Some(record)) => replay(asked, record),
            Ok(None) | Err(_) => Err(error.into()),
        },
        (Err(error), KeyOrigin::Request) => Err(error.into()),
    }
}

/// With an answer whose request an SDK may repeat: that it was given isn't stored yet.
#[derive(Debug, Clone)]
pub(crate) struct Unmarked {
    tenant: TenantId,
    key: String,
}

impl Unmarked {
    /// From here on the answer counts as given. A client that went away before has none, and may ask again.
    pub(crate) fn mark_as_given(self, engine: &Engine) {
        let sessions = engine.sessions().clone();
        tokio::spawn(async move { drop(sessions.forget_answer(self.tenant, self.key).await) });
    }
}

/// The key a request bears, if it bears one.
pub(super) fn key(headers: &HeaderMap, repeats: Repeats) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    if let Repeats::KeyRefused(why) = repeats {
        return Err(Problem::invalid("Idempotency-Key", format!("not possible here, since {why}; send it without")));
    }
    let key = value.to_str().unwrap_or("");
    if (1..=255).contains(&key.len()) {
        return Ok(Some(key.to_owned()));
    }
    Err(Problem::invalid(
        "Idempotency-Key",
        format!("expected 1 to 255 visible ASCII characters, got {} bytes", value.len()),
    ))
}

fn replay(asked: Asked, record: IdempotencyRecord) -> Result<Response, Problem> {
    if record.fingerprint != asked.fingerprint {
        let message = "this Idempotency-Key was used with another request within the last 24 hours; take a new one";
        return Err(Problem::new(Kind::Conflict, message));
    }
    let mut response = answer(asked, record.body);
    *response.status_mut() = StatusCode::from_u16(record.status).unwrap_or(StatusCode::OK);
    response.headers_mut().insert(HeaderName::from_static("x-tenure-replayed"), HeaderValue::from_static("true"));
    metrics::counter!("tenure_idempotent_replays_total").increment(1);
    Ok(response)
}
