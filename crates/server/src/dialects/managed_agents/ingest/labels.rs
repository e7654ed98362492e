//! Labels, which are ours: at most 16 short words, each once.

use serde_json::Value;
use tenure_core::session::Labels;

use crate::problem::Problem;
use crate::request::{Fields, Given, describe};

pub(in super::super) const MOST: usize = 16;
pub(in super::super) const LONGEST: usize = 63;

/// What a label is made of, beside letters and digits.
const SIGNS: &[u8] = b"-_./";

/// All labels of something; null is the same as none.
pub(super) fn labels(fields: &mut Fields<'_>) -> Result<Option<Labels>, Problem> {
    let path = fields.at("labels");
    let given = match fields.list("labels")? {
        Given::Absent => return Ok(None),
        Given::Null => Vec::new(),
        Given::Value(list) => list,
    };
    if given.len() > MOST {
        return Err(Problem::invalid(&path, format!("expected at most {MOST} labels, got {}", given.len())));
    }
    let mut labels = Labels::new();
    for (at, value) in given.into_iter().enumerate() {
        let path = format!("{path}.{at}");
        let Value::String(text) = value else {
            return Err(Problem::invalid(&path, format!("expected a string, got {}", describe(&value))));
        };
        let text = label(&path, text)?;
        let shown = describe(&Value::String(text.clone()));
        if !labels.insert(text) {
            return Err(Problem::invalid(&path, format!("expected each label once, got {shown} again")));
        }
    }
    Ok(Some(labels))
}

/// One label, as it is given to a session and looked for.
pub(in super::super) fn label(path: &str, text: String) -> Result<String, Problem> {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || SIGNS.contains(&byte);
    if (1..=LONGEST).contains(&text.len()) && text.bytes().all(sound) {
        return Ok(text);
    }
    let given = describe(&Value::String(text));
    let message = format!("expected 1 to {LONGEST} letters, digits, `-`, `_`, `.` and `/`, got {given}");
    Err(Problem::invalid(path, message))
}
