//! Parameters in query and headers.

use serde_json::{Value, json};

use super::schema;

/// A parameter.
#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    name: String,
    place: &'static str,
    schema: Value,
    doc: String,
    ours: bool,
    required: bool,
}

impl Parameter {
    pub(crate) fn query(name: &str, schema: Value, doc: &str) -> Self {
        Self { name: name.to_owned(), place: "query", schema, doc: doc.to_owned(), ours: false, required: false }
    }

    pub(crate) fn header(name: &str, schema: Value, doc: &str) -> Self {
        Self { place: "header", ..Self::query(name, schema, doc) }
    }

    pub(super) fn path(name: &str) -> Self {
        let doc = format!("The id of the {name}. Something that is no id names nothing: 404.");
        Self { place: "path", doc, required: true, ..Self::query(name, json!({"type": "string", "minLength": 1}), "") }
    }

    /// Tenure's own.
    pub(crate) fn ours(self) -> Self {
        Self { ours: true, ..self }
    }

    pub(crate) fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// A list of words, `name[]=one&name[]=two`.
    pub(crate) fn words(name: &str, words: &[&str], doc: &str) -> Self {
        let schema = json!({"type": "array", "items": {"enum": words}});
        Self::query(&format!("{name}[]"), schema, doc)
    }

    /// `true` or `false`; false unless it is sent.
    pub(crate) fn flag(name: &str, doc: &str) -> Self {
        Self::query(name, json!({"type": "boolean", "default": false}), doc)
    }

    pub(crate) fn limit(default: u64, most: u64) -> Self {
        let mut schema = schema::integer(1, most);
        schema["default"] = default.into();
        Self::query("limit", schema, "The most rows of a page.")
    }

    pub(crate) fn page() -> Self {
        let schema = json!({"type": "string", "pattern": "^page_[A-Za-z0-9_-]+$"});
        Self::query(
            "page",
            schema,
            "A cursor that an earlier page of the same list gave. It belongs to the list's order.",
        )
    }

    pub(crate) fn order(default: &str) -> Self {
        Self::query("order", json!({"enum": ["asc", "desc"], "default": default}), "The oldest or the newest first.")
    }

    /// The bounds of a time.
    pub(crate) fn times(name: &str, of_what: &str) -> [Self; 4] {
        let bounds = [("gt", "after"), ("gte", "at or after"), ("lt", "before"), ("lte", "at or before")];
        bounds.map(|(bound, word)| {
            let schema = json!({"type": "string", "format": "date-time"});
            Self::query(&format!("{name}[{bound}]"), schema, &format!("Only those {of_what} {word} this time."))
        })
    }

    /// What the API has and this server doesn't yet: a value is refused.
    pub(crate) fn not_yet(name: &str, what: &str) -> Self {
        Self::query(name, json!({"type": "string", "maxLength": 0}), &format!("{what} not supported yet."))
    }

    pub(super) fn print(self) -> Value {
        let Self { name, place, schema, doc, ours, required } = self;
        let mut printed = json!({"name": name, "in": place, "schema": schema, "description": doc});
        if required {
            printed["required"] = true.into();
        }
        if ours {
            printed["x-tenure"] = true.into();
        }
        printed
    }
}
