//! `ask`: asks a person. There is nothing to run: what the person says is the result.

use serde_json::json;
use tenure_core::agent::ASK;
use tenure_core::model::ToolSpec;
use tenure_core::question::MAX_CHOICES;

/// The tool as the model is told of it.
pub fn ask() -> ToolSpec {
    ToolSpec {
        name: ASK.to_owned(),
        description: "Asks the person you work for a question and waits for the answer, which is the result. Use it when \
                      you can't go on well without something that only they know or may decide; not for what you can \
                      find out yourself, and not to report. Ask one thing at a time, so that it can be answered without \
                      having seen your work."
            .to_owned(),
        input_schema: json!({
            "type": "object",
            "properties": {
                "question": {"type": "string", "description": "The question, in full sentences."},
                "choices": {
                    "type": "array",
                    "items": {"type": "string"},
                    "maxItems": MAX_CHOICES,
                    "description": "Answers to choose from, if there are obvious ones. The person may answer otherwise.",
                },
            },
            "required": ["question"],
        }),
    }
}
