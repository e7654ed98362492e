//! Tools in requests.

use serde_json::{Value, json};
use tenure_core::agent::{ASK, BUILTIN_TOOLS};

use super::super::ingest::tools::{DESCRIPTION, MOST, NAME, NOT_YET, SEARCH_SETTINGS};
use super::super::ingest::web_fetch::{MOST_DOMAINS, MOST_NAMED, SERVER_TOOLS};
use crate::openapi::{Schemas, schema};

/// The field `tools`.
pub(super) fn tools(schemas: &mut Schemas) -> Value {
    let items = json!({"anyOf": [toolset(schemas), custom(schemas)]});
    let list = schema::nullable(schema::list(items, 0, MOST));
    schema::said(
        list,
        "At most 256 in all, the toolset counting as many as it has, and it once at most. Null or empty: none.",
    )
}

fn toolset(schemas: &mut Schemas) -> Value {
    let flag = || schema::nullable(json!({"type": "boolean"}));
    let policy = || schema::nullable(schema::object([("type", schema::one_of(&["always_allow", "always_ask"]))], []));
    let named = BUILTIN_TOOLS.iter().map(|name| {
        let optional = [("type", json!({"enum": [name, null]})), ("enabled", flag()), ("permission_policy", policy())];
        let mut config = schema::object([("name", json!({"const": name}))], optional);
        if *name == "web_fetch" {
            for (setting, value) in web_fetch() {
                config["properties"][setting] = value;
            }
        }
        config
    });
    let later = NOT_YET.iter().map(|name| {
        let optional = [
            ("type", json!({"enum": [name, null]})),
            ("enabled", json!({"enum": [false, null]})),
            ("permission_policy", policy()),
        ];
        let mut config = schema::object([("name", json!({"const": name}))], optional);
        for setting in SEARCH_SETTINGS {
            config["properties"][*setting] = schema::not_yet("Settings of this tool are");
        }
        schema::said(config, "Not supported yet: it can only be switched off, here or by the default.")
    });
    let allowed = schema::nullable(schema::object([("type", schema::one_of(&["always_allow"]))], []));
    let optional = [("type", json!({"enum": [ASK, null]})), ("enabled", flag()), ("permission_policy", allowed)];
    let asks = schema::object([("name", json!({"const": ASK}))], optional);
    let asks = schema::ours(asks, "Asks a person. Off unless it is switched on here; the default doesn't count.");
    let configs: Vec<Value> = named.chain(later).chain([asks]).collect();
    let defaults = schema::object([], [("enabled", flag()), ("permission_policy", policy())]);
    let optional = [
        ("default_config", schema::nullable(defaults)),
        (
            "configs",
            schema::nullable(schema::list(json!({"anyOf": configs}), 0, BUILTIN_TOOLS.len() + NOT_YET.len() + 1)),
        ),
    ];
    schemas.named("ToolsetParam", schema::tagged("agent_toolset_20260401", [], optional))
}

/// What only `web_fetch` can be told.
fn web_fetch() -> [(&'static str, Value); 4] {
    let domains = |said: &str| {
        let name = json!({"type": "string", "minLength": 1, "maxLength": 253});
        schema::said(schema::nullable(schema::list(name, 1, MOST_DOMAINS)), said)
    };
    let all_or_none = || {
        vec![json!({"enum": ["all", "none", null]}), schema::object([("type", schema::one_of(&["all", "none"]))], [])]
    };
    let filter = |name: Value| {
        let reference = schema::object([("type", json!({"const": "tool_reference"})), ("name", name)], []);
        let tools = schema::list(reference, 1, MOST_NAMED);
        let some = schema::object([("type", schema::one_of(&["only", "except"])), ("tools", tools)], []);
        let kinds = [all_or_none(), vec![some]].concat();
        json!({"anyOf": kinds})
    };
    let sources = schema::object(
        [],
        [
            (
                "client_tool_results",
                filter(json!({"type": "string", "description": "A custom tool of the same tools."})),
            ),
            ("server_tool_results", filter(json!({"enum": SERVER_TOOLS}))),
            ("user_input", json!({"anyOf": all_or_none()})),
        ],
    );
    [
        ("allowed_domains", domains("Only these hosts and those below them. Not together with `blocked_domains`.")),
        ("blocked_domains", domains("Never these hosts, nor those below them. Not together with `allowed_domains`.")),
        ("max_content_tokens", schema::nullable(json!({"type": "integer", "minimum": 1, "maximum": u32::MAX}))),
        (
            "url_sources",
            schema::said(
                schema::nullable(sources),
                "Only addresses that the conversation has shown in one of these places. Null: any.",
            ),
        ),
    ]
}

fn custom(schemas: &mut Schemas) -> Value {
    let name = json!({"type": "string", "minLength": 1, "maxLength": NAME, "pattern": "^[A-Za-z0-9_-]+$"});
    let names = schema::nullable(json!({"type": "array", "items": {"type": "string"}}));
    let input = json!({
        "type": "object",
        "properties": {
            "type": {"const": "object"},
            "properties": schema::nullable(json!({"type": "object", "additionalProperties": true})),
            "required": names,
        },
        "required": ["type"],
        "additionalProperties": true,
        "description": "A JSON Schema.",
    });
    let fields = [("name", name), ("description", schema::text(1, DESCRIPTION)), ("input_schema", input)];
    schemas.named("CustomToolParam", schema::tagged("custom", fields, []))
}
