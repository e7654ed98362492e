//! `tenure up`: the server, in the foreground.

mod announce;
mod descriptors;
mod log_stream;
mod logs;
mod machine;
mod model_servers;
mod panics;
mod signals;
mod telemetry;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustix::fs::Mode;
use tenure_engine::{Clock, Config, Engine, Parts};
use tenure_models::{ModelTable, Models};
use tenure_sandbox::{Native, NativeConfig};
use tenure_server::{AdoptTrace, ServerConfig};
use tenure_store::sqlite::{SqliteOptions, SqliteStore};
use tenure_tools::{FetchLimits, HostedTool, SystemLookup, ToolLimits, WebFetch, WebFetchConfig};
use tokio::net::TcpListener;

use self::telemetry::Telemetry;
use crate::cli::Shared;
use crate::failure::{Exit, advised};
use crate::local::DataDir;
use crate::settings::{self, Flags, Settings};

/// Run the server in the foreground, until SIGINT or SIGTERM, or until its terminal is closed
///
/// The first signal lets work under way finish and keeps sandboxes running for the next server; a second one ends the
/// server at once. Nothing that was acknowledged is lost either way.
#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    #[command(flatten)]
    settings: Flags,
    /// Started by another command: a session of its own, any free port if the wanted one is busy
    #[arg(long, hide = true)]
    background: bool,
}

impl Up {
    pub(crate) fn run(self, shared: &Shared) -> Result<Exit> {
        if self.background {
            // An error only says that this is a session of its own already.
            let _ = rustix::process::setsid();
        }
        rustix::process::umask(Mode::from_raw_mode(0o077));
        let dir = DataDir::at(shared.data_dir.as_deref())?;
        dir.create()?;
        dir.check_room()?;
        let settings = Settings::load(&self.settings, dir.path())?;
        machine::check(&settings, &dir)?;
        let model_table = settings::model_table(&dir.models_file())?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().context("can't start threads")?;
        let telemetry = settings.otlp_endpoint.as_deref().map(|endpoint| Telemetry::to(endpoint, runtime.handle()));
        let telemetry = telemetry.transpose()?;
        logs::begin(&settings, telemetry.as_ref())?;
        panics::log();
        let lease = dir.take_lease()?;
        let served = runtime.block_on(serve(&dir, &settings, model_table, self.background, shared.json));
        if let Some(telemetry) = telemetry {
            telemetry.end();
        }
        // What is left of the runtime may hold files open; the directory is free when it is gone.
        runtime.shutdown_timeout(std::time::Duration::from_secs(1));
        drop(lease);
        served
    }
}

async fn serve(
    dir: &DataDir,
    settings: &Settings,
    model_table: ModelTable,
    background: bool,
    json: bool,
) -> Result<Exit> {
    tenure_models::install_tls();
    let listener = listen(settings, background).await?;
    let address = listener.local_addr().context("can't tell where the server listens")?;
    let models = model_servers::settings(settings, &dir.scripts());
    model_servers::refuse_itself(&models, address)?;

    let store = SqliteStore::open(SqliteOptions { dir: dir.path().to_owned(), master_key: settings.master_key()? });
    let store = store.with_context(|| format!("can't open the store in {}", dir.path().display()))?;
    let images = tenure_images::Settings {
        dir: dir.sandbox().join("images"),
        registries: settings.registries.clone(),
        docker_config: settings.registry_credentials.as_ref().map(PathBuf::from),
    };
    let sandboxes = NativeConfig {
        linger: settings.sandbox_linger,
        pool: if std::env::var_os("TENURE_FAILPOINT").is_some() {
            0
        } else {
            usize::try_from(settings.sandbox_pool).unwrap_or(usize::MAX)
        },
        disk_floor_bytes: Some(settings.sandbox_disk_floor).filter(|floor| *floor > 0),
        archive_layers: settings.archive_layers,
        images: Some(Arc::new(tenure_images::Store::new(images))),
        root_dirs: settings.root_dirs.iter().map(PathBuf::from).collect(),
        ..NativeConfig::new(dir.sandbox())
    };
    let packages_dir = settings.packages_dir.as_ref().map(PathBuf::from).unwrap_or(sandboxes.packages_dir);
    let sandboxes = NativeConfig { packages_dir, ..sandboxes };
    let parts = Parts {
        store: Arc::new(store),
        backend: Arc::new(Native::new(sandboxes)),
        models: Arc::new(Models::new(models).map_err(|failure| anyhow::anyhow!(failure.message))?),
        tools: tenure_tools::registry(),
        hosted_tools: hosted_tools(settings),
        clock: Clock::System,
    };
    let root_keys = [Some(dir.make_root_key()?), settings.api_key.clone()];
    let config = Config { models: model_table, ..config(settings, root_keys.into_iter().flatten().collect()) };
    let engine = Engine::start(parts, config).await.context("can't start the engine")?;

    let signals = signals::watch(dir, background)?;
    announce::ready(dir, address, settings.shutdown_grace, background, json)?;
    let server = ServerConfig {
        hosts: settings.hosts.clone(),
        origins: settings.origins.clone(),
        max_connections: descriptors::room_for_connections(settings),
        shutdown_grace: settings.shutdown_grace,
        reader_timeout: settings.reader_timeout.0,
        keep_alive: settings.keep_alive.0,
        adopt_trace: settings.otlp_endpoint.as_ref().map(|_| Telemetry::adopt as AdoptTrace),
        ..ServerConfig::default()
    };
    let served = tenure_server::serve(listener, engine.clone(), server, signals.stop).await;
    // Nobody finds it any more while it finishes.
    let _ = std::fs::remove_file(dir.server_file());
    engine.shutdown(settings.shutdown_grace).await;
    tracing::info!("stopped; sandboxes live on");
    served.context("the server failed")?;
    Ok(Exit::Success)
}

