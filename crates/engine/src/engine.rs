//! The engine itself: what it is made of, how it starts and how it ends.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tenure_core::content::BlobId;
use tenure_core::model::ToolSpec;
use tenure_core::session::{ContextPolicy, Lifetimes, RetryPolicy};
use tenure_core::time::Timestamp;
use tenure_models::{ModelTable, Models};
use tenure_sandbox::Backend;
use tenure_store::Store;
use tenure_tools::{HostedTool, Tool, ToolLimits};
use tokio::runtime::Handle;
use tokio::sync::{RwLock, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agents::Agents;
use crate::clock::Clock;
use crate::definitions::Definitions;
use crate::directory::Directory;
use crate::environments::Environments;
use crate::error::Error;
use crate::forking::Forking;
use crate::keys::Keys;
use crate::line::Line;
use crate::live::Channels;
use crate::places::Places;
use crate::providers::Providers;
use crate::sandboxes::Sandboxes;
use crate::sessions::Sessions;
use crate::timers::{self, Timers};
use crate::{agents, environments, housekeeping, recovery};

/// The most calls that the server itself runs at once: each may hold a page in memory.
const HOSTED_CALLS: usize = 64;

/// What an engine is put together from.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// How sandboxes are made.
    pub backend: Arc<dyn Backend>,
    /// The models.
    pub models: Arc<Models>,
    /// The tools agents can have in their sandbox.
    pub tools: &'static [&'static dyn Tool],
    /// The tools agents can have that the server itself runs.
    pub hosted_tools: Vec<Arc<dyn HostedTool>>,
    /// Time and randomness.
    pub clock: Clock,
}

/// The operator's choices.
#[derive(Debug, Clone)]
pub struct Config {
    /// When sessions stop or end if their creator doesn't say. Default: the sandbox stops after 60 idle minutes.
    pub lifetimes: Lifetimes,
    /// How a failing model is tried again.
    pub retry: RetryPolicy,
    /// How long a conversation may become. Its window is for models of which nothing is known.
    pub context: ContextPolicy,
    /// Limits of tool calls.
    pub tool_limits: ToolLimits,
    /// The most sandboxes alive at once; more wait for room. Default: 1,000.
    pub max_sandboxes: usize,
    /// How long a sandbox that was opened for people, beside its session, is kept after the last use. Default: 30 s.
    pub visit_linger: Duration,
    /// How many snapshots of turns' ends are kept for each session; older ones are removed. `None` keeps all. Default: 100.
    pub snapshots_kept: Option<usize>,
    /// The most requests to models at once; more wait for a place. Default: 256.
    pub max_model_requests: usize,
    /// How long a session stays in memory after its last work. Default: 5 s.
    pub awake_linger: Duration,
    /// Secrets that are accepted as keys of the default tenant besides the stored ones.
    pub root_keys: Vec<String>,
    /// The model of the agent `assistant`; `None` takes what the models offer.
    pub default_model: Option<String>,
    /// What is known of models: prices and context windows. Default: the shipped list.
    pub models: ModelTable,
}

impl Default for Config {
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        Self {
            lifetimes: Lifetimes { sandbox_idle: Some(hour), ..Lifetimes::default() },
            retry: RetryPolicy::default(),
            context: ContextPolicy::default(),
            tool_limits: ToolLimits::default(),
            max_sandboxes: 1_000,
            visit_linger: Duration::from_secs(30),
            snapshots_kept: Some(100),
            max_model_requests: 256,
            awake_linger: Duration::from_secs(5),
            root_keys: Vec::new(),
            default_model: None,
            models: ModelTable::default(),
        }
    }
}

/// Numbers for whoever watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Sessions in memory.
    pub awake: usize,
    /// Sandboxes this process is attached to.
    pub sandboxes: usize,
    /// Room for sandboxes.
    pub sandbox_room: Room,
    /// Places for requests to models.
    pub model_requests: Room,
}

/// Something of which there is only so much, and who waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// How much of it is taken.
    pub in_use: usize,
    /// How much there is.
    pub limit: usize,
    /// How many sessions wait for it.
    pub waiting: usize,
    /// For how long the one that has waited longest has.
    pub oldest_wait: Option<Duration>,
}

impl Room {
    pub(crate) fn new<T>(in_use: usize, limit: usize, line: &Line<T>, now: Timestamp) -> Self {
        let oldest_wait = line.since().map(|since| now.since(since));
        Self { in_use, limit, waiting: line.len(), oldest_wait }
    }
}

