use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tenure_core::agent::{LimitsChange, Permission, ToolConfig, ToolPolicy};
use tenure_core::command::Command;
use tenure_core::content::Block;
use tenure_core::decide::decide;
use tenure_core::fact::{Fact, StoredFact};
use tenure_core::id::SessionId;
use tenure_core::model::ModelConfig;
use tenure_core::resource::{AgentRecord, DEFAULT_TENANT};
use tenure_core::session::{Delivery, Input, Labels, Lifetimes, Metadata};
use tenure_core::state::State;
use tenure_core::time::Timestamp;
use tenure_engine::{
    AgentChoice, Clock, Config, Engine, Live, Models, NewAgent, NewSession, Overrides, Parts, StreamFrom,
};
use tenure_models::{Endpoint, Secret, Settings};
use tenure_store::memory::MemoryStore;
use tenure_store::sqlite::{SqliteOptions, SqliteStore};
use tenure_store::{Append, Store};
use tokio::runtime::{Builder, Runtime};

use crate::fake_hosted::FakeHosted;
use crate::fake_sandbox::FakeBackend;

/// An engine on a store in memory (or any other), a sandbox that runs nothing, and a clock that is moved by hand. It
/// can be stopped and started again on what it left behind.
#[derive(Debug)]
pub struct TestEngine {
    /// The running engine.
    pub engine: Engine,
    /// Its sandboxes.
    pub backend: FakeBackend,
    /// The tool that it runs itself, as `web_fetch`.
    pub hosted: FakeHosted,
    /// Its clock.
    pub clock: Clock,
    /// Its store.
    pub store: Arc<dyn Store>,
    /// How it is configured.
    pub config: Config,
    models: Settings,
    scripts: Arc<tempfile::TempDir>,
    runtime: Option<Runtime>,
    disk: Option<tempfile::TempDir>,
}

impl TestEngine {
    /// One whose `claude-…` models are at `anthropic`, if given.
    pub async fn start(anthropic: Option<&str>) -> Self {
        Self::with_config(anthropic, Config { awake_linger: Duration::from_millis(50), ..Config::default() }).await
    }

    /// One with other choices of the operator's.
    pub async fn with_config(anthropic: Option<&str>, config: Config) -> Self {
        Self::on_store(Arc::new(MemoryStore::new()), anthropic, config).await
    }

    /// One on a database, whose writes take a moment.
    pub async fn on_disk(anthropic: Option<&str>, config: Config) -> Self {
        let disk = tempfile::tempdir().expect("a temporary directory can be made");
        let options = SqliteOptions { dir: disk.path().to_owned(), master_key: None };
        let store = Arc::new(SqliteStore::open(options).expect("a database can be made"));
        let mut engine = Self::on_store(store, anthropic, config).await;
        engine.disk = Some(disk);
        engine
    }

    /// One whose data come from a backup.
    pub async fn of_generation(generation: u64, config: Config) -> Self {
        Self::on_store(Arc::new(MemoryStore::of_generation(generation)), None, config).await
    }

    /// One on which the tools that the server itself runs are switched off.
    pub async fn without_hosted_tools(anthropic: Option<&str>, config: Config) -> Self {
        Self::put_together(Arc::new(MemoryStore::new()), anthropic, config, FakeHosted::switched_off()).await
    }

    /// One on another store.
    pub async fn on_store(store: Arc<dyn Store>, anthropic: Option<&str>, config: Config) -> Self {
        Self::put_together(store, anthropic, config, FakeHosted::default()).await
    }

