//! Metadata: at most 16 pairs, names of up to 64 characters, values of up to 512.

use serde_json::{Map, Value};
use tenure_core::session::Metadata;

use crate::problem::Problem;
use crate::request::{Fields, Given, describe};

pub(in super::super) const PAIRS: usize = 16;
pub(in super::super) const NAME: usize = 64;
pub(in super::super) const VALUE: usize = 512;

/// All metadata of something new.
pub(super) fn whole(fields: &mut Fields<'_>) -> Result<Metadata, Problem> {
    let path = fields.at("metadata");
    let Some(map) = map(fields, &path)? else { return Ok(Metadata::new()) };
    if map.len() > PAIRS {
        return Err(Problem::invalid(&path, format!("expected at most {PAIRS} pairs, got {}", map.len())));
    }
    map.into_iter().map(|(name, value)| pair(&path, name, value)).collect()
}

/// Changes by name; `None` removes it.
pub(super) fn changes(fields: &mut Fields<'_>) -> Result<Vec<(String, Option<String>)>, Problem> {
    let path = fields.at("metadata");
    let Some(map) = map(fields, &path)? else { return Ok(Vec::new()) };
    let change = |(name, value): (String, Value)| match value {
        Value::Null => Ok((name, None)),
        value => pair(&path, name, value).map(|(name, value)| (name, Some(value))),
    };
    map.into_iter().map(change).collect()
}

fn map(fields: &mut Fields<'_>, path: &str) -> Result<Option<Map<String, Value>>, Problem> {
    match fields.take("metadata") {
        Given::Absent | Given::Null => Ok(None),
        Given::Value(Value::Object(map)) => Ok(Some(map)),
        Given::Value(other) => {
            Err(Problem::invalid(path, format!("expected an object of strings, got {}", describe(&other))))
        }
    }
}

fn pair(path: &str, name: String, value: Value) -> Result<(String, String), Problem> {
    let shown: String = name.chars().take(NAME).collect();
    if !(1..=NAME).contains(&name.chars().count()) {
        return Err(Problem::invalid(path, format!("expected names of 1 to {NAME} characters, got `{shown}…`")));
    }
    let path = format!("{path}.{shown}");
    match value {
        Value::String(value) if value.chars().count() <= VALUE => Ok((name, value)),
        Value::String(value) => {
            let length = value.chars().count();
            Err(Problem::invalid(&path, format!("expected at most {VALUE} characters, got {length}")))
        }
        other => Err(Problem::invalid(&path, format!("expected a string, got {}", describe(&other)))),
    }
}
