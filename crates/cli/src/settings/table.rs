//! The one table of settings.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tenure_store::MasterKey;
use tenure_tools::Opened;

use super::file::ConfigFile;
use super::flags::Flags;
use super::value::{Lasting, LogFormat, Never, Percent, Value};
use crate::failure::advised;

/// One setting, as `--help` and the documentation show it.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its name; `--name` is the flag of `tenure up`.
    pub(crate) name: &'static str,
    /// Where it can be said.
    pub(crate) sources: Sources,
    /// Environment variables, the first that is set counts.
    pub(crate) env: &'static [&'static str],
    /// Its key in `config.toml`, with its table before a dot.
    pub(crate) key: &'static str,
    /// What values look like.
    pub(crate) kind: &'static str,
    /// The default as it would be written; empty for none.
    pub(crate) default: &'static str,
    /// What it does.
    pub(crate) doc: &'static str,
    /// Whether a text is a value of it.
    pub(crate) check: fn(&str) -> Result<(), String>,
}

/// Where a setting can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sources {
    /// Flag, environment, `config.toml`.
    All,
    /// Not in `config.toml`: it says where that is.
    FlagAndEnvironment,
    /// A secret: what is on a command line or in a file is read by others.
    EnvironmentOnly,
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:literal, $sources:ident $name:literal, $env:expr, $key:literal;)*) => {
        /// What holds for a server.
        #[derive(Debug)]
        #[expect(dead_code, reason = "two are told to the command line, before there is a server; they are here to be documented")]
        pub(crate) struct Settings { $($(#[doc = $doc])+ pub(crate) $field: $type,)* }

        /// Every setting.
        pub(crate) const TABLE: &[Setting] = &[$(Setting {
            name: $name,
            sources: Sources::$sources,
            env: &$env,
            key: $key,
            kind: <$type as Value>::KIND,
            default: $default,
            doc: concat!($($doc),+),
            check: |text| <$type as Value>::parse(text).map(drop),
        },)*];

        impl Settings {
            fn read(given: &Given<'_>) -> Result<Self> {
                Ok(Self { $($field: given.value::<$type>($name)?,)* })
            }
        }
    };
}

settings! {
    /// Where the server listens. Port 0 takes a free one.
    listen: SocketAddr = "127.0.0.1:7717", All "listen", ["TENURE_LISTEN"], "listen";
    /// Lets the server listen on an address that other machines reach. They then need only a key to run code in sandboxes on this machine; keys and conversations cross the network in the clear unless a proxy adds TLS.
    expose: bool = "false", All "expose", ["TENURE_EXPOSE"], "expose";
    /// Names under which clients may reach the server besides loopback names and IP addresses.
    hosts: Vec<String> = "", All "hosts", ["TENURE_HOSTS"], "hosts";
    /// Origins, such as https://console.example, whose pages may call the server besides its own.
    origins: Vec<String> = "", All "origins", ["TENURE_ORIGINS"], "origins";
    /// The most connections at a time.
    max_connections: usize = "16384", All "max-connections", ["TENURE_MAX_CONNECTIONS"], "max_connections";
    /// How long a client may leave what it is sent unread until its connection is cut. An event stream's client comes back with its last cursor and has lost nothing.
    reader_timeout: Lasting = "30s", All "reader-timeout", ["TENURE_READER_TIMEOUT"], "reader_timeout";
    /// After how much silence an event stream says that it is alive, so that nobody between cuts it.
    keep_alive: Lasting = "15s", All "keep-alive", ["TENURE_KEEP_ALIVE"], "keep_alive";
    /// How long work under way may take when the server is told to stop.
    shutdown_grace: Duration = "10s", All "shutdown-grace", ["TENURE_SHUTDOWN_GRACE"], "shutdown_grace";
    /// The default model: claude-…, openai/<model> or script/<name>. Without it: what `tenure models default` chose, else claude-sonnet-5 if there is an Anthropic key, else the first model of the OpenAI-compatible server, else script/demo.
    model: Option<String> = "", All "model", ["TENURE_MODEL"], "models.default";
    /// Where claude-… models are asked. Default: https://api.anthropic.com.
    anthropic_base_url: Option<String> = "", All "anthropic-base-url", ["TENURE_ANTHROPIC_BASE_URL", "ANTHROPIC_BASE_URL"], "models.anthropic_base_url";
    /// The key for it. `tenure models add anthropic` seals one instead.
    anthropic_api_key: Option<String> = "", EnvironmentOnly "anthropic-api-key", ["TENURE_ANTHROPIC_API_KEY", "ANTHROPIC_API_KEY"], "";
    /// Where openai/… models are asked: OpenAI, Ollama, vLLM, llama.cpp. Default: https://api.openai.com/v1.
    openai_base_url: Option<String> = "", All "openai-base-url", ["TENURE_OPENAI_BASE_URL", "OPENAI_BASE_URL"], "models.openai_base_url";
    /// The key for it. `tenure models add openai` seals one instead.
    openai_api_key: Option<String> = "", EnvironmentOnly "openai-api-key", ["TENURE_OPENAI_API_KEY", "OPENAI_API_KEY"], "";
    /// How long a model server may send nothing until it counts as hung.
    model_stall: Duration = "2m", All "model-stall", ["TENURE_MODEL_STALL"], "models.stall";
    /// The most requests to models at once; sessions wait for a place, and tenants take turns.
    max_model_requests: usize = "256", All "max-model-requests", ["TENURE_MAX_MODEL_REQUESTS"], "models.max_requests";
    /// The most tokens of a model of which nothing is known, what it is sent and what it replies together.
    context_window: usize = "128000", All "context-window", ["TENURE_CONTEXT_WINDOW"], "models.context_window";
    /// The part of a model's context window, less the room for a reply, that a conversation may fill until its older part is summed up: 10 to 100 percent.
    context_share: Percent = "80%", All "context-share", ["TENURE_CONTEXT_SHARE"], "models.context_share";
    /// How many times a failing model is asked again.
    retry_count: u32 = "5", All "retry-count", ["TENURE_RETRY_COUNT"], "retry.count";
    /// The wait before the first retry; it doubles with each.
    retry_base: Duration = "1s", All "retry-base", ["TENURE_RETRY_BASE"], "retry.base";
    /// The longest wait before a retry, also when the model server asks for more.
    retry_cap: Duration = "1m", All "retry-cap", ["TENURE_RETRY_CAP"], "retry.cap";
    /// How long a session's sandbox outlives its work; files stay. `never` lets it run.
    sandbox_idle: Never = "1h", All "sandbox-idle", ["TENURE_SANDBOX_IDLE"], "sandbox.idle";
    /// How long sandboxes outlive the server while nothing runs in them.
    sandbox_linger: Duration = "5m", All "sandbox-linger", ["TENURE_SANDBOX_LINGER"], "sandbox.linger";
    /// How long a sandbox that was opened for people, whose session doesn't run, is kept after the last use.
    sandbox_visit_linger: Duration = "30s", All "sandbox-visit-linger", ["TENURE_SANDBOX_VISIT_LINGER"], "sandbox.visit_linger";
    /// How many sandboxes are made ahead in idle moments, so that the next are there sooner; 0: none.
    sandbox_pool: u64 = "2", All "sandbox-pool", ["TENURE_SANDBOX_POOL"], "sandbox.pool";
    /// The most sandboxes alive at once; sessions wait for room.
    max_sandboxes: usize = "1000", All "max-sandboxes", ["TENURE_MAX_SANDBOXES"], "sandbox.max";
    /// How many snapshots of turns' ends are kept for each session; older ones go. Those with a name stay. 0 keeps all.
    snapshots_kept: u64 = "100", All "snapshots-kept", ["TENURE_SNAPSHOTS_KEPT"], "sandbox.snapshots_kept";
    /// How many bytes of the disk sandboxes leave to the host; 0: a gibibyte, or a twentieth of the disk if that is less.
    sandbox_disk_floor: u64 = "0", All "sandbox-disk-floor", ["TENURE_SANDBOX_DISK_FLOOR"], "sandbox.disk_floor";
    /// Whether an archive of each sealed layer is kept beside it, made when nothing else wants the disk: backups are faster, and the disk holds most contents twice.
    archive_layers: bool = "false", All "archive-layers", ["TENURE_ARCHIVE_LAYERS"], "sandbox.archive_layers";
    /// Directories of this host below which environments may choose the root file systems of sandboxes: directories and image archives. What lies there can be read by every tenant's agents.
    root_dirs: Vec<String> = "", All "root-dirs", ["TENURE_ROOT_DIRS"], "sandbox.root_dirs";
    /// The registries that this server may ask for images, as these name them: docker.io, ghcr.io, 127.0.0.1:5000. Those of this machine are asked over plain HTTP, all others over HTTPS.
    registries: Vec<String> = "", All "registries", ["TENURE_REGISTRIES"], "sandbox.registries";
    /// A file as `docker login` writes it with the credentials for registries. Whoever may make environments may then use them.
    registry_credentials: Option<String> = "", All "registry-credentials", ["TENURE_REGISTRY_CREDENTIALS"], "sandbox.registry_credentials";
    /// A directory of archives from which packages of environments are installed, in a directory for each manager: apt, gem, npm, pip. Default: `packages` in the data directory.
    packages_dir: Option<String> = "", All "packages-dir", ["TENURE_PACKAGES_DIR"], "sandbox.packages_dir";
    /// How long a tool call may take if it doesn't say.
    tool_timeout: Lasting = "2m", All "tool-timeout", ["TENURE_TOOL_TIMEOUT"], "tools.timeout";
    /// The longest a tool call may ask for.
    tool_timeout_max: Lasting = "1h", All "tool-timeout-max", ["TENURE_TOOL_TIMEOUT_MAX"], "tools.timeout_max";
    /// How many bytes of what a command prints are kept, in a file of the sandbox if they are too many for a model; of more, the beginning and a little of the end.
    tool_output: usize = "10485760", All "tool-output", ["TENURE_TOOL_OUTPUT"], "tools.output";
    /// Whether agents may have web_fetch, by which this server reads pages of the public web for them.
    web_fetch: bool = "true", All "web-fetch", ["TENURE_WEB_FETCH"], "web_fetch.enabled";
    /// Addresses of private networks that web_fetch reaches all the same: 10.0.0.0/8, 192.168.1.7, 127.0.0.1:8080. Whoever can say something to an agent can then have them read.
    web_fetch_allow_private: Vec<Opened> = "", All "web-fetch-allow-private", ["TENURE_WEB_FETCH_ALLOW_PRIVATE"], "web_fetch.allow_private";
    /// What is logged: a level, or a list such as warn,tenure_engine=debug. Never what people or models say, nor a key; libraries below info not at all.
    log: String = "info", All "log", ["TENURE_LOG"], "log.filter";
    /// How it is logged, on standard error.
    log_format: LogFormat = "text", All "log-format", ["TENURE_LOG_FORMAT"], "log.format";
    /// The collector that takes traces, by OTLP over HTTP; /v1/traces below this URL. Without it nothing is traced. OTEL_EXPORTER_OTLP_HEADERS and OTEL_BSP_… hold too.
    otlp_endpoint: Option<String> = "", All "otlp-endpoint", ["TENURE_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"], "otlp.endpoint";
    /// Where everything is kept. Default: $XDG_DATA_HOME/tenure, else ~/.local/share/tenure.
    data_dir: Option<String> = "", FlagAndEnvironment "data-dir", ["TENURE_DATA_DIR"], "";
    /// A root key the server accepts besides the one in root.key; what the command line sends.
    api_key: Option<String> = "", EnvironmentOnly "api-key", ["TENURE_API_KEY"], "";
    /// The key that seals secrets, 64 hex digits. Default: master.key in the data directory, made at the first start.
    master_key: Option<String> = "", EnvironmentOnly "master-key", ["TENURE_MASTER_KEY"], "";
    /// The server that the command line talks to. Default: this machine's own.
    url: Option<String> = "", EnvironmentOnly "url", ["TENURE_URL"], "";
}

impl Settings {
    /// Everything that is set, for a server with this data directory.
    pub(crate) fn load(flags: &Flags, data_dir: &Path) -> Result<Self> {
        let file = ConfigFile::read(&data_dir.join("config.toml"), TABLE)?;
        Self::read(&Given { flags, file: &file, env: &|name| std::env::var(name).ok() })
    }

    /// The key that seals secrets, if one is set.
    pub(crate) fn master_key(&self) -> Result<Option<MasterKey>> {
        let key = self.master_key.as_deref().map(MasterKey::from_hex);
        key.transpose().context("TENURE_MASTER_KEY")
    }
}

/// Where values come from.
struct Given<'a> {
    flags: &'a Flags,
    file: &'a ConfigFile,
    env: &'a dyn Fn(&str) -> Option<String>,
}

impl Given<'_> {
    fn value<T: Value>(&self, name: &str) -> Result<T> {
        let setting = TABLE.iter().find(|setting| setting.name == name).expect("every field has its row");
        let (text, from) = self.text(setting);
        T::parse(&text).map_err(|problem| {
            advised(format!("{from}: {problem}"), format!("{} is: {}", setting.name, setting.doc.trim()))
        })
    }

    /// What was said, and where.
    fn text(&self, setting: &Setting) -> (String, String) {
        if let Some(text) = self.flags.get(setting.name) {
            return (text.to_owned(), format!("--{}", setting.name));
        }
        for variable in setting.env {
            // An empty variable is how many tools unset one.
            if let Some(text) = (self.env)(variable).filter(|text| !text.is_empty()) {
                return (text, (*variable).to_owned());
            }
        }
        if let Some(text) = self.file.get(setting.key) {
            return (text.to_owned(), format!("{} in {}", setting.key, self.file.path().display()));
        }
        (setting.default.to_owned(), format!("the default of {}", setting.name))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use super::{ConfigFile, Flags, Given, Settings, Sources, TABLE};

    #[test]
    fn every_setting_is_unique_and_its_default_is_a_value() {
        let (mut names, mut variables, mut keys) = (HashSet::new(), HashSet::new(), HashSet::new());
        for setting in TABLE {
            assert!(names.insert(setting.name), "{} twice", setting.name);
            assert!(
                setting.env.iter().all(|variable| variables.insert(*variable)),
                "{} shares a variable",
                setting.name
            );
            assert_eq!(setting.key.is_empty(), setting.sources != Sources::All, "{}", setting.name);
            assert!(setting.key.is_empty() || keys.insert(setting.key), "{} twice", setting.key);
            assert_eq!((setting.check)(setting.default), Ok(()), "{}", setting.name);
            assert!(setting.doc.trim().ends_with('.'), "{} has no sentence", setting.name);
        }
    }

    #[test]
    fn a_flag_goes_before_the_environment_before_the_file_before_the_default() {
        let text = "[retry]\ncount = 1\nbase = '2s'\ncap = '3s'\n[models]\ndefault = 'script/file'\n";
        let file = ConfigFile::parse(text, Path::new("config.toml"), TABLE).expect("it is right");
        let flags = Flags::from([("retry-count", "7")]);
        let env = |name: &str| match name {
            "TENURE_RETRY_COUNT" | "TENURE_RETRY_BASE" => Some("8s".to_owned()),
            "TENURE_MODEL" => Some(String::new()),
            "ANTHROPIC_BASE_URL" => Some("http://second".to_owned()),
            "TENURE_ANTHROPIC_BASE_URL" => Some("http://first".to_owned()),
            _ => None,
        };
        let settings = Settings::read(&Given { flags: &flags, file: &file, env: &env }).expect("all are values");
        assert_eq!(settings.retry_count, 7);
        assert_eq!(settings.retry_base.as_secs(), 8);
        assert_eq!(settings.retry_cap.as_secs(), 3);
        assert_eq!(settings.shutdown_grace.as_secs(), 10);
        assert_eq!(settings.model.as_deref(), Some("script/file"));
        assert_eq!(settings.anthropic_base_url.as_deref(), Some("http://first"));
    }

    #[test]
    fn a_wrong_value_says_where_it_came_from() {
        let file = ConfigFile::parse("", Path::new("config.toml"), TABLE).expect("it is right");
        let env = |name: &str| (name == "TENURE_SANDBOX_IDLE").then(|| "soon".to_owned());
        let error =
            Settings::read(&Given { flags: &Flags::default(), file: &file, env: &env }).expect_err("it is wrong");
        let message = error.to_string();
        assert!(message.starts_with("TENURE_SANDBOX_IDLE: expected"), "{message}");
        assert!(message.contains("`soon`"), "{message}");
    }
}
