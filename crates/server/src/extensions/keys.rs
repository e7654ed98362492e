//! Ours: API keys.

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};
use tenure_core::resource::KeyRecord;
use tenure_core::time::Timestamp;

use crate::app::App;
use crate::dialects::managed_agents::ingest::key_id;
use crate::dialects::managed_agents::project;
use crate::problem::Problem;
use crate::request::{Asked, answer};

/// `POST /v1/keys {name}`: the only answer that shows the secret, as `key`.
pub(crate) async fn create(State(app): State<App>, mut asked: Asked) -> Result<Response, Problem> {
    let name = asked.object()?.required_text("name", 1, 256)?;
    let (record, secret) = app.engine.keys().create(asked.tenant, name).await?;
    let mut body = print(&record);
    body["key"] = Value::String(secret);
    Ok(answer(asked, project::json(&body)))
}

/// `GET /v1/keys`: the newest first, revoked ones included.
pub(crate) async fn list(State(app): State<App>, asked: Asked) -> Result<Response, Problem> {
    let records = app.engine.keys().list(asked.tenant).await?;
    let data: Vec<_> = records.iter().map(print).collect();
    Ok(answer(asked, project::json(&json!({ "data": data, "next_page": null }))))
}

/// `DELETE /v1/keys/{id}`: the key is refused from now on; its row stays.
pub(crate) async fn revoke(State(app): State<App>, Path(key): Path<String>, asked: Asked) -> Result<Response, Problem> {
    let key = key_id(&key)?;
    app.engine.keys().revoke(asked.tenant, key).await?;
    Ok(answer(asked, project::json(&json!({"id": key.prefixed(), "type": "api_key_revoked"}))))
}

fn print(record: &KeyRecord) -> Value {
    let time = |at: Timestamp| project::time(at);
    json!({
        "id": record.id.prefixed(),
        "type": "api_key",
        "name": record.name,
        "hint": record.hint,
        "created_at": time(record.created_at),
        "revoked_at": record.revoked_at.map(time),
    })
}