    async fn put_together(store: Arc<dyn Store>, anthropic: Option<&str>, config: Config, hosted: FakeHosted) -> Self {
        let scripts = Arc::new(tempfile::tempdir().expect("a temporary directory can be made"));
        let models = Settings {
            anthropic: anthropic.map(|url| Endpoint { base_url: url.to_owned(), key: Some(Secret::new("test-key")) }),
            scripts_dir: Some(scripts.path().to_owned()),
            stall: Duration::from_secs(5),
            ..Settings::default()
        };
        let clock = Clock::manual(Timestamp::from_micros(1_800_000_000_000_000));
        let backend = FakeBackend::default();
        let (engine, runtime) = launch(&store, &backend, &hosted, &models, &clock, &config).await;
        let runtime = Some(runtime);
        Self { engine, backend, hosted, clock, store, config, models, scripts, runtime, disk: None }
    }

    /// The engine dies with everything it was doing, and another one starts on its store and sandboxes.
    pub async fn crash_and_restart(&mut self) {
        self.crash().await;
        self.restart().await;
    }

    /// The engine ends as it is asked to, and another one starts.
    pub async fn end_and_restart(&mut self) {
        self.engine.shutdown(Duration::ZERO).await;
        self.crash_and_restart().await;
    }

    /// The engine dies with everything it was doing. Nothing works until [`restart`](Self::restart).
    pub async fn crash(&mut self) {
        // Not a task of the old engine may write once the new one reads.
        if let Some(runtime) = self.runtime.take() {
            let stopped = tokio::task::spawn_blocking(|| runtime.shutdown_timeout(Duration::from_secs(60)));
            stopped.await.expect("shutting down doesn't panic");
        }
    }

    /// An engine starts on what the last one left.
    pub async fn restart(&mut self) {
        let Self { store, backend, hosted, models, clock, config, .. } = self;
        let (engine, runtime) = launch(store, backend, hosted, models, clock, config).await;
        (self.engine, self.runtime) = (engine, Some(runtime));
    }

    /// Adds a script that `script/<name>` plays.
    pub fn script(&self, name: &str, text: &str) {
        std::fs::write(self.scripts.path().join(format!("{name}.yaml")), text).expect("scripts can be written");
    }

    /// An agent that asks before each call of its built-in tools.
    pub async fn asking_agent(&self, model: &str) -> AgentRecord {
        let default = ToolPolicy { enabled: true, permission: Permission::AlwaysAsk };
        self.agent_with(model, vec![ToolConfig::Builtin { default, configs: Vec::new() }]).await
    }

    /// An agent with the built-in tools and this model.
    pub async fn agent(&self, model: &str) -> AgentRecord {
        let assistant = self.engine.agents().by_slug(DEFAULT_TENANT, "assistant").await.expect("it is always there");
        self.agent_with(model, assistant.agent.tools).await
    }

    async fn agent_with(&self, model: &str, tools: Vec<ToolConfig>) -> AgentRecord {
        let new = NewAgent {
            name: "helper".to_owned(),
            description: None,
            model: ModelConfig::named(model),
            system: None,
            tools,
            metadata: Metadata::new(),
        };
        self.engine.agents().create(DEFAULT_TENANT, new, None).await.expect("the agent is sound")
    }

    /// A session with an agent of this model.
    pub async fn session(&self, model: &str) -> SessionId {
        self.session_for(self.agent(model).await, None).await
    }

    /// A session with this agent.
    pub async fn session_for(&self, agent: AgentRecord, lifetimes: Option<Lifetimes>) -> SessionId {
        let environment =
            self.engine.environments().by_name(DEFAULT_TENANT, "default").await.expect("it is always there");
        let new = NewSession {
            budget: None,
            agent: AgentChoice { id: agent.agent.id, version: None, overrides: Overrides::default() },
            environment: environment.id,
            title: None,
            metadata: Metadata::new(),
            labels: Labels::new(),
            lifetimes,
            limits: LimitsChange::default(),
            inputs: Vec::new(),
        };
        let view = self.engine.sessions().create(DEFAULT_TENANT, new, None).await.expect("the session is sound");
        view.summary.session
    }

    /// Says a text to a session.
    pub async fn say(&self, session: SessionId, text: &str) {
        let sent = self.engine.sessions().send(DEFAULT_TENANT, session, vec![message(text)], None).await;
        sent.expect("the session takes messages");
    }

