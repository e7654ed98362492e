//! Which provider a model's name leads to, and what the providers are told.

use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use reqwest::Url;
use tenure_core::model::{Failure, FailureKind, ModelConfig, Request};

use crate::http::failure;
use crate::provider::{Event, ModelInfo, ModelProvider};
use crate::providers::anthropic::{self, Anthropic};
use crate::providers::openai::{self, OpenAi};
use crate::providers::script::{self, Script};
use crate::secret::Secret;

/// The model of an installation that has an Anthropic key and chose nothing else.
const DEFAULT_CLAUDE: &str = "claude-sonnet-5";

/// The model of an installation that has no key at all.
const DEFAULT_SCRIPT: &str = "script/demo";

/// Every model of an installation. The settings can be changed while requests are under way; those keep the old ones.
#[derive(Debug)]
pub struct Models {
    routes: RwLock<Arc<Routes>>,
}

/// What the providers are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where `claude-…` goes; `None` without a key or an address.
    pub anthropic: Option<Endpoint>,
    /// Where `openai/…` goes; `None` without a key or an address.
    pub openai: Option<Endpoint>,
    /// Where `script/<name>` is looked for before the shipped ones: `<name>.yaml`.
    pub scripts_dir: Option<PathBuf>,
    /// How long a server may send nothing, before its answer or within it, until it counts as hung.
    pub stall: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
}

impl Default for Settings {
    /// No server, a stall of 120 s, 15 s to connect.
    fn default() -> Self {
        Self {
            anthropic: None,
            openai: None,
            scripts_dir: None,
            stall: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(15),
        }
    }
}

/// A model server. The caller refuses an address that is its own (see [`Endpoint::host_and_port`]), which would have it
/// call itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The address as the official SDKs want it: `https://api.anthropic.com`, `https://api.openai.com/v1`.
    pub base_url: String,
    /// The key; a server on this machine often has none.
    pub key: Option<Secret>,
}

impl Endpoint {
    /// Anthropic itself.
    pub fn anthropic(key: Secret) -> Self {
        Self { base_url: anthropic::BASE_URL.to_owned(), key: Some(key) }
    }

    /// OpenAI itself.
    pub fn openai(key: Secret) -> Self {
        Self { base_url: openai::BASE_URL.to_owned(), key: Some(key) }
    }

    /// The host and port the address leads to.
    pub fn host_and_port(&self) -> Result<(String, u16), Failure> {
        let url = self.url()?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        Ok((host, url.port_or_known_default().unwrap_or_default()))
    }

    /// The address, checked.
    pub(crate) fn url(&self) -> Result<Url, Failure> {
        let wrong = |what: &str| failure(FailureKind::Rejected, format!("the base URL {what}"));
        let url = Url::parse(self.base_url.trim()).map_err(|error| wrong(&format!("is no URL ({error})")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong("must begin with http:// or https:// and name a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("must not hold a user name or password; give a key instead"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("must not have a query or a fragment"));
        }
        Ok(url)
    }
}

/// A setting that a model doesn't take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidSetting {
    /// The field of [`ModelConfig`].
    pub field: &'static str,
    /// What was expected and what came.
    pub problem: String,
}

impl InvalidSetting {
    pub(crate) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

/// Whether a model takes its settings, as far as its name tells; for refusing them before a session relies on them.
pub fn check(config: &ModelConfig) -> Result<(), InvalidSetting> {
    match Route::of(&config.id) {
        Some(Route::Anthropic) => anthropic::check(config),
        Some(Route::OpenAi(_)) => openai::check(config),
        Some(Route::Script(_)) => Ok(()),
        None => Err(InvalidSetting::new("id", unknown(&config.id))),
    }
}

/// The tokens of a window that a reply may ask for, as far as the request says.
pub fn reply_tokens(config: &ModelConfig) -> u64 {
    let unsaid = match Route::of(&config.id) {
        Some(Route::Anthropic) => anthropic::default_max_tokens(&config.id),
        // The server gives a reply what is left of the window.
        Some(Route::OpenAi(_) | Route::Script(_)) | None => 0,
    };
    config.max_tokens.unwrap_or(unsaid).into()
}

/// Whether a model takes instructions in mid-conversation, as far as its name tells. A script ignores them.
pub fn takes_instructions(model: &str) -> bool {
    match Route::of(model) {
        Some(Route::Anthropic) => anthropic::takes_instructions(model),
        Some(Route::OpenAi(_) | Route::Script(_)) => true,
        None => false,
    }
}

impl Models {
    /// Providers with these settings. An error is an address or a key that can't be used.
    pub fn new(settings: Settings) -> Result<Self, Failure> {
        Ok(Self { routes: RwLock::new(Arc::new(Routes::new(settings)?)) })
    }

    /// Changes the settings for requests from now on. After an error the old ones stay.
    pub fn set(&self, settings: Settings) -> Result<(), Failure> {
        let routes = Arc::new(Routes::new(settings)?);
        *self.routes.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = routes;
        Ok(())
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.routes().settings.clone()
    }

