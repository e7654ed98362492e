//! Checks of every exchange against the description in OpenAPI: the answer's status, headers and body; that no field,
//! parameter or header goes undescribed; and that the request, if the server accepts it, is one the description allows.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use axum::http::{HeaderMap, Method, StatusCode, Uri};
use jsonschema::Validator;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tenure_server::openapi;

/// The document, and the same with no fields in objects but those that are described.
struct Document {
    open: Value,
    closed: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
    let open = openapi();
    let mut closed = open.clone();
    close(&mut closed);
    Document { open, closed, validators: Mutex::default() }
});

/// What is larger isn't checked: it is made of the same things as what is small, and tests of floods are in a hurry.
pub(crate) const LARGE: usize = 16 << 10;

/// Headers that belong to HTTP rather than to the API.
const PLAIN: &[&str] = &[
    "accept-ranges",
    "allow",
    "cache-control",
    "content-disposition",
    "content-length",
    "content-range",
    "content-security-policy",
    "content-type",
    "date",
    "etag",
    "x-accel-buffering",
    "x-content-type-options",
];

/// A request and how it was answered, its body aside.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// The request's body, if it is JSON.
    pub(crate) body: Option<Value>,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

impl Exchange {
    /// Checks all but the answer's body.
    pub(crate) fn check(&self) {
        let Some(operation) = self.operation() else {
            assert!(self.status.is_client_error(), "{self}: nothing of this is described");
            return;
        };
        let response = self.response(operation);
        for (name, value) in &self.headers {
            let name = name.as_str();
            if PLAIN.contains(&name) {
                continue;
            }
            let schema = resolve(&response["headers"][name])["schema"].clone();
            assert!(schema.is_object(), "{self}: the header {name} isn't described");
            let value = coerce(value.to_str().unwrap(), &schema);
            complain(|| format!("{self}: header {name}"), &Document::errors(&schema, &value));
        }
        if self.status.is_success() {
            self.check_query(operation);
            self.check_request(operation);
        }
    }

    /// Checks the answer's body.
    pub(crate) fn check_body(&self, body: &[u8]) {
        let kind = self.headers.get("content-type").map_or("", |kind| kind.to_str().unwrap());
        let kind = kind.split(';').next().unwrap();
        let schema = match self.operation() {
            None => json!({"$ref": "#/components/schemas/Error"}),
            Some(operation) => {
                let content = &self.response(operation)["content"];
                // What has no content has no type.
                if kind.is_empty() && body.is_empty() && content.as_object().is_none_or(serde_json::Map::is_empty) {
                    return;
                }
                // A file's own type, and what it says, isn't ours.
                if content["*/*"].is_object() {
                    return;
                }
                let schema = &content[kind]["schema"];
                assert!(schema.is_object(), "{self}: an answer of the type `{kind}` isn't described");
                schema.clone()
            }
        };
        if kind == "application/json" {
            let value = serde_json::from_slice(body).unwrap();
            complain(|| format!("{self}: {value}"), &Document::errors(&schema, &value));
        }
    }

    /// What is said of the route, if it is one.
    fn operation(&self) -> Option<&'static Value> {
        // Whoever asks for the head alone gets that of GET.
        let method = if self.method == Method::HEAD { &Method::GET } else { &self.method };
        let method = method.as_str().to_ascii_lowercase();
        let paths = DOCUMENT.closed["paths"].as_object().unwrap();
        let mut fitting: Vec<&String> = paths.keys().filter(|path| fits(path, self.uri.path())).collect();
        fitting.sort_by_key(|path| path.matches('{').count());
        paths[fitting.first()?.as_str()].get(&method)
    }

    fn response(&self, operation: &'static Value) -> &'static Value {
        let response = operation["responses"].get(self.status.as_str());
        resolve(response.unwrap_or_else(|| panic!("{self}: this status isn't described")))
    }

    fn ignored(&self) -> BTreeSet<&str> {
        let header = self.headers.get("x-tenure-ignored").map_or("", |value| value.to_str().unwrap());
        header.split(", ").collect()
    }

    /// Whatever the server takes of the query is described, and as described.
    fn check_query(&self, operation: &Value) {
        // What needs no key reads nothing of a request.
        if operation["security"].is_array() {
            return;
        }
        let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        let ignored = self.ignored();
        for (name, values) in pairs(&self.uri) {
            if name == "beta" || ignored.contains(name.as_str()) {
                continue;
            }
            let bare = name.trim_end_matches("[]");
            let described = parameters.iter().find(|parameter| {
                let described = parameter["name"].as_str().unwrap();
                parameter["in"] == "query" && (described == name || described.trim_end_matches("[]") == bare)
            });
            let described = described.unwrap_or_else(|| panic!("{self}: the parameter {name} isn't described"));
            let schema = &described["schema"];
            let value = match schema["type"].as_str() {
                Some("array") => values.iter().map(|value| coerce(value, &schema["items"])).collect(),
                _ if values == [""] => continue,
                _ => coerce(&values[0], schema),
            };
            complain(|| format!("{self}: parameter {name}"), &Document::errors(schema, &value));
        }
    }

    /// Whatever the server takes of the body is described, and as described.
    fn check_request(&self, operation: &Value) {
        let Some(body) = &self.body else { return };
        // Bytes may look like JSON.
        let Some(json) = operation["requestBody"]["content"].get("application/json") else { return };
        let mut body = body.clone();
        self.ignored().into_iter().for_each(|path| remove(&mut body, path));
        complain(|| format!("{self}: accepted {body}"), &Document::errors(&json["schema"], &body));
    }
}