/// What all parts of a running engine share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) models: Arc<Models>,
    pub(crate) tools: &'static [&'static dyn Tool],
    pub(crate) hosted_tools: Vec<Arc<dyn HostedTool>>,
    /// Places for calls that the server itself runs.
    pub(crate) hosted_places: Arc<Semaphore>,
    pub(crate) tool_specs: Vec<ToolSpec>,
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    pub(crate) directory: Directory,
    pub(crate) sandboxes: Arc<Sandboxes>,
    pub(crate) places: Arc<Places>,
    pub(crate) channels: Channels,
    pub(crate) definitions: Definitions,
    pub(crate) timers: Timers,
    /// Held together from the moment an environment is looked up for a session until the session is stored, and alone
    /// while one is archived or deleted: so no session is made in an environment that is gone.
    pub(crate) choosing_environments: RwLock<()>,
    /// Sessions that are being made from others.
    pub(crate) forking: Forking,
    /// The model requests in flight, and the calls that the server itself runs.
    pub(crate) requests: TaskTracker,
    /// Set once the engine ends: what is asked for from then on is left to the next start.
    pub(crate) draining: CancellationToken,
    /// Where owners and keepers run, whoever wakes them.
    pub(crate) runtime: Handle,
}

/// A running engine. Cheap to clone; it ends with [`shutdown`](Self::shutdown).
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    sessions: Sessions,
    agents: Agents,
    environments: Environments,
    keys: Keys,
    providers: Providers,
    background: Arc<OnceLock<[JoinHandle<()>; 3]>>,
}

impl Engine {
    /// Starts it: the default tenant's agent and environment are made if need be, and cut-off work is taken up in the
    /// background.
    pub async fn start(parts: Parts, config: Config) -> Result<Self, Error> {
        let Parts { store, backend, models, tools, hosted_tools, clock } = parts;
        let hosted_specs = hosted_tools.iter().map(|tool| tool.spec());
        let tool_specs =
            tools.iter().map(|tool| tool.spec()).chain(hosted_specs).chain([tenure_tools::ask()]).collect();
        let root_keys = config.root_keys.clone();
        let shared = Arc::new_cyclic(|shared| Shared {
            store,
            models,
            tools,
            hosted_tools,
            hosted_places: Arc::new(Semaphore::new(HOSTED_CALLS)),
            tool_specs,
            sandboxes: Arc::new(Sandboxes::new(
                backend,
                config.max_sandboxes,
                config.visit_linger,
                clock.clone(),
                Handle::current(),
            )),
            places: Arc::new(Places::new(config.max_model_requests)),
            clock,
            config,
            directory: Directory::new(shared.clone()),
            channels: Channels::default(),
            definitions: Definitions::default(),
            timers: Timers::new(),
            choosing_environments: RwLock::new(()),
            forking: Forking::default(),
            requests: TaskTracker::new(),
            draining: CancellationToken::new(),
            runtime: Handle::current(),
        });
        let engine = Self {
            sessions: Sessions::new(shared.clone()),
            agents: Agents::new(shared.clone()),
            environments: Environments::new(shared.clone()),
            keys: Keys::new(shared.clone(), &root_keys),
            providers: Providers::new(shared.clone()),
            background: Arc::default(),
            shared,
        };
        engine.providers.restore().await?;
        environments::ensure_default(&engine.environments).await?;
        agents::ensure_default(&engine.agents, engine.providers.default_model().await).await?;
        let shared = &engine.shared;
        let background = [
            tokio::spawn(timers::run(shared.clone())),
            tokio::spawn(recovery::run(shared.clone())),
            tokio::spawn(housekeeping::run(shared.clone())),
        ];
        let _ = engine.background.set(background);
        Ok(engine)
    }

    /// Sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Agents.
    pub fn agents(&self) -> &Agents {
        &self.agents
    }

    /// Environments.
    pub fn environments(&self) -> &Environments {
        &self.environments
    }

    /// API keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The model servers.
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// The sandbox backend's name.
    pub fn backend_name(&self) -> &'static str {
        self.shared.sandboxes.backend().name()
    }

    /// Whether agents here can have this built-in tool: the operator may have switched it off.
    pub fn offers(&self, tool: &str) -> bool {
        self.shared.tool_specs.iter().any(|spec| spec.name == tool)
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Why nothing can be stored at present, if that is so; it may get over by itself.
    pub fn trouble(&self) -> Option<String> {
        self.shared.store.trouble()
    }

    /// Numbers for whoever watches.
    pub fn stats(&self) -> Stats {
        let now = self.shared.clock.now();
        Stats {
            awake: self.shared.directory.awake(),
            sandboxes: self.shared.sandboxes.alive(),
            sandbox_room: self.shared.sandboxes.room(now),
            model_requests: self.shared.places.room(now),
        }
    }

    /// Keeps bytes; durable on return.
    pub async fn put_blob(&self, bytes: Vec<u8>) -> Result<BlobId, Error> {
        Ok(self.shared.store.put_blob(bytes).await?)
    }

    /// Bytes that were kept.
    pub async fn blob(&self, id: BlobId) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.shared.store.blob(id).await?)
    }

    /// Ends it: nothing new is begun, and model requests in flight get up to `grace` to be answered. Sandboxes and what
    /// runs in them live on; whatever is left is taken up by the next start.
    pub async fn shutdown(&self, grace: Duration) {
        self.shared.draining.cancel();
        self.shared.requests.close();
        let _ = tokio::time::timeout(grace, self.shared.requests.wait()).await;
        for task in self.background.get().into_iter().flatten() {
            task.abort();
        }
        recovery::note_clean_end(&*self.shared.store).await;
    }
}
