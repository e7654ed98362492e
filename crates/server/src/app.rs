//! The router, and what every handler shares.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use tenure_engine::Engine;
use tokio_util::sync::CancellationToken;

use crate::config::ServerConfig;
use crate::dialects::managed_agents::events::FrameCache;
use crate::{guard, observe, routes};

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) frames: Arc<FrameCache>,
    pub(crate) metrics: observe::Metrics,
    pub(crate) started: Instant,
    /// Cancelled when the server stops: streams end then.
    pub(crate) stopping: CancellationToken,
}

impl App {
    pub(crate) fn new(engine: Engine, config: ServerConfig, stopping: CancellationToken) -> Self {
        Self {
            engine,
            config: Arc::new(config),
            frames: Arc::default(),
            metrics: observe::Metrics::install(),
            started: Instant::now(),
            stopping,
        }
    }
}

/// The whole server as a service, without connections: for tests, and for embedding.
pub fn router(engine: Engine, config: ServerConfig) -> Router {
    build(App::new(engine, config, CancellationToken::new()))
}

pub(crate) fn build(app: App) -> Router {
    guard::surround(routes::mount(Router::new()), &app).with_state(app)
}