/// The tools that the server itself runs, as far as they are switched on.
fn hosted_tools(settings: &Settings) -> Vec<Arc<dyn HostedTool>> {
    if !settings.web_fetch {
        return Vec::new();
    }
    let web_fetch = WebFetch::new(WebFetchConfig {
        opened: settings.web_fetch_allow_private.clone(),
        tls: tenure_models::tls_config(),
        lookup: Arc::new(SystemLookup),
        limits: FetchLimits::default(),
    });
    vec![Arc::new(web_fetch)]
}

async fn listen(settings: &Settings, background: bool) -> Result<TcpListener> {
    let wanted = settings.listen;
    if !wanted.ip().is_loopback() && !settings.expose {
        return Err(advised(
            format!("{wanted} can be reached from other machines"),
            "whoever reaches it and has a key runs code in sandboxes here, and keys cross the network in the clear \
             unless a proxy adds TLS: if you want that, say --expose",
        ));
    }
    let busy = |error: &std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse;
    match TcpListener::bind(wanted).await {
        Ok(listener) => Ok(listener),
        Err(error) if busy(&error) && background => {
            let free = SocketAddr::new(wanted.ip(), 0);
            tracing::info!(%wanted, "the port is taken; any free one will do");
            TcpListener::bind(free).await.with_context(|| format!("can't listen on {free}"))
        }
        Err(error) if busy(&error) => Err(advised(
            format!("another program listens on {wanted} already"),
            "choose another address with --listen; port 0 takes a free one",
        )),
        Err(error) => Err(error).with_context(|| format!("can't listen on {wanted}")),
    }
}

fn config(settings: &Settings, root_keys: Vec<String>) -> Config {
    let defaults = Config::default();
    Config {
        lifetimes: tenure_core::session::Lifetimes { sandbox_idle: settings.sandbox_idle.0, ..defaults.lifetimes },
        retry: tenure_core::session::RetryPolicy {
            retries: settings.retry_count,
            base: settings.retry_base,
            cap: settings.retry_cap,
        },
        context: tenure_core::session::ContextPolicy {
            window: settings.context_window as u64,
            share_percent: settings.context_share.0,
            ..defaults.context
        },
        tool_limits: ToolLimits {
            default_timeout: settings.tool_timeout.0,
            max_timeout: settings.tool_timeout_max.0,
            kept_output_bytes: settings.tool_output,
            ..defaults.tool_limits
        },
        max_sandboxes: settings.max_sandboxes,
        visit_linger: settings.sandbox_visit_linger,
        snapshots_kept: usize::try_from(settings.snapshots_kept).ok().filter(|kept| *kept > 0),
        max_model_requests: settings.max_model_requests,
        root_keys,
        default_model: settings.model.clone(),
        ..defaults
    }
}
