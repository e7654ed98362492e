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
use axum::response::Response;
use sha2::{Digest as _, Sha256};
use tenure_engine::{Done, Engine, Error, IdempotencyRecord, KeyOrigin, Keyed};

use super::asked::{Asked, SdkAttempt, answer};
use crate::problem::{Kind, Problem};

/// Prints the answer to what was done.
pub(crate) type Render = Arc<dyn Fn(&Done) -> Vec<u8> + Send + Sync>;

/// Carries a request out, or gives the answer it got the first time.
pub(crate) async fn once<A, F>(engine: &Engine, asked: Asked, render: Render, act: A) -> Result<Response, Problem>
where
    A: FnOnce(Option<Keyed>) -> F,
    F: Future<Output = Result<Done, Error>>,
{
    let key = match (asked.key.clone(), asked.sdk_attempt) {
        (Some(key), _) => key,
        (None, Some(attempt)) => return once_for_sdk(engine, asked, attempt, render, act).await,
        (None, None) => {
            let done = act(None).await?;
            return Ok(answer(asked, render(&done)));
        }
    };
    if let Some(record) = engine.sessions().answer(asked.tenant, &key).await? {
        return replay(asked, record);
    }
    let kept = Arc::clone(&render);
    let render_kept = Box::new(move |done: &Done| kept(done));
    let keyed = Keyed { key, fingerprint: asked.fingerprint, render: render_kept, origin: KeyOrigin::Client };
    match act(Some(keyed)).await {
        Ok(done) => Ok(answer(asked, render(&done))),
        Err(Error::KeyTaken(record)) => replay(asked, *record),
        Err(error) => Err(error.into()),
    }
}

/// The same for a request of an official SDK's, which may be a repetition.
async fn once_for_sdk<A, F>(
    engine: &Engine,
    asked: Asked,
    attempt: SdkAttempt,
    render: Render,
    act: A,
) -> Result<Response, Problem>
where
    A: FnOnce(Option<Keyed>) -> F,
    F: Future<Output = Result<Done, Error>>,
{
    let sessions = engine.sessions().clone();
    let tenant = asked.tenant;
    let hash =
        Sha256::new().chain_update(asked.fingerprint).chain_update(attempt.caller.bits().to_be_bytes()).finalize();
    let key = format!("sdk {hash:x}");
    if attempt.before > 0
        && let Some(record) = sessions.answer(tenant, &key).await?
    {
        sessions.forget_answer(tenant, key).await?;
        return replay(asked, record);
    }
    let kept = Arc::clone(&render);
    let render_kept = Box::new(move |done: &Done| kept(done));
    let fingerprint = asked.fingerprint;
    let keyed = Keyed { key: key.clone(), fingerprint, render: render_kept, origin: KeyOrigin::Request };
    let done = act(Some(keyed)).await?;
    let response = answer(asked, render(&done));
    // From here on the answer counts as given.
    tokio::spawn(async move { drop(sessions.forget_answer(tenant, key).await) });
    Ok(response)
}

/// The key a request bears, if it bears one.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().unwrap_or("");
    if (1..=255).contains(&key.len()) {
        return Ok(Some(key.to_owned()));
    }
    Err(Problem::invalid(
        "Idempotency-Key",
        format!("expected 1 to 255 visible ASCII characters, got {} bytes", value.len()),
    ))
}

/// For a request whose answer must not be kept.
pub(crate) fn refuse_key(asked: &Asked, why: &str) -> Result<(), Problem> {
    match asked.key {
        None => Ok(()),
        Some(_) => Err(Problem::invalid("Idempotency-Key", format!("not possible here, since {why}; send it without"))),
    }
}

fn replay(asked: Asked, record: IdempotencyRecord) -> Result<Response, Problem> {
    if record.fingerprint != asked.fingerprint {
        let message = "this Idempotency-Key was used with another request within the last 24 hours; take a new one";
        return Err(Problem::new(Kind::Conflict, message));
    }
    let mut response = answer(asked, record.body);
    *response.status_mut() = StatusCode::from_u16(record.status).unwrap_or(StatusCode::OK);
    response.headers_mut().insert(HeaderName::from_static("x-tenure-replayed"), HeaderValue::from_static("true"));
    Ok(response)
}
