//! Replies played from a file: for demos, tests and replay. A reply is a pure function of the request.

mod file;
mod play;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use tenure_core::model::{Failure, FailureKind, Request};

use crate::http::failure;
use crate::provider::{Event, ModelInfo, ModelProvider};
use file::Rules;

/// What a routed name begins with.
pub(crate) const PREFIX: &str = "script/";

/// The scripts that come with Tenure.
const SHIPPED: &[(&str, &str)] =
    &[("demo", include_str!("script/demo.yaml")), ("fibonacci", include_str!("script/fibonacci.yaml"))];

#[derive(Debug)]
pub(crate) struct Script {
    dir: Option<PathBuf>,
    read: Arc<Mutex<HashMap<String, Read>>>,
}

/// A script as it was read; `changed` is its file's time and length, `None` for a shipped one.
#[derive(Debug, Clone)]
struct Read {
    changed: Option<(SystemTime, u64)>,
    rules: Arc<Rules>,
}

impl Script {
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self { dir, read: Arc::default() }
    }

    /// The script of that name. A file is read again only when it has changed; a shipped script is parsed once.
    async fn rules(dir: Option<PathBuf>, name: String, known: Option<Read>) -> Result<Read, Failure> {
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.starts_with('.') || !name.bytes().all(safe) {
            let message = format!("script name `{name}`: expected letters, digits, `-`, `_` and `.`");
            return Err(failure(FailureKind::Rejected, message));
        }
        let path = dir.map(|dir| dir.join(format!("{name}.yaml")));
        if let Some(path) = &path
            && let Ok(metadata) = tokio::fs::metadata(path).await
        {
            let changed = metadata.modified().ok().map(|at| (at, metadata.len()));
            if let Some(known) = known.filter(|known| changed.is_some() && known.changed == changed) {
                return Ok(known);
            }
            let text = tokio::fs::read_to_string(path).await.map_err(|error| {
                failure(FailureKind::Rejected, format!("cannot read script {}: {error}", path.display()))
            })?;
            return Ok(Read { changed, rules: Arc::new(parse(&path.display().to_string(), &text)?) });
        }
        if let Some(known) = known.filter(|known| known.changed.is_none()) {
            return Ok(known);
        }
        if let Some((_, text)) = SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
            return Ok(Read { changed: None, rules: Arc::new(parse(&format!("{PREFIX}{name}"), text)?) });
        }
        let shipped: Vec<_> = SHIPPED.iter().map(|(name, _)| format!("`{name}`")).collect();
        let looked = path.map(|path| format!(" and {} doesn't exist", path.display())).unwrap_or_default();
        let message = format!("no script `{name}`: {} come with Tenure{looked}", shipped.join(" and "));
        Err(failure(FailureKind::Rejected, message))
    }
}

impl ModelProvider for Script {
    fn name(&self) -> &'static str {
        "script"
    }

    fn stream(&self, request: Arc<Request>) -> BoxStream<'static, Result<Event, Failure>> {
        let name = request.model.id.strip_prefix(PREFIX).unwrap_or(&request.model.id).to_owned();
        let (dir, scripts) = (self.dir.clone(), Arc::clone(&self.read));
        let scene = async move {
            let known = lock(&scripts).get(&name).cloned();
            let read = Self::rules(dir, name.clone(), known).await?;
            let scene = play::scene(&name, &read.rules, &request);
            lock(&scripts).insert(name, read);
            Ok(scene)
        };
        scene.map(play::perform).flatten_stream().fuse().boxed()
    }

    fn models(&self) -> BoxFuture<'_, Result<Vec<ModelInfo>, Failure>> {
        Box::pin(async {
            let mut names: Vec<String> = SHIPPED.iter().map(|(name, _)| (*name).to_owned()).collect();
            if let Some(dir) = &self.dir {
                names.extend(in_folder(dir).await);
            }
            names.sort_unstable();
            names.dedup();
            let info = |name| ModelInfo { id: format!("{PREFIX}{name}"), display_name: None };
            Ok(names.into_iter().map(info).collect())
        })
    }
}

fn lock(scripts: &Mutex<HashMap<String, Read>>) -> MutexGuard<'_, HashMap<String, Read>> {
    scripts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The scripts in a folder; none if it doesn't exist, which is usual.
async fn in_folder(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let Ok(mut entries) = tokio::fs::read_dir(dir).await else { return names };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let name = entry.file_name();
        names.extend(name.to_str().and_then(|name| name.strip_suffix(".yaml")).map(str::to_owned));
    }
    names
}

fn parse(place: &str, text: &str) -> Result<Rules, Failure> {
    file::parse(text).map_err(|problem| failure(FailureKind::Rejected, format!("{place}:{problem}")))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_shipped_scripts_are_well_formed() {
        for (name, text) in super::SHIPPED {
            super::parse(name, text).expect(name);
        }
    }
}
