//! Environments.

use serde_json::{Value, json};
use tenure_core::id::EnvironmentId;
use tenure_core::packages::{LONGEST_PACKAGE, MOST_PACKAGES, Manager};

use super::super::ingest::environment::{
    CALL_MS, CPU_MILLIS, DESCRIPTION, DISK_BYTES, INODES, MEMORY_BYTES, NAME, OPEN_FILES, OTHER_MANAGERS, OUTPUT_BYTES,
    PIDS, REFERENCE, ROOT_PATH,
};
use super::super::wire::{Environment, Page, printed_id};
use super::agents::resource_query;
use super::metadata;
use crate::openapi::{Operation, Schemas, schema};

pub(crate) fn create(schemas: &mut Schemas) -> Operation {
    let required = [("name", schema::text(1, NAME))];
    let optional = [
        ("description", schema::nullable(schema::text(0, DESCRIPTION))),
        ("config", schema::nullable(config(true))),
        ("metadata", metadata::whole()),
        ("scope", json!({"enum": ["organization", null]})),
    ];
    let body = schemas.named("EnvironmentCreate", schema::object(required, optional));
    let example = json!({
        "name": "small",
        "config": {"type": "cloud", "networking": {"type": "unrestricted"}, "limits": {"memory_bytes": 1_073_741_824}},
    });
    Operation::new("create_environment", schemas.of::<Environment<'_>>()).takes(body, example)
}

pub(crate) fn update(schemas: &mut Schemas) -> Operation {
    let optional = [
        ("name", schema::nullable(schema::text(1, NAME))),
        ("description", schema::nullable(schema::text(0, DESCRIPTION))),
        (
            "config",
            schema::said(
                schema::nullable(config(false)),
                "What is left out of it or null stays as it is, but for a limit: null clears it.",
            ),
        ),
        ("metadata", metadata::changes()),
        ("scope", json!({"enum": ["organization", null]})),
    ];
    let body = schemas.named("EnvironmentUpdate", schema::object([], optional));
    Operation::new("update_environment", schemas.of::<Environment<'_>>())
        .takes(body, json!({"description": "For small tasks."}))
}

pub(crate) fn archive(schemas: &mut Schemas) -> Operation {
    Operation::new("archive_environment", schemas.of::<Environment<'_>>()).bare()
}

pub(crate) fn delete(schemas: &mut Schemas) -> Operation {
    let fields = [("id", printed_id(EnvironmentId::PREFIX).to_value())];
    let gone = schemas.named("EnvironmentDeleted", schema::tagged("environment_deleted", fields, []));
    Operation::new("delete_environment", gone)
}

/// How sandboxes are made. Of a new environment its type has to be said.
fn config(new: bool) -> Value {
    let networking = schema::object([("type", json!({"const": "unrestricted"}))], []);
    let mut packages = schema::object([], [("type", json!({"enum": ["packages", null]}))]);
    for manager in Manager::ALL {
        let names = schema::list(schema::text(1, LONGEST_PACKAGE), 0, MOST_PACKAGES);
        packages["properties"][manager.name()] = schema::nullable(names);
    }
    for manager in OTHER_MANAGERS {
        packages["properties"][manager] = schema::not_yet("Its packages are");
    }
    let limits = schema::nullable(limits());
    let optional = [
        ("networking", schema::nullable(networking)),
        ("packages", schema::nullable(packages)),
        ("limits", schema::ours(limits, "What is set is enforced; the operator's defaults hold for the rest.")),
        (
            "root",
            schema::ours(
                schema::nullable(root()),
                "What root file systems are made from, as far as the operator allows it. Null: the host's programs, or what it was.",
            ),
        ),
    ];
    match new {
        true => schema::tagged("cloud", [], optional),
        false => {
            let mut config = schema::object([], optional);
            config["properties"]["type"] = json!({"enum": ["cloud", null]});
            config
        }
    }
}

/// Limits of a sandbox, each of which may be null: that is the operator's default.
pub(crate) fn limits() -> Value {
    let limits = [
        ("memory_bytes", MEMORY_BYTES),
        ("cpu_millis", CPU_MILLIS),
        ("pids", PIDS),
        ("disk_bytes", DISK_BYTES),
        ("inodes", INODES),
        ("open_files", OPEN_FILES),
        ("call_ms", CALL_MS),
        ("output_bytes", OUTPUT_BYTES),
    ];
    let bound = |(name, (least, most))| (name, schema::nullable(schema::integer(least, most)));
    schema::object([], limits.map(bound))
}

fn root() -> Value {
    let path = || [("path", schema::text(1, ROOT_PATH))];
    json!({"oneOf": [
        schema::tagged("host", [], []),
        schema::tagged("directory", path(), []),
        schema::tagged("image", [("reference", schema::text(1, REFERENCE))], []),
        schema::tagged("archive", path(), []),
    ]})
}

pub(crate) fn retrieve(schemas: &mut Schemas) -> Operation {
    Operation::new("retrieve_environment", schemas.of::<Environment<'_>>())
}

pub(crate) fn list(schemas: &mut Schemas) -> Operation {
    Operation::new("list_environments", schemas.of::<Page<Environment<'_>>>()).with(resource_query(1_000))
}
