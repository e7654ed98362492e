//! Anthropic's Messages API, streamed.
//!
//! Wire forms after `anthropic` 2.11 for Python (`types/message_create_params.py`, `types/raw_message_stream_event.py`)
//! and <https://platform.claude.com/docs/en/build-with-claude/streaming>.

mod catalog;
mod request;
mod stream;

use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use reqwest::header::HeaderName;
use serde::Deserialize;
use tenure_core::model::{Failure, Request, Speed};

use crate::http::{Server, events};
use crate::models::{Endpoint, Settings};
use crate::provider::{Event, ModelInfo, ModelProvider};

pub(crate) use catalog::{check, default_max_tokens, takes_instructions};

/// The address the SDKs use, without a path.
pub(crate) const BASE_URL: &str = "https://api.anthropic.com";

#[derive(Debug)]
pub(crate) struct Anthropic {
    server: Server,
}

impl Anthropic {
    pub(crate) fn new(endpoint: &Endpoint, settings: &Settings) -> Result<Self, Failure> {
        let mut base = endpoint.url()?;
        // The SDKs' base URL has no version, but people give one, since OpenAI's has.
        let path = base.path().trim_end_matches('/').trim_end_matches("/v1").to_owned();
        base.set_path(&path);
        let auth = (HeaderName::from_static("x-api-key"), "");
        let server = Server::new(base, endpoint.key.as_ref(), auth, settings)?;
        Ok(Self { server: server.with_header("anthropic-version", "2023-06-01") })
    }
}

impl ModelProvider for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn stream(&self, request: Arc<Request>) -> BoxStream<'static, Result<Event, Failure>> {
        let server = self.server.clone();
        let mut decoder = stream::Decoder::new(server.clone());
        let open = async move {
            let body = request::Body::new(&request)?;
            let betas: &[_] = match request.model.speed {
                Speed::Standard => &[],
                Speed::Fast => &[("anthropic-beta", "fast-mode-2026-02-01")],
            };
            server.stream("/v1/messages", betas, &body).await
        };
        events(open, move |frame| decoder.decode(frame))
    }

    fn models(&self) -> BoxFuture<'_, Result<Vec<ModelInfo>, Failure>> {
        #[derive(Deserialize)]
        struct Page {
            data: Vec<Model>,
        }
        #[derive(Deserialize)]
        struct Model {
            id: String,
            display_name: Option<String>,
        }
        Box::pin(async {
            // 1,000 is the largest page, and many times the models there are.
            let page: Page = self.server.get("/v1/models?limit=1000").await?;
            let info = |model: Model| ModelInfo { id: model.id, display_name: model.display_name };
            Ok(page.data.into_iter().map(info).collect())
        })
    }
}
