//! Reading a body within a bound, and not for ever.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody as _};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use crate::problem::{Kind, Problem};

/// How long a client may take from one piece of a body to the next.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much of a body that is too large is read and dropped before the answer, and for how long at most. Many clients
/// send everything before they read: without this they meet a closed connection and never see the answer.
const DROPPED_BYTES: usize = 64 << 20;
const DROPPED_FOR: Duration = Duration::from_secs(10);

/// How large the body of a route may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyLimit {
    /// 1 MiB: names, prompts and settings.
    Ordinary,
    /// 32 MiB: content with pictures and documents in it.
    Content,
}

impl BodyLimit {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Ordinary => 1 << 20,
            Self::Content => 32 << 20,
        }
    }
}

/// The whole body.
pub(crate) async fn read(body: Body, limit: BodyLimit) -> Result<Bytes, Problem> {
    let most = limit.bytes();
    let too_large = || {
        let mib = most >> 20;
        Problem::new(Kind::TooLarge, format!("expected a body of at most {mib} MiB ({most} bytes), got a larger one"))
    };
    let known_as_too_large = body.size_hint().lower() > most as u64;
    let mut pieces = body.into_data_stream();
    if known_as_too_large {
        drop_rest(pieces).await;
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    loop {
        let piece = tokio::time::timeout(PATIENCE, pieces.next()).await.map_err(|_| {
            let seconds = PATIENCE.as_secs();
            Problem::new(Kind::TooSlow, format!("the body stood still for {seconds} s before it was complete"))
        })?;
        let piece = match piece {
            None if whole.is_empty() => return Ok(first),
            None => return Ok(whole.freeze()),
            Some(piece) => piece.map_err(|_| Problem::invalid("", "the body broke off before it was complete"))?,
        };
        if first.len() + whole.len() + piece.len() > most {
            drop_rest(pieces).await;
            return Err(too_large());
        }
        // Most bodies come in one piece, which needs no copy.
        if first.is_empty() && whole.is_empty() {
            first = piece;
            continue;
        }
        whole.extend_from_slice(&std::mem::take(&mut first));
        whole.extend_from_slice(&piece);
    }
}

async fn drop_rest(mut pieces: BodyDataStream) {
    let reading = async {
        let mut dropped = 0;
        while dropped < DROPPED_BYTES
            && let Some(Ok(piece)) = pieces.next().await
        {
            dropped += piece.len();
        }
    };
    // Who is slower than that is answered as it is.
    let _ = tokio::time::timeout(DROPPED_FOR, reading).await;
}