impl std::fmt::Display for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} → {}", self.method, self.uri, self.status)
    }
}

/// Checks the data of a frame: `event` is its name, `id` whether it has a cursor.
pub(crate) fn check_frame(event: &str, id: bool, data: &Value) {
    let events = &DOCUMENT.open["components"]["schemas"]["Event"]["discriminator"]["mapping"];
    let kind = data["type"].as_str().unwrap();
    let reference = events.get(kind).cloned().unwrap_or_else(|| "#/components/schemas/StreamedEvent".into());
    let stored = events.get(kind).is_some() && kind != "session.deleted";
    assert_eq!(id, stored, "a cursor is on what is stored alone: {kind}");
    assert!([kind, "message"].contains(&event), "{event} isn't what {kind} is sent as");
    complain(|| format!("the frame {data}"), &Document::errors(&json!({"$ref": reference}), data));
}

/// Whether the description allows this body to be sent there.
pub(crate) fn allows(method: &str, path: &str, body: &Value) -> bool {
    let paths = DOCUMENT.open["paths"].as_object().unwrap();
    let route = paths.keys().filter(|template| fits(template, path)).min_by_key(|path| path.matches('{').count());
    let schema = &paths[route.unwrap()][method]["requestBody"]["content"]["application/json"]["schema"];
    DOCUMENT.validator(&DOCUMENT.open, schema).is_valid(body)
}

impl Document {
    /// What is wrong with a value, with nothing undescribed in it.
    fn errors(schema: &Value, value: &Value) -> Vec<String> {
        let validator = DOCUMENT.validator(&DOCUMENT.closed, schema);
        if validator.is_valid(value) {
            return Vec::new();
        }
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    fn validator(&self, document: &Value, schema: &Value) -> Arc<Validator> {
        let open = std::ptr::eq(document, &self.open);
        let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        let validator = validators.entry(format!("{open} {schema}")).or_insert_with(|| {
            let root = json!({"allOf": [schema], "components": {"schemas": document["components"]["schemas"]}});
            Arc::new(jsonschema::draft202012::options().should_validate_formats(true).build(&root).unwrap())
        });
        Arc::clone(validator)
    }
}

fn complain(what: impl Fn() -> String, errors: &[String]) {
    assert!(errors.is_empty(), "{}\nisn't as the description in OpenAPI has it:\n{}", what(), errors.join("\n"));
}

/// Nothing may be in an object that isn't described, unless the description says that anything may.
fn close(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("properties").is_some_and(Value::is_object) && !map.contains_key("additionalProperties") {
                map.insert("additionalProperties".to_owned(), false.into());
            }
            // A condition says nothing of what else may be there.
            let conditional = map.contains_key("if");
            let parts = map.iter_mut().filter(|(key, _)| !(conditional && matches!(key.as_str(), "if" | "then")));
            parts.for_each(|(_, part)| close(part));
        }
        Value::Array(list) => list.iter_mut().for_each(close),
        _ => {}
    }
}

fn resolve(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        None => value,
        Some(reference) => DOCUMENT.closed.pointer(reference.trim_start_matches('#')).unwrap(),
    }
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    let fits =
        |(expected, given): (&&str, &&str)| expected == given || (expected.starts_with('{') && !given.is_empty());
    template.len() == path.len() && template.iter().zip(&path).all(fits)
}

fn pairs(uri: &Uri) -> HashMap<String, Vec<String>> {
    let mut pairs: HashMap<String, Vec<String>> = HashMap::new();
    for pair in uri.query().unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
        pairs.entry(decode(name)).or_default().push(decode(value));
    }
    pairs
}

/// What a text in a header or a query stands for.
fn coerce(text: &str, schema: &Value) -> Value {
    match schema["type"].as_str() {
        Some("integer") => text.parse::<u64>().map_or_else(|_| text.into(), Value::from),
        Some("boolean") => match text {
            "true" | "1" => true.into(),
            "false" | "0" => false.into(),
            _ => text.into(),
        },
        // A plus sign that came as a space is meant as one.
        _ if schema["format"] == "date-time" => text.replace(' ', "+").into(),
        _ => text.into(),
    }
}

/// Takes a field out of a body by its path, as `x-tenure-ignored` has it.
fn remove(body: &mut Value, path: &str) {
    let (outer, name) = path.rsplit_once('.').unwrap_or(("", path));
    let mut parts = outer.split('.').filter(|part| !part.is_empty());
    let found = parts.try_fold(body, |value, part| match value {
        Value::Array(list) => list.get_mut(part.parse::<usize>().ok()?),
        Value::Object(map) => map.get_mut(part),
        _ => None,
    });
    // What a header can't carry is a question mark there.
    let plain = |c: char| if c.is_ascii_graphic() && c != ',' { c } else { '?' };
    if let Some(Value::Object(map)) = found {
        map.retain(|key, _| key.chars().map(plain).take(80).collect::<String>() != name);
    }
}
