//! The document as a whole.

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::links::{Linked, links};
use super::operation::{Answer, Operation, Schemas};
use super::parameter::Parameter;
use super::{problems, schema};
use crate::request::BodyLimit;
use crate::routes::{Described, described};

const ABOUT: &str = "The Managed Agents API as Tenure serves it, and what Tenure adds to it. What is marked with \
    `x-tenure: true` is Tenure's own; it never changes the meaning of anything else. Fields of requests that nobody knows are \
    ignored, and named in the response header `x-tenure-ignored`; clients should ignore fields of answers that they don't \
    know. Streams are server-sent events: `x-itemSchema` says, as OpenAPI 3.2's `itemSchema` does, what a frame is.";

/// The document of `/v1`, as `GET /v1/openapi.json` serves it and docs/openapi/v1.json has it.
pub fn openapi() -> Value {
    let mut schemas = Schemas::new();
    let described: Vec<(Described, Operation)> =
        described().into_iter().map(|route| (route, (route.describe)(&mut schemas))).collect();
    let linked: Vec<Linked> = described.iter().map(|(route, operation)| linked(route, operation)).collect();
    let mut paths = Map::new();
    for ((route, operation), own) in described.into_iter().zip(&linked) {
        let printed = print(route, operation, links(own, &linked));
        let path = paths.entry(route.info.path).or_insert_with(|| json!({}));
        path[route.info.method.to_ascii_lowercase()] = printed;
    }
    let responses = problems::components(&mut schemas);
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tenure: the Managed Agents API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"x-api-key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "What the SDKs from 2.0 on send."},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "What the SDKs before 2.0 send. It wins if both are there."},
            },
            "headers": headers(),
            "responses": responses,
            "schemas": schemas.finish(),
        },
    });
    mark(&mut document);
    document
}

fn linked(route: &Described, operation: &Operation) -> Linked {
    let gives = match &operation.answer {
        Answer::Json(schema) => schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()).map(str::to_owned),
        Answer::Text(_) | Answer::Bytes | Answer::Upgrade | Answer::Stream(_) => None,
    };
    Linked { id: operation.id, path: route.info.path, gives }
}

fn print(route: Described, operation: Operation, links: Option<Value>) -> Value {
    let info = route.info;
    let method = info.method.parse().unwrap_or(Method::GET);
    let problems = problems::answers(&method, info.path, info.open, &operation);
    let Operation { id, parameters, body, answer, streams, also, looks_up: _, may_be_gone: _, may_lack_part: _ } =
        operation;
    let keyed = method == Method::POST && info.no_key.is_none();
    let own = keyed.then(idempotency_key);
    let parameters: Vec<Value> = in_path(info.path).chain(parameters).chain(own).map(Parameter::print).collect();
    let status = if matches!(answer, Answer::Upgrade) { "101" } else { "200" };
    let mut contents = content(answer);
    if let Some(Value::Object(streamed)) = streams.map(|data| content(Answer::Stream(data)))
        && let Value::Object(contents) = &mut contents
    {
        contents.extend(streamed);
    }
    let mut ok = json!({"description": info.doc, "headers": ok_headers(info.open, keyed), "content": contents.clone()});
    if let Some(links) = links {
        ok["links"] = links;
    }
    let mut responses = problems;
    responses.insert(status.to_owned(), ok);
    for (status, doc, has_content) in also {
        let content = if has_content { contents.clone() } else { json!({}) };
        let headers = ok_headers(info.open, keyed);
        responses.insert(status.to_string(), json!({"description": doc, "headers": headers, "content": content}));
    }
    let mut printed = json!({
        "operationId": id,
        "summary": info.doc,
        "tags": [tag(info.path)],
        "responses": responses,
    });
    if !parameters.is_empty() {
        printed["parameters"] = parameters.into();
    }
    if let Some(body) = body {
        let example = (!body.example.is_null()).then_some(body.example);
        let mut content = json!({"schema": body.schema});
        example.into_iter().for_each(|example| content["example"] = example);
        printed["requestBody"] = json!({"required": body.required, "content": {body.media_type: content}});
        if body.media_type == "application/json" {
            printed["requestBody"]["description"] = body_limit(route.body).into();
        }
    }
    if let Some(why) = info.no_key {
        printed["description"] = format!("An `Idempotency-Key` is refused: {why}.").into();
    }
    if info.open {
        printed["security"] = json!([]);
    }
    if info.ours {
        printed["x-tenure"] = true.into();
    }
    printed
}

