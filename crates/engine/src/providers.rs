//! The model servers an operator adds while Tenure runs. Their keys are sealed in the store.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tenure_core::content::Block;
use tenure_core::model::{Failure, Message, ModelConfig, Part, Request, Role};
use tenure_core::price::ModelFacts;
use tenure_models::{Endpoint, ModelInfo, Secret, check};

use crate::engine::Shared;
use crate::error::Error;

/// The plain setting that names the default model.
const DEFAULT_MODEL: &str = "models.default";

/// Model servers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Providers {
    shared: Arc<Shared>,
}

/// A kind of model server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Anthropic's Messages API; models named `claude-…`.
    Anthropic,
    /// Chat completions as OpenAI, Ollama, vLLM and llama.cpp have them; models named `openai/…`.
    OpenAi,
}

/// What is sealed for a provider.
#[derive(Serialize, Deserialize)]
struct Sealed {
    base_url: Option<String>,
    key: Option<String>,
}

impl Provider {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Anthropic, Self::OpenAi];

    /// The name in commands and lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
        }
    }

    /// The provider of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.name() == name)
    }

    fn secret_name(self) -> String {
        format!("models.{}", self.name())
    }
}

impl Providers {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Adds a model server, or replaces the one of that kind; in force at once and after every restart. It goes before
    /// what the environment says, being the later word. `None` for the address is the provider's own.
    pub async fn add(&self, provider: Provider, base_url: Option<String>, key: Option<String>) -> Result<(), Error> {
        if base_url.is_none() && key.is_none() {
            return Err(Error::invalid("key", "expected a key, or the base_url of a server that needs none"));
        }
        let sealed = Sealed { base_url, key };
        self.put_in_force(provider, &sealed)?;
        let text = serde_json::to_vec(&sealed).map_err(|error| Error::Internal(Box::new(error)))?;
        self.shared.store.put_secret(provider.secret_name(), text).await?;
        self.follow_default().await
    }

    /// Puts in force what was added in earlier lives.
    pub(crate) async fn restore(&self) -> Result<(), Error> {
        for provider in Provider::ALL {
            let Some(text) = self.shared.store.secret(provider.secret_name()).await? else { continue };
            match serde_json::from_slice::<Sealed>(&text) {
                Ok(sealed) => self.put_in_force(provider, &sealed)?,
                Err(error) => {
                    tracing::error!(%error, provider = provider.name(), "its sealed key can't be read; add it again")
                }
            }
        }
        Ok(())
    }

    /// The model an agent gets when nobody names one: the operator's choice, or what the model servers offer, or the
    /// shipped script.
    pub async fn default_model(&self) -> String {
        if let Some(model) = &self.shared.config.default_model {
            return model.clone();
        }
        match self.shared.store.setting(DEFAULT_MODEL.to_owned()).await {
            Ok(Some(model)) => model,
            Ok(None) | Err(_) => self.shared.models.default_model().await.unwrap_or_else(|_| "script/demo".to_owned()),
        }
    }

    /// Chooses the default model; `None` goes back to what the model servers offer.
    pub async fn set_default(&self, model: Option<String>) -> Result<(), Error> {
        if let Some(model) = &model {
            check_model(&ModelConfig::named(model))?;
        }
        self.shared.store.put_setting(DEFAULT_MODEL.to_owned(), model).await?;
        self.follow_default().await
    }

    /// Whether a model takes instructions in mid-conversation, as far as its name tells.
    pub fn takes_instructions(&self, model: &str) -> bool {
        tenure_models::takes_instructions(model)
    }

    /// What each model server offers, or why it can't be asked.
    pub async fn list(&self) -> Vec<(&'static str, Result<Vec<ModelInfo>, Failure>)> {
        self.shared.models.list().await
    }

    /// What is known of a model at its ordinary settings.
    pub fn facts(&self, model: &str) -> ModelFacts {
        self.shared.config.models.facts(&ModelConfig::named(model))
    }

    /// Asks a model to say a word; gives what it said.
    pub async fn test(&self, model: String) -> Result<Result<String, Failure>, Error> {
        use futures_util::StreamExt;
        use tenure_core::model::ReplyPart;
        let config = ModelConfig { max_tokens: Some(256), ..ModelConfig::named(model) };
        check_model(&config)?;
        let parts = vec![Part::Content { block: Block::text("Say the word ready.") }];
        let request = Request {
            model: config,
            system: None,
            messages: vec![Arc::new(Message { role: Role::User, parts })],
            tools: Vec::new(),
            attachments: std::collections::BTreeMap::new(),
        };
        let mut events = self.shared.models.stream(Arc::new(request));
        while let Some(event) = events.next().await {
            match event {
                Ok(tenure_models::Event::Finished(reply)) => {
                    let texts = reply.parts.into_iter().filter_map(|part| match part {
                        ReplyPart::Text(text) => Some(text),
                        ReplyPart::Thinking { .. } | ReplyPart::RedactedThinking(_) | ReplyPart::ToolUse { .. } => None,
                    });
                    return Ok(Ok(texts.collect()));
                }
                Ok(_) => {}
                Err(failure) => return Ok(Err(failure)),
            }
        }
        Ok(Ok(String::new()))
    }

    fn put_in_force(&self, provider: Provider, sealed: &Sealed) -> Result<(), Error> {
        let key = sealed.key.as_ref().map(Secret::new);
        let mut settings = self.shared.models.settings();
        let own = match provider {
            Provider::Anthropic => Endpoint::anthropic(Secret::new("")),
            Provider::OpenAi => Endpoint::openai(Secret::new("")),
        };
        let base_url = sealed.base_url.clone().unwrap_or(own.base_url);
        let endpoint = Some(Endpoint { base_url, key });
        match provider {
            Provider::Anthropic => settings.anthropic = endpoint,
            Provider::OpenAi => settings.openai = endpoint,
        }
        self.shared.models.set(settings).map_err(|failure| Error::invalid("base_url", failure.message))
    }

    async fn follow_default(&self) -> Result<(), Error> {
        let agents = crate::agents::Agents::new(self.shared.clone());
        crate::agents::ensure_default(&agents, self.default_model().await).await
    }
}

/// Refuses settings a model doesn't take, before a session relies on them.
pub(crate) fn check_model(config: &ModelConfig) -> Result<(), Error> {
    check(config).map_err(|invalid| Error::invalid(format!("model.{}", invalid.field), invalid.problem))
}
