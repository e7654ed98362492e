//! OpenAI's chat completions, streamed, as OpenAI, Ollama, vLLM and llama.cpp speak them.

mod request;
mod stream;

use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;
use tenure_core::model::{Failure, ModelConfig, Request};

use crate::http::{Server, events};
use crate::models::{Endpoint, InvalidSetting, Settings};
use crate::provider::{Event, ModelInfo, ModelProvider};

/// The address the SDKs use; unlike Anthropic's it holds the version.
pub(crate) const BASE_URL: &str = "https://api.openai.com/v1";

/// What a routed name begins with.
pub(crate) const PREFIX: &str = "openai/";

#[derive(Debug)]
pub(crate) struct OpenAi {
    server: Server,
}

impl OpenAi {
    pub(crate) fn new(endpoint: &Endpoint, settings: &Settings) -> Result<Self, Failure> {
        let mut base = endpoint.url()?;
        if base.path() == "/" {
            // `http://localhost:11434`, as Ollama prints it.
            base.set_path("/v1");
        }
        let server = Server::new(base, endpoint.key.as_ref(), (AUTHORIZATION, "Bearer "), settings)?;
        Ok(Self { server })
    }
}

impl ModelProvider for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn stream(&self, request: Arc<Request>) -> BoxStream<'static, Result<Event, Failure>> {
        let server = self.server.clone();
        let mut decoder = stream::Decoder::new(server.clone());
        let open = async move {
            let dialect = request::Dialect::of(server.host());
            let body = request::Body::new(&request, dialect)?;
            server.stream("/chat/completions", &[], &body).await
        };
        events(open, move |frame| decoder.decode(frame))
    }

    fn models(&self) -> BoxFuture<'_, Result<Vec<ModelInfo>, Failure>> {
        #[derive(Deserialize)]
        struct List {
            // Ollama without any model says null.
            data: Option<Vec<Model>>,
        }
        #[derive(Deserialize)]
        struct Model {
            id: String,
        }
        Box::pin(async {
            let list: List = self.server.get("/models").await?;
            let chats = list.data.unwrap_or_default().into_iter().filter(|model| chats(&model.id));
            let info = |model: Model| ModelInfo { id: format!("{PREFIX}{}", model.id), display_name: None };
            Ok(chats.map(info).collect())
        })
    }
}

/// Whether the server takes these settings, as far as its API says; models behind it may take less.
pub(crate) fn check(config: &ModelConfig) -> Result<(), InvalidSetting> {
    if let Some(temperature) = config.temperature
        && !(0.0..=2.0).contains(&temperature)
    {
        return Err(InvalidSetting::new("temperature", format!("expected 0 to 2, got {temperature}")));
    }
    if config.max_tokens == Some(0) {
        return Err(InvalidSetting::new("max_tokens", "expected at least 1, got 0"));
    }
    if config.inference_geo.is_some() {
        return Err(InvalidSetting::new("inference_geo", "openai/ models have no regions; leave it out"));
    }
    Ok(())
}

/// Whether a model talks. Lists hold everything a server has, without saying what it is for.
fn chats(id: &str) -> bool {
    let others =
        ["embed", "whisper", "tts", "dall-e", "moderation", "transcribe", "realtime", "gpt-image", "sora", "rerank"];
    let id = id.to_ascii_lowercase();
    !others.iter().any(|other| id.contains(other))
}

#[cfg(test)]
mod tests {
    use super::chats;

    #[test]
    fn models_that_do_not_talk_are_left_out() {
        assert!(["gpt-5.2", "llama3.2:latest", "Qwen/Qwen3-8B", "openai/gpt-oss-20b"].into_iter().all(chats));
        assert!(
            !["text-embedding-3-small", "nomic-embed-text:latest", "whisper-1", "gpt-4o-mini-tts"]
                .into_iter()
                .any(chats)
        );
    }
}