fn content(answer: Answer) -> Value {
    match answer {
        Answer::Json(schema) => json!({"application/json": {"schema": schema}}),
        Answer::Bytes => json!({"*/*": {"schema": {}}}),
        Answer::Upgrade => json!({}),
        Answer::Text(media_type) => json!({media_type: {"schema": {"type": "string"}}}),
        Answer::Stream(data) => {
            json!({"text/event-stream": {"schema": {"type": "string"}, "x-itemSchema": frame(data)}})
        }
    }
}

/// A frame of server-sent events, its lines as properties.
fn frame(data: Value) -> Value {
    json!({
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "id": schema::ours(json!({"type": "string", "pattern": r"^([0-9]+\.)?[0-9]+$"}),
                "The cursor of what is stored: `Last-Event-ID` or `after` leads on from it. What isn't stored (previews, \
                 the end of a deleted session, an error) has none."),
            "event": {"type": "string", "description": "The type in `data`; `message` for the Python SDK before 1.0 where that doesn't know the type."},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": data},
        },
    })
}

fn in_path(path: &'static str) -> impl Iterator<Item = Parameter> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).map(Parameter::path)
}

fn idempotency_key() -> Parameter {
    let schema = json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"});
    Parameter::header(
        "Idempotency-Key",
        schema,
        "The same request with the same key is carried out once; its answer is given again for 24 hours.",
    )
    .ours()
}

fn ok_headers(open: bool, keyed: bool) -> Value {
    let mut headers = json!({"request-id": {"$ref": "#/components/headers/request-id"}});
    if !open {
        headers["x-tenure-ignored"] = json!({"$ref": "#/components/headers/x-tenure-ignored"});
    }
    if keyed {
        headers["x-tenure-replayed"] = json!({"$ref": "#/components/headers/x-tenure-replayed"});
    }
    headers
}

fn headers() -> Value {
    let header = |schema: Value, doc: &str| json!({"schema": schema, "description": doc});
    let ours = |schema: Value, doc: &str| json!({"schema": schema, "description": doc, "x-tenure": true});
    json!({
        "request-id": header(json!({"type": "string", "pattern": "^req_[1-9A-HJ-NP-Za-km-z]{22}$"}), "The request's id; the server's log has it too."),
        "retry-after": header(json!({"type": "integer", "minimum": 1}), "Seconds to wait."),
        "x-should-retry": header(json!({"enum": ["false"]}), "The SDKs don't repeat a request that can't succeed. Absent where waiting helps."),
        "www-authenticate": header(json!({"const": "Bearer"}), "How a key is sent."),
        "x-tenure-ignored": ours(json!({"type": "string"}), "Fields and parameters of the request that nobody knows, separated by commas."),
        "x-tenure-replayed": ours(json!({"const": "true"}), "This is the answer that the request got the first time."),
    })
}

fn body_limit(limit: BodyLimit) -> String {
    format!("At most {} bytes.", limit.bytes())
}

fn tag(path: &str) -> &str {
    let mut parts = path.split('/').skip(1);
    match (parts.next(), parts.next(), parts.nth(1)) {
        (Some("v1"), Some("sessions"), Some("events" | "queue")) => "events",
        (Some("v1"), Some(resource @ ("agents" | "environments" | "sessions" | "keys")), _) => resource,
        _ => "server",
    }
}

/// What is Tenure's own says so: its description, in the code's words, begins with "Ours".
fn mark(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let ours = map.get("description").and_then(Value::as_str).is_some_and(|doc| doc.starts_with("Ours"));
            if ours {
                map.insert("x-tenure".to_owned(), true.into());
            }
            map.values_mut().for_each(mark);
        }
        Value::Array(list) => list.iter_mut().for_each(mark),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
