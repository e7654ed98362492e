//! What there is to say of one route beside its line in the table.

use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::parameter::Parameter;

/// Describes a route. Every line of the table of routes has one.
pub(crate) type Describe = fn(&mut Schemas) -> Operation;

/// The schemas that the document names, gathered while its routes are described.
pub(crate) struct Schemas {
    generator: SchemaGenerator,
    written: Map<String, Value>,
}

impl Schemas {
    pub(crate) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
            settings.untagged_enum_variant_titles = true;
        });
        Self { generator: settings.into_generator(), written: Map::new() }
    }

    /// The schema of what is printed as `T`.
    pub(crate) fn of<T: JsonSchema>(&mut self) -> Value {
        self.generator.subschema_for::<T>().to_value()
    }

    /// The schema of `T`, to be taken apart.
    pub(crate) fn apart<T: JsonSchema>(&mut self) -> Value {
        T::json_schema(&mut self.generator).to_value()
    }

    /// Gives a schema that was written by hand a name; gives a reference to it.
    pub(crate) fn named(&mut self, name: &str, schema: Value) -> Value {
        self.written.insert(name.to_owned(), schema);
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    pub(super) fn finish(mut self) -> Map<String, Value> {
        let mut all = self.generator.take_definitions(true);
        all.append(&mut self.written);
        all
    }
}

/// A route's parameters, body and answer.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(super) id: &'static str,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<RequestBody>,
    pub(super) answer: Answer,
    /// Whether its body may name something that isn't there.
    pub(super) looks_up: bool,
    /// Whether what it is about may have been removed for good.
    pub(super) may_be_gone: bool,
    /// Whether it gives parts, one of which may not be there.
    pub(super) may_lack_part: bool,
    /// What the frames of a stream are, if it answers with one on request.
    pub(super) streams: Option<Value>,
    /// Other answers of requests that succeed: the status, what it means, and whether there is content.
    pub(super) also: Vec<(u16, &'static str, bool)>,
}

/// What a request carries.
#[derive(Debug)]
pub(super) struct RequestBody {
    pub(super) media_type: &'static str,
    pub(super) schema: Value,
    pub(super) required: bool,
    pub(super) example: Value,
}

/// What a request that succeeds is answered with.
#[derive(Debug)]
pub(super) enum Answer {
    Json(Value),
    Text(&'static str),
    /// Bytes of any type.
    Bytes,
    /// The connection becomes a WebSocket.
    Upgrade,
    /// Server-sent events; the schema is that of a frame's data.
    Stream(Value),
}

const JSON: &str = "application/json";

impl Operation {
    /// An operation without parameters that answers with JSON of this schema.
    pub(crate) fn new(id: &'static str, answer: Value) -> Self {
        Self {
            id,
            parameters: Vec::new(),
            body: None,
            answer: Answer::Json(answer),
            looks_up: false,
            may_be_gone: false,
            may_lack_part: false,
            streams: None,
            also: Vec::new(),
        }
    }

    pub(crate) fn text(id: &'static str, media_type: &'static str) -> Self {
        Self { answer: Answer::Text(media_type), ..Self::new(id, Value::Null) }
    }

    pub(crate) fn stream(id: &'static str, data: Value) -> Self {
        Self { answer: Answer::Stream(data), ..Self::new(id, Value::Null) }
    }

    pub(crate) fn bytes(id: &'static str) -> Self {
        Self { answer: Answer::Bytes, ..Self::new(id, Value::Null) }
    }

    pub(crate) fn upgrade(id: &'static str) -> Self {
        Self { answer: Answer::Upgrade, ..Self::new(id, Value::Null) }
    }

    /// On request it answers with server-sent events, whose data are of this schema.
    pub(crate) fn or_streams(self, data: Value) -> Self {
        Self { streams: Some(data), ..self }
    }

    /// A request that succeeds may also be answered so.
    pub(crate) fn also(mut self, status: u16, doc: &'static str, content: bool) -> Self {
        self.also.push((status, doc, content));
        self
    }

    pub(crate) fn may_be_gone(self) -> Self {
        Self { may_be_gone: true, ..self }
    }

    pub(crate) fn may_lack_part(self) -> Self {
        Self { may_lack_part: true, ..self }
    }

    /// Its body is bytes, taken as they come.
    pub(crate) fn takes_bytes(self, media_type: &'static str) -> Self {
        let body = RequestBody { media_type, schema: json!({}), required: true, example: Value::Null };
        Self { body: Some(body), ..self }
    }

    /// It needs a body of this schema. The example is accepted as it is, but for its ids.
    pub(crate) fn takes(self, schema: Value, example: Value) -> Self {
        Self { body: Some(RequestBody { media_type: JSON, schema, required: true, example }), ..self }
    }

    /// It may have a body of this schema.
    pub(crate) fn may_take(self, schema: Value, example: Value) -> Self {
        Self { body: Some(RequestBody { media_type: JSON, schema, required: false, example }), ..self }
    }

    /// It needs no body, and takes one without a meaning.
    pub(crate) fn bare(self) -> Self {
        self.may_take(json!({"type": "object", "description": "Nothing in it means anything."}), json!({}))
    }

    /// The same for another route.
    pub(crate) fn named(self, id: &'static str) -> Self {
        Self { id, ..self }
    }

    pub(crate) fn with(mut self, parameters: impl IntoIterator<Item = Parameter>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    /// What its body names has to be there.
    pub(crate) fn looks_up(self) -> Self {
        Self { looks_up: true, ..self }
    }
}
