//! Reading a JSON object field by field, so that every complaint names the field it is about.

use serde_json::{Map, Value};
use tenure_core::amount::bytes;

use crate::problem::Problem;

/// The paths of fields that nobody knows. They are told to the client in a header.
pub(crate) type Ignored = Vec<String>;

/// A JSON object that is being read. What hasn't been taken when it is dropped counts as ignored.
pub(crate) struct Fields<'i> {
    path: String,
    map: Map<String, Value>,
    ignored: &'i mut Ignored,
}

/// A field as it came. Absent and null differ where null clears.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Given<T> {
    Absent,
    Null,
    Value(T),
}

impl<T> Given<T> {
    /// The value, absent and null being the same.
    pub(crate) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    /// `None` leaves it, `Some(None)` clears it.
    #[expect(clippy::option_option, reason = "the two levels mean unchanged and cleared")]
    pub(crate) fn change(self) -> Option<Option<T>> {
        match self {
            Self::Absent => None,
            Self::Null => Some(None),
            Self::Value(value) => Some(Some(value)),
        }
    }

    pub(crate) fn try_map<U>(self, convert: impl FnOnce(T) -> Result<U, Problem>) -> Result<Given<U>, Problem> {
        Ok(match self {
            Self::Absent => Given::Absent,
            Self::Null => Given::Null,
            Self::Value(value) => Given::Value(convert(value)?),
        })
    }
}

impl<'i> Fields<'i> {
    /// Reads `value`, found at `path`, which has to be an object.
    pub(crate) fn of(path: impl Into<String>, value: Value, ignored: &'i mut Ignored) -> Result<Self, Problem> {
        let path = path.into();
        match value {
            Value::Object(map) => Ok(Self { path, map, ignored }),
            other => Err(Problem::invalid(&path, format!("expected an object, got {}", describe(&other)))),
        }
    }

    /// The path of one of its fields.
    pub(crate) fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A complaint about one of its fields.
    pub(crate) fn wrong(&self, name: &str, message: impl AsRef<str>) -> Problem {
        Problem::invalid(&self.at(name), message)
    }

    pub(crate) fn take(&mut self, name: &str) -> Given<Value> {
        match self.map.remove(name) {
            None => Given::Absent,
            Some(Value::Null) => Given::Null,
            Some(value) => Given::Value(value),
        }
    }

    /// What is in a field that has to be there.
    pub(crate) fn required(&mut self, name: &str, expected: &str) -> Result<Value, Problem> {
        match self.take(name) {
            Given::Value(value) => Ok(value),
            Given::Absent => Err(self.wrong(name, format!("expected {expected}, but the field is missing"))),
            Given::Null => Err(self.wrong(name, format!("expected {expected}, got null"))),
        }
    }

    pub(crate) fn string(&mut self, name: &str) -> Result<Given<String>, Problem> {
        let path = self.at(name);
        self.take(name).try_map(|value| match value {
            Value::String(text) => Ok(text),
            other => Err(Problem::invalid(&path, format!("expected a string, got {}", describe(&other)))),
        })
    }

    pub(crate) fn required_string(&mut self, name: &str) -> Result<String, Problem> {
        match self.required(name, "a string")? {
            Value::String(text) => Ok(text),
            other => Err(self.wrong(name, format!("expected a string, got {}", describe(&other)))),
        }
    }

    /// A text of a bounded number of characters.
    pub(crate) fn text(&mut self, name: &str, longest: usize) -> Result<Given<String>, Problem> {
        let path = self.at(name);
        self.string(name)?.try_map(|text| within(&path, text, 0, longest))
    }

    pub(crate) fn required_text(&mut self, name: &str, shortest: usize, longest: usize) -> Result<String, Problem> {
        let text = self.required_string(name)?;
        within(&self.at(name), text, shortest, longest)
    }

    pub(crate) fn bool(&mut self, name: &str) -> Result<Given<bool>, Problem> {
        let path = self.at(name);
        self.take(name).try_map(|value| match value {
            Value::Bool(value) => Ok(value),
            other => Err(Problem::invalid(&path, format!("expected true or false, got {}", describe(&other)))),
        })
    }

    /// A whole number within bounds, both included.
    pub(crate) fn integer(&mut self, name: &str, least: u64, most: u64) -> Result<Given<u64>, Problem> {
        self.whole(name, least, most, || format!("a whole number from {least} to {most}"))
    }

    /// A number of bytes within bounds, both included.
    pub(crate) fn bytes(&mut self, name: &str, least: u64, most: u64) -> Result<Given<u64>, Problem> {
        let expected = || format!("a number of bytes from {least} ({}) to {most} ({})", bytes(least), bytes(most));
        self.whole(name, least, most, expected)
    }

    fn whole(
        &mut self,
        name: &str,
        least: u64,
        most: u64,
        expected: impl FnOnce() -> String,
    ) -> Result<Given<u64>, Problem> {
        let path = self.at(name);
        // JSON has one kind of number: 3.0 is the whole number 3.
        let whole = |number: f64| (number.fract() == 0.0 && (0.0..1e15).contains(&number)).then_some(number as u64);
        self.take(name).try_map(|value| match value.as_u64().or_else(|| value.as_f64().and_then(whole)) {
            Some(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(Problem::invalid(&path, format!("expected {}, got {}", expected(), describe(&value)))),
        })
    }

    pub(crate) fn list(&mut self, name: &str) -> Result<Given<Vec<Value>>, Problem> {
        let path = self.at(name);
        self.take(name).try_map(|value| match value {
            Value::Array(list) => Ok(list),
            other => Err(Problem::invalid(&path, format!("expected a list, got {}", describe(&other)))),
        })
    }

    /// A nested object. While it is being read, this one waits.
    pub(crate) fn object(&mut self, name: &str) -> Result<Given<Fields<'_>>, Problem> {
        let path = self.at(name);
        self.take(name).try_map(|value| Fields::of(path, value, self.ignored))
    }