    /// The provider that a model's name leads to, and what that provider calls the model.
    pub fn route(&self, model: &str) -> Result<(Arc<dyn ModelProvider>, String), Failure> {
        let routes = self.routes();
        let no_key = |provider: &str, variable: &str| {
            let advice = format!("set {variable} or run `tenure models add {provider}`");
            failure(
                FailureKind::Authentication,
                format!("no key or address for {provider}, which `{model}` needs: {advice}"),
            )
        };
        match Route::of(model) {
            Some(Route::Anthropic) => {
                let provider = routes.anthropic.clone().ok_or_else(|| no_key("anthropic", "ANTHROPIC_API_KEY"))?;
                Ok((provider, model.to_owned()))
            }
            Some(Route::OpenAi(name)) => {
                let provider =
                    routes.openai.clone().ok_or_else(|| no_key("openai", "OPENAI_API_KEY or OPENAI_BASE_URL"))?;
                Ok((provider, name.to_owned()))
            }
            Some(Route::Script(name)) => Ok((routes.script.clone(), name.to_owned())),
            None => Err(failure(FailureKind::Rejected, unknown(model))),
        }
    }

    /// Streams one reply from the provider that `request.model.id` leads to; see [`ModelProvider::stream`].
    pub fn stream(&self, request: Arc<Request>) -> BoxStream<'static, Result<Event, Failure>> {
        match self.route(&request.model.id) {
            Ok((provider, _)) => provider.stream(request),
            Err(failure) => stream::iter([Err(failure)]).boxed(),
        }
    }

    /// What each configured provider offers, or why it can't be asked.
    pub async fn list(&self) -> Vec<(&'static str, Result<Vec<ModelInfo>, Failure>)> {
        let routes = self.routes();
        let asked =
            routes.providers().into_iter().map(|provider| async move { (provider.name(), provider.models().await) });
        futures_util::future::join_all(asked).await
    }

    /// The model of an agent that names none: `claude-sonnet-5` with Anthropic, else the first model of the
    /// OpenAI-compatible server, else `script/demo`.
    pub async fn default_model(&self) -> Result<String, Failure> {
        let routes = self.routes();
        if routes.anthropic.is_some() {
            return Ok(DEFAULT_CLAUDE.to_owned());
        }
        let Some(openai) = &routes.openai else { return Ok(DEFAULT_SCRIPT.to_owned()) };
        let first = openai.models().await?.into_iter().next();
        first.map(|model| model.id).ok_or_else(|| {
            failure(FailureKind::Rejected, "the OpenAI-compatible server has no models: load one, or set TENURE_MODEL")
        })
    }

    fn routes(&self) -> Arc<Routes> {
        self.routes.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

#[derive(Debug)]
struct Routes {
    settings: Settings,
    anthropic: Option<Arc<Anthropic>>,
    openai: Option<Arc<OpenAi>>,
    script: Arc<Script>,
}

impl Routes {
    fn new(settings: Settings) -> Result<Self, Failure> {
        let named =
            |name: &str, failure: Failure| Failure { message: format!("{name}: {}", failure.message), ..failure };
        let anthropic = settings.anthropic.as_ref().map(|endpoint| Anthropic::new(endpoint, &settings));
        let openai = settings.openai.as_ref().map(|endpoint| OpenAi::new(endpoint, &settings));
        Ok(Self {
            anthropic: anthropic.transpose().map_err(|failure| named("anthropic", failure))?.map(Arc::new),
            openai: openai.transpose().map_err(|failure| named("openai", failure))?.map(Arc::new),
            script: Arc::new(Script::new(settings.scripts_dir.clone())),
            settings,
        })
    }

    fn providers(&self) -> Vec<Arc<dyn ModelProvider>> {
        let mut providers: Vec<Arc<dyn ModelProvider>> = Vec::new();
        providers.extend(self.anthropic.clone().map(|provider| provider as _));
        providers.extend(self.openai.clone().map(|provider| provider as _));
        providers.push(self.script.clone());
        providers
    }
}

/// What a model's name says.
enum Route<'m> {
    Anthropic,
    OpenAi(&'m str),
    Script(&'m str),
}

impl<'m> Route<'m> {
    fn of(model: &'m str) -> Option<Self> {
        if let Some(name) = model.strip_prefix(openai::PREFIX) {
            return (!name.is_empty()).then_some(Self::OpenAi(name));
        }
        if let Some(name) = model.strip_prefix(script::PREFIX) {
            return (!name.is_empty()).then_some(Self::Script(name));
        }
        model.strip_prefix("claude-").filter(|rest| !rest.is_empty()).map(|_| Self::Anthropic)
    }
}

fn unknown(model: &str) -> String {
    let shown: String = model.chars().take(64).collect();
    format!("unknown model `{shown}`: expected `claude-…`, `openai/<model>` or `script/<name>`")
}
