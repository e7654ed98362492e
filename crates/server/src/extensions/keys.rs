//! Ours: API keys.

use axum::extract::{Path, State};
use axum::response::Response;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::json;
use tenure_core::id::KeyId;
use tenure_core::resource::KeyRecord;
use tenure_core::time::Timestamp;

use crate::app::App;
use crate::dialects::managed_agents::ingest::key_id;
use crate::dialects::managed_agents::{describe, project};
use crate::openapi::{Operation, Schemas, schema};
use crate::problem::Problem;
use crate::request::{Asked, answer};

const NAME: usize = 256;

/// `POST /v1/keys {name}`: the only answer that shows the secret, as `key`.
pub(crate) async fn create(State(app): State<App>, mut asked: Asked) -> Result<Response, Problem> {
    let name = asked.object()?.required_text("name", 1, NAME)?;
    let (record, secret) = app.engine.keys().create(asked.tenant, name).await?;
    let mut body = print(&record);
    body.key = Some(secret);
    Ok(answer(asked, project::json(&body)))
}

/// `GET /v1/keys`: the newest first, revoked ones included.
pub(crate) async fn list(State(app): State<App>, asked: Asked) -> Result<Response, Problem> {
    let records = app.engine.keys().list(asked.tenant).await?;
    let data = records.iter().map(print).collect();
    Ok(answer(asked, project::json(&Keys { data, next_page: () })))
}

/// `DELETE /v1/keys/{id}`: the key is refused from now on; its row stays.
pub(crate) async fn revoke(State(app): State<App>, Path(key): Path<String>, asked: Asked) -> Result<Response, Problem> {
    let key = key_id(&key)?;
    app.engine.keys().revoke(asked.tenant, key).await?;
    Ok(answer(asked, project::json(&KeyRevoked { id: key.prefixed(), kind: "api_key_revoked" })))
}

fn print(record: &KeyRecord) -> Key<'_> {
    let time = |at: Timestamp| project::time(at);
    Key {
        id: record.id.prefixed(),
        kind: "api_key",
        name: &record.name,
        hint: &record.hint,
        created_at: time(record.created_at),
        revoked_at: record.revoked_at.map(time),
        key: None,
    }
}

/// An API key.
#[derive(Serialize, JsonSchema)]
struct Key<'a> {
    #[schemars(schema_with = "key_id_schema")]
    id: String,
    #[serde(rename = "type")]
    #[schemars(extend("const" = "api_key"))]
    kind: &'static str,
    name: &'a str,
    /// The end of its secret, to tell it from others.
    hint: &'a str,
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
    #[schemars(extend("format" = "date-time"))]
    revoked_at: Option<String>,
    /// The secret: in the answer to its making alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// All API keys.
#[derive(Serialize, JsonSchema)]
struct Keys<'a> {
    data: Vec<Key<'a>>,
    /// There is one page.
    next_page: (),
}

/// Confirms that a key is refused from now on.
#[derive(Serialize, JsonSchema)]
struct KeyRevoked {
    #[schemars(schema_with = "key_id_schema")]
    id: String,
    #[serde(rename = "type")]
    #[schemars(extend("const" = "api_key_revoked"))]
    kind: &'static str,
}

fn key_id_schema(_: &mut SchemaGenerator) -> Schema {
    describe::printed_id(KeyId::PREFIX)
}

pub(crate) fn describe_create(schemas: &mut Schemas) -> Operation {
    let body = schema::object([("name", schema::text(1, NAME))], []);
    Operation::new("create_key", schemas.of::<Key<'_>>()).takes(body, json!({"name": "laptop"}))
}

pub(crate) fn describe_list(schemas: &mut Schemas) -> Operation {
    Operation::new("list_keys", schemas.of::<Keys<'_>>())
}

pub(crate) fn describe_revoke(schemas: &mut Schemas) -> Operation {
    Operation::new("revoke_key", schemas.of::<KeyRevoked>())
}