    /// Reads a value that was taken from this object as an object of its own.
    pub(crate) fn nested(&mut self, path: String, value: Value) -> Result<Fields<'_>, Problem> {
        Fields::of(path, value, self.ignored)
    }

    /// A word that has to be one of a few.
    pub(crate) fn one_of(&mut self, name: &str, words: &[&'static str]) -> Result<Given<&'static str>, Problem> {
        let path = self.at(name);
        self.string(name)?.try_map(|given| word(&path, &given, words))
    }

    pub(crate) fn required_one_of(&mut self, name: &str, words: &[&'static str]) -> Result<&'static str, Problem> {
        let path = self.at(name);
        match self.take(name) {
            Given::Value(Value::String(given)) => word(&path, &given, words),
            Given::Absent => {
                Err(Problem::invalid(&path, format!("expected {}, but the field is missing", either(words))))
            }
            Given::Null => Err(Problem::invalid(&path, format!("expected {}, got null", either(words)))),
            Given::Value(other) => {
                Err(Problem::invalid(&path, format!("expected {}, got {}", either(words), describe(&other))))
            }
        }
    }

    /// A field the peer knows and we don't support yet: absent, null and empty are accepted.
    pub(crate) fn unsupported(&mut self, name: &str, what: &str) -> Result<(), Problem> {
        let empty = match self.take(name) {
            Given::Absent | Given::Null => true,
            Given::Value(Value::Array(list)) => list.is_empty(),
            Given::Value(Value::Object(map)) => map.is_empty(),
            Given::Value(Value::String(text)) => text.is_empty(),
            Given::Value(Value::Bool(_) | Value::Number(_) | Value::Null) => false,
        };
        if empty { Ok(()) } else { Err(Problem::unsupported(&self.at(name), what)) }
    }
}

impl Drop for Fields<'_> {
    fn drop(&mut self) {
        let path = &self.path;
        let left = self.map.keys();
        self.ignored.extend(left.map(|name| if path.is_empty() { name.clone() } else { format!("{path}.{name}") }));
    }
}

/// What kind of value came, briefly and without quoting long ones.
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.is_empty() => "an empty string".to_owned(),
        Value::String(text) => {
            let start: String = text.chars().take(40).collect();
            if start.len() < text.len() { format!("`{start}…`") } else { format!("`{start}`") }
        }
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn within(path: &str, text: String, shortest: usize, longest: usize) -> Result<String, Problem> {
    let length = text.chars().count();
    if (shortest..=longest).contains(&length) {
        return Ok(text);
    }
    let expected = if shortest == 0 { format!("at most {longest}") } else { format!("{shortest} to {longest}") };
    Err(Problem::invalid(path, format!("expected {expected} characters, got {length}")))
}

fn word(path: &str, given: &str, words: &[&'static str]) -> Result<&'static str, Problem> {
    let found = words.iter().find(|word| **word == given).copied();
    found.ok_or_else(|| {
        let given = describe(&Value::String(given.to_owned()));
        Problem::invalid(path, format!("expected {}, got {given}", either(words)))
    })
}

fn either(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [only] => format!("`{only}`"),
        [first @ .., last] => format!("`{}` or `{last}`", first.join("`, `")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Fields, Given, Ignored};

    #[test]
    fn complaints_name_the_field_what_was_expected_and_what_came() {
        let mut ignored = Ignored::new();
        let value = json!({"name": "", "limit": 3.5, "most": 3.0, "on": "yes", "inner": {"kind": "b", "x": []}});
        let mut fields = Fields::of("top", value, &mut ignored).unwrap();
        assert_eq!(fields.integer("most", 1, 9), Ok(Given::Value(3)));
        let messages = [
            fields.required_text("name", 1, 3).unwrap_err().message,
            fields.integer("limit", 1, 9).unwrap_err().message,
            fields.bool("on").unwrap_err().message,
            fields.required_string("gone").unwrap_err().message,
        ];
        assert_eq!(
            messages,
            [
                "top.name: expected 1 to 3 characters, got 0",
                "top.limit: expected a whole number from 1 to 9, got 3.5",
                "top.on: expected true or false, got `yes`",
                "top.gone: expected a string, but the field is missing",
            ]
        );
        let Given::Value(mut inner) = fields.object("inner").unwrap() else { panic!("it is there") };
        assert_eq!(
            inner.required_one_of("kind", &["a", "c"]).unwrap_err().message,
            "top.inner.kind: expected `a` or `c`, got `b`"
        );
        assert!(inner.unsupported("x", "x is").is_ok());
    }

    #[test]
    fn what_nobody_takes_is_ignored_and_named() {
        let mut ignored = Ignored::new();
        let mut fields = Fields::of("", json!({"a": 1, "b": {"c": 2, "d": 3}, "e": null}), &mut ignored).unwrap();
        let Given::Value(mut inner) = fields.object("b").unwrap() else { panic!("it is there") };
        inner.take("c");
        drop(inner);
        drop(fields);
        ignored.sort();
        assert_eq!(ignored, ["a", "b.d", "e"]);
    }
}
