//! A request whose body is taken as it comes.

use std::time::Duration;

use axum::body::BodyDataStream;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tenure_core::id::TenantId;

use super::{Caller, Query};
use crate::app::App;
use crate::problem::{Kind, Problem};

/// How long a client may take from one piece of a body to the next.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request whose key is good and whose body is still to come.
#[derive(Debug)]
pub(crate) struct Streamed {
    pub(crate) tenant: TenantId,
    pub(crate) query: Query,
    pub(crate) pieces: Pieces,
}

impl FromRequest<App> for Streamed {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &App) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let Caller { tenant, .. } = parts.extensions.get::<Caller>().copied().ok_or_else(Problem::internal)?;
        let query = Query::parse(parts.uri.query().unwrap_or(""))?;
        Ok(Self { tenant, query, pieces: Pieces(body.into_data_stream()) })
    }
}

/// The pieces of a body.
#[derive(Debug)]
pub(crate) struct Pieces(BodyDataStream);

impl Pieces {
    /// The next piece; `None` once all have come.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        match tokio::time::timeout(PATIENCE, self.0.next()).await {
            Ok(None) => Ok(None),
            Ok(Some(Ok(piece))) => Ok(Some(piece)),
            Ok(Some(Err(_))) => Err(Problem::invalid("", "the body broke off before it was complete")),
            Err(_) => {
                let seconds = PATIENCE.as_secs();
                Err(Problem::new(Kind::TooSlow, format!("the body stood still for {seconds} s before it was complete")))
            }
        }
    }
}
