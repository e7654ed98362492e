//! What is on the machine and belongs to no session.

use anyhow::{Context as _, Result};
use tenure_core::id::SessionId;
use tenure_sandbox::{Backend as _, Check, Native, NativeConfig, Outcome};
use tenure_store::SessionRows as _;
use tenure_store::sqlite::{SqliteOptions, SqliteStore};

use crate::client::{Client, Target};
use crate::local::{DataDir, Served};
use crate::settings::{Flags, Settings};

/// Rows read at once.
const PAGE: usize = 1_000;

/// What is left over, as texts.
pub(super) async fn find(dir: &DataDir) -> Result<Vec<String>> {
    let known = known_sessions(dir).await.context("can't tell which sessions there are")?;
    let backend = Native::new(NativeConfig::new(dir.sandbox()));
    let left = backend.leftovers(&known).await.context("can't look for leftovers")?;
    if left.is_empty() {
        return Ok(Vec::new());
    }
    // A session that was made a moment ago isn't left over.
    let known = known_sessions(dir).await.context("can't tell which sessions there are")?;
    let left = backend.leftovers(&known).await.context("can't look for leftovers")?;
    Ok(left.iter().map(ToString::to_string).collect())
}

pub(super) fn check(left: Result<Vec<String>>) -> Check {
    let name = "nothing is left over of sessions that are gone".to_owned();
    match left {
        Ok(left) if left.is_empty() => Check { name, outcome: Outcome::Pass, cause: String::new(), fix: String::new() },
        Ok(left) => Check {
            name,
            outcome: Outcome::Fail,
            cause: left.join("; "),
            fix: "`tenure down` ends every process; what is left then can be removed by hand".to_owned(),
        },
        Err(error) => {
            let fix = "`tenure status` says whether the server answers".to_owned();
            Check { name, outcome: Outcome::Absent, cause: format!("{error:#}"), fix }
        }
    }
}

/// The sessions of the directory: from the server, or from the store when nobody serves it.
async fn known_sessions(dir: &DataDir) -> Result<Vec<SessionId>> {
    match dir.served()? {
        Served::Ready(server) => {
            let client = Client::new(Target::of(dir.clone(), &server)?)?;
            let query = [("limit", "1000"), ("include_archived", "true")];
            let sessions = client.list("/v1/sessions", &query, usize::MAX, |_| true).await?;
            let ids = sessions.iter().filter_map(|session| session["id"].as_str());
            Ok(ids.filter_map(|id| SessionId::parse(id).ok()).collect())
        }
        Served::Changing { pid } => anyhow::bail!("the server (pid {pid}) is just starting or stopping"),
        Served::Nobody { .. } if !dir.path().join("tenure.db").exists() => Ok(Vec::new()),
        Served::Nobody { .. } => {
            let _lease = dir.take_lease()?;
            let master_key = Settings::load(&Flags::default(), dir.path())?.master_key()?;
            let store = SqliteStore::open(SqliteOptions { dir: dir.path().to_owned(), master_key })?;
            let (mut ids, mut after): (Vec<SessionId>, Option<SessionId>) = (Vec::new(), None);
            loop {
                let page = store.session_ids(after, PAGE).await?;
                ids.extend(&page);
                after = page.last().copied();
                if page.len() < PAGE {
                    return Ok(ids);
                }
            }
        }
    }
}