    /// All facts of a session up to the first after `after` that is wanted.
    pub async fn until(&self, session: SessionId, after: u64, wanted: impl Fn(&Fact) -> bool) -> Vec<StoredFact> {
        let from = StreamFrom::After(after);
        let mut stream =
            self.engine.sessions().stream(DEFAULT_TENANT, session, from).await.expect("it can be followed");
        let mut facts = Vec::new();
        while let Some(live) = stream.next().await {
            match live.expect("the store works") {
                Live::Fact(stored) => {
                    let found = wanted(&stored.fact);
                    facts.push(stored);
                    if found {
                        return facts;
                    }
                }
                Live::Preview(_) => {}
                Live::Deleted => break,
            }
        }
        panic!("the session was deleted; seen: {facts:?}");
    }

    /// Stores what follows from a command, as an engine does that dies right then. To be used while none runs.
    pub async fn commit(&self, session: SessionId, command: impl Into<Command>) -> Vec<StoredFact> {
        let log = self.store.read_facts(session, 0, usize::MAX).await.expect("the store works");
        let mut state = State::replay(&log).expect("the session exists");
        let decision = decide(&state, command.into(), self.clock.moment());
        assert_eq!(decision.refusal, None, "the command is accepted");
        let expected_seq = state.seq;
        decision.facts.iter().for_each(|stored| state.evolve(stored));
        self.append(&state, expected_seq, decision.facts.clone()).await;
        decision.facts
    }

    /// Stores a fact that no engine of ours would, as if it changed nothing. To be used while none runs.
    pub async fn forge(&self, session: SessionId, fact: Fact) {
        let log = self.store.read_facts(session, 0, usize::MAX).await.expect("the store works");
        let mut state = State::replay(&log).expect("the session exists");
        let expected_seq = state.seq;
        state.seq += 1;
        let forged = StoredFact { session, seq: state.seq, at: self.clock.now(), fact: Arc::new(fact) };
        self.append(&state, expected_seq, vec![forged]).await;
    }

    async fn append(&self, state: &State, expected_seq: u64, facts: Vec<StoredFact>) {
        let (session, summary) = (state.session, state.summary());
        let append = Append { session, expected_seq, facts, summary, definition: None, feed: Vec::new(), answer: None };
        self.store.append(append).await.expect("the store takes it");
    }

    /// All facts after `after` until the session is idle.
    pub async fn until_idle(&self, session: SessionId, after: u64) -> Vec<StoredFact> {
        self.until(session, after, |fact| matches!(fact, Fact::SessionIdle { .. })).await
    }
}

impl Drop for TestEngine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A message.
pub fn message(text: &str) -> Input {
    Input::Message { content: vec![Block::text(text)], delivery: Delivery::AfterTurn }
}

/// A script with one entry that always matches, of these steps (each a line of YAML).
pub fn script(steps: &[&str]) -> String {
    let steps: String = steps.iter().map(|step| format!("    - {step}\n")).collect();
    format!("- when: \".*\"\n  steps:\n{steps}")
}

/// Starts an engine on a runtime of its own, so that it can die like a process.
async fn launch(
    store: &Arc<dyn Store>,
    backend: &FakeBackend,
    hosted: &FakeHosted,
    models: &Settings,
    clock: &Clock,
    config: &Config,
) -> (Engine, Runtime) {
    let parts = Parts {
        store: store.clone(),
        backend: Arc::new(backend.clone()),
        models: Arc::new(Models::new(models.clone()).expect("the settings are sound")),
        tools: tenure_tools::registry(),
        hosted_tools: hosted.tools(),
        clock: clock.clone(),
    };
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime can be made");
    let started = runtime.spawn(Engine::start(parts, config.clone()));
    let engine = started.await.expect("starting doesn't panic").expect("the engine starts");
    (engine, runtime)
}
