//! What a model may ask a person by its tool `ask`.

use serde_json::Value;

use crate::agent::ASK;

/// The most answers a question may offer.
pub const MAX_CHOICES: usize = 20;

/// What is wrong with the input of a question, for the model; `None` if a person can be asked it.
pub(crate) fn problem(input: &Value) -> Option<String> {
    let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.trim().is_empty());
    if !is_text(&input["question"]) {
        return Some(format!("{ASK}: `question`: expected a text that asks something"));
    }
    let fine = match &input["choices"] {
        Value::Null => true,
        Value::Array(choices) => choices.len() <= MAX_CHOICES && choices.iter().all(is_text),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => false,
    };
    (!fine).then(|| format!("{ASK}: `choices`: expected a list of at most {MAX_CHOICES} texts, or none"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::problem;

    #[test]
    fn a_question_has_a_text_and_perhaps_choices() {
        for fine in [
            json!({"question": "Which one?"}),
            json!({"question": "Which one?", "choices": ["a", "b"]}),
            json!({"question": "Which one?", "choices": null}),
            json!({"question": "Which one?", "choices": [], "more": 1}),
        ] {
            assert_eq!(problem(&fine), None, "{fine}");
        }
        for (wrong, field) in [
            (json!({}), "question"),
            (json!({"question": " "}), "question"),
            (json!({"question": ["a"]}), "question"),
            (json!({"question": "Which one?", "choices": "a"}), "choices"),
            (json!({"question": "Which one?", "choices": ["a", ""]}), "choices"),
            (json!({"question": "Which one?", "choices": vec!["a"; 21]}), "choices"),
        ] {
            assert!(problem(&wrong).is_some_and(|text| text.contains(field)), "{wrong}");
        }
    }
}
