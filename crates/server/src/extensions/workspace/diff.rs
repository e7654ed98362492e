//! What differs between a session's files and what they were.

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::json;
use tenure_engine::files::{Change, Comparing, Content, Detail, Difference};
use tenure_engine::{Point, Stage};

use super::wire::{self, WorkspaceDiff, WorkspaceDifference, WorkspaceStage};
use super::{page, path, path_parameters};
use crate::app::App;
use crate::dialects::managed_agents::ingest::session_id;
use crate::dialects::managed_agents::project;
use crate::extensions::point;
use crate::openapi::{Operation, Parameter, Schemas};
use crate::problem::Problem;
use crate::request::{Asked, answer};

const LIMIT: u64 = 100;
const MOST: u64 = 1_000;

const DETAILS: [(&str, Detail); 3] = [("none", Detail::None), ("count", Detail::Count), ("patch", Detail::Patch)];

/// `GET /v1/sessions/{id}/workspace/diff?from=&to=&path=&content=&limit=&page=`: in order of names.
pub(crate) async fn diff(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let at = path(&mut asked.query)?;
    let mut place = |field: &str| -> Result<Option<Point>, Problem> {
        let given = asked.query.one(field)?;
        given.map(|given| point::read(app.engine.sessions(), field, given.into())).transpose()
    };
    let (from, to) = (place("from")?, place("to")?);
    let content = asked.query.one("content")?.unwrap_or_else(|| DETAILS[0].0.to_owned());
    let (_, detail) = DETAILS
        .into_iter()
        .find(|(name, _)| *name == content)
        .ok_or_else(|| Problem::invalid("content", "expected `none`, `count` or `patch`, got another word"))?;
    let limit = asked.query.integer("limit", 1, MOST)?.unwrap_or(LIMIT);
    let after = asked.query.one("page")?.map(|given| page::parse(&given)).transpose()?;
    let comparison = app.engine.sessions().compare(asked.tenant, session, from, to).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let found = comparison.differences(Comparing { at, after, limit, detail }).await?;
    let last = found.found.last().and_then(|last| last.after.as_ref().or(last.before.as_ref()));
    let next_page = found.more.then(|| last.map(|last| page::print(&last.name))).flatten();
    let diff = WorkspaceDiff {
        kind: "workspace_diff",
        from: stage(&comparison.from),
        to: stage(&comparison.to),
        data: found.found.into_iter().filter_map(difference).collect(),
        next_page,
    };
    Ok(answer(asked, project::json(&diff)))
}

fn stage(stage: &Stage) -> WorkspaceStage {
    match stage {
        Stage::Start => WorkspaceStage { kind: "start", id: None, name: None, at: None },
        Stage::Now => WorkspaceStage { kind: "now", id: None, name: None, at: None },
        Stage::Snapshot(snapshot) => WorkspaceStage {
            kind: "snapshot",
            id: Some(snapshot.id.prefixed()),
            name: snapshot.name.clone(),
            at: Some(snapshot.point),
        },
    }
}

fn difference(difference: Difference) -> Option<WorkspaceDifference> {
    let change = match difference.change {
        Change::Added => "added",
        Change::Removed => "removed",
        Change::Modified => "modified",
        Change::TypeChanged => "type_changed",
        Change::ModeChanged => "mode_changed",
        Change::Unreadable => "unreadable",
    };
    let (content, added_lines, removed_lines, patch) = match difference.content {
        None => (None, None, None, None),
        Some(Content::Text { added, removed, patch }) => (Some("text"), Some(added), Some(removed), patch),
        Some(Content::Binary) => (Some("binary"), None, None, None),
        Some(Content::TooLarge) => (Some("too_large"), None, None, None),
        Some(Content::Unreadable) => (Some("unreadable"), None, None, None),
    };
    let name = difference.after.as_ref().or(difference.before.as_ref())?.name.clone();
    Some(WorkspaceDifference {
        path: name.path,
        escaped: name.escaped,
        change,
        before: difference.before.map(wire::side),
        after: difference.after.map(wire::side),
        content,
        added_lines,
        removed_lines,
        patch,
    })
}

pub(crate) fn describe_diff(schemas: &mut Schemas) -> Operation {
    let place = json!({"type": "string", "minLength": 1});
    let from = "What the files were: the place or the id of a `session.status_idle` event that ended a turn, the id or the name of \
        a snapshot, or `start` for what the session began with. Not there: the snapshot before `to`; where nothing was written \
        since the newest one, the one before that.";
    let to = "What they are compared with, named in the same way. Not there: what they are now.";
    let content = json!({"enum": ["none", "count", "patch"], "default": "none"});
    let detail = "Whether only names are wanted, how many lines differ in each text file, or these lines, too.";
    Operation::new("diff_workspace", schemas.of::<WorkspaceDiff>())
        .with(path_parameters(
            "What is compared: a file or directory; a relative path begins at `/workspace`, which it is by default.",
        ))
        .with([
            Parameter::query("from", place.clone(), from),
            Parameter::query("to", place, to),
            Parameter::query("content", content, detail),
            Parameter::limit(LIMIT, MOST),
            Parameter::page(),
        ])
        .may_be_gone()
}
