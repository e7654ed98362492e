//! What a tool takes: one list of fields per tool, from which its JSON Schema is made and its input is read.
//!
//! Models add fields that no tool knows, so unknown ones are ignored, and `null` counts as absent. A field of the wrong
//! type is told to the model with what was expected and what came.

use serde_json::{Map, Value, json};

/// One field of a tool's input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    /// Its name in the JSON object.
    pub(crate) name: &'static str,
    /// What it holds.
    pub(crate) kind: Kind,
    /// Whether the model must give it.
    pub(crate) required: bool,
    /// What it means, for the model.
    pub(crate) description: &'static str,
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Flag,
    /// A whole number from 0.
    Count,
    /// Two whole numbers: the first and the last line.
    LineRange,
}

impl Kind {
    fn schema(self) -> Value {
        match self {
            Self::Text => json!({ "type": "string" }),
            Self::Flag => json!({ "type": "boolean" }),
            Self::Count => json!({ "type": "integer", "minimum": 0 }),
            Self::LineRange => json!({ "type": "array", "items": { "type": "integer" }, "minItems": 2, "maxItems": 2 }),
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Flag => "true or false",
            Self::Count => "a whole number, 0 or more",
            Self::LineRange => "[start_line, end_line], two whole numbers",
        }
    }

    fn accepts(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Flag => value.is_boolean(),
            Self::Count => whole(value).is_some_and(|number| number >= 0),
            Self::LineRange => line_range(value).is_some(),
        }
    }
}

/// The JSON Schema of an input with these fields.
pub(crate) fn schema(fields: &[Field]) -> Value {
    let mut properties = Map::new();
    for field in fields {
        let mut property = field.kind.schema();
        property["description"] = json!(field.description);
        properties.insert(field.name.to_owned(), property);
    }
    let required: Vec<&str> = fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

/// A tool's input whose known fields have the right types.
#[derive(Debug)]
pub(crate) struct Input {
    values: Map<String, Value>,
}

impl Input {
    /// Checks `input` against the fields of the tool `tool`; the error is for the model.
    pub(crate) fn check(tool: &str, fields: &[Field], input: Value) -> Result<Self, String> {
        let Value::Object(mut values) = input else {
            return Err(format!("{tool}: expected a JSON object as input, got {}", shown(&input)));
        };
        values.retain(|name, value| !value.is_null() && fields.iter().any(|field| field.name == name));
        for field in fields {
            match values.get(field.name) {
                None if field.required => {
                    return Err(format!("{tool}: `{}` is required: {}", field.name, field.kind.expected()));
                }
                Some(value) if !field.kind.accepts(value) => {
                    let (name, expected) = (field.name, field.kind.expected());
                    return Err(format!("{tool}: `{name}`: expected {expected}, got {}", shown(value)));
                }
                None | Some(_) => {}
            }
        }
        Ok(Self { values })
    }

    /// The text of a field, if it was given.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.as_str()
    }

    /// The text of a required field.
    pub(crate) fn required_text(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }

    /// A flag; `false` if it wasn't given.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.values.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// A number, if it was given.
    pub(crate) fn count(&self, name: &str) -> Option<u64> {
        self.values.get(name).and_then(whole).and_then(|number| number.try_into().ok())
    }

    /// First and last line, if they were given.
    pub(crate) fn line_range(&self, name: &str) -> Option<(i64, i64)> {
        self.values.get(name).and_then(line_range)
    }

    /// The known fields, to be sent on.
    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.values)
    }
}

/// Some models write `5.0` for 5.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
    })
}

fn line_range(value: &Value) -> Option<(i64, i64)> {
    match value.as_array()?.as_slice() {
        [start, end] => Some((whole(start)?, whole(end)?)),
        _ => None,
    }
}

fn shown(value: &Value) -> String {
    const SHOWN_CHARS: usize = 80;
    let kind = match value {
        Value::Null => return "null".to_owned(),
        Value::Bool(_) => "",
        Value::Number(_) => "the number ",
        Value::String(_) => "the string ",
        Value::Array(_) => "the array ",
        Value::Object(_) => "the object ",
    };
    let text = value.to_string();
    let cut = text.char_indices().nth(SHOWN_CHARS).map(|(at, _)| at);
    cut.map_or_else(|| format!("{kind}{text}"), |at| format!("{kind}{}…", &text[..at]))
}
