//! The format of a script: a list of rules, of which the first that matches plays.
//!
//! ```yaml
//! - when: (?i)hello            # a regex on the last user text; without it, the rule always matches
//!   steps:                     # one per reply since that text
//!     - thinking: A greeting.
//!       text: Hello! Let me look around.
//!       tools:
//!         - name: bash
//!           input: {command: ls}
//!       delay_ms: 100          # waited before the reply
//!       pace_ms: 20            # waited before each piece of its text
//!       usage: {input: 900, output: 80}   # tokens it counts as; without it, none
//!     - text: "You have: {{last_tool_result}}"
//! ```
//!
//! `text`, `thinking` and every string in an `input` may hold `{{last_tool_result}}`, the text of the newest tool
//! result, and `{{last_user_text}}`, each without the white space around it.

use std::time::Duration;

use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};
use serde_saphyr::Spanned;
use tenure_core::model::TokenUsage;

/// The names a template may hold.
pub(super) const PLACEHOLDERS: &[&str] = &["last_tool_result", "last_user_text"];

/// A script, checked.
pub(super) type Rules = Vec<Rule>;

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) when: Option<Regex>,
    pub(super) steps: Vec<Step>,
}

/// One reply.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) thinking: Option<String>,
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) tools: Vec<ToolStep>,
    delay_ms: Option<u64>,
    pace_ms: Option<u64>,
    /// The tokens it is to count; a script takes none of its own.
    #[serde(default)]
    pub(super) usage: TokenUsage,
}

impl Step {
    /// How long the reply waits.
    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.unwrap_or(0))
    }

    /// How long each piece of its text and thinking waits.
    pub(super) fn pace(&self) -> Duration {
        Duration::from_millis(self.pace_ms.unwrap_or(0))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToolStep {
    pub(super) name: String,
    #[serde(default)]
    pub(super) input: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    when: Option<Spanned<String>>,
    steps: Vec<Spanned<Step>>,
}

/// Reads a script. An error begins with the line it is about.
pub(super) fn parse(text: &str) -> Result<Rules, String> {
    let files: Vec<RuleFile> = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        let plain = error.without_snippet().to_string();
        format!("{line}: expected a list of `{{when, steps: [{{thinking, text, tools, delay_ms, pace_ms, usage}}]}}`: {plain}")
    })?;
    files.into_iter().map(rule).collect()
}

fn rule(file: RuleFile) -> Result<Rule, String> {
    let when = file.when.map(|when| {
        let line = when.referenced.line();
        Regex::new(&when.value).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            format!("{line}: `when` is no regular expression: {reason}")
        })
    });
    let steps = file.steps.into_iter().map(|step| {
        let line = step.referenced.line();
        let texts = [&step.value.thinking, &step.value.text];
        let unknown = texts.into_iter().flatten().find_map(|text| unknown_placeholder(text));
        let unknown =
            unknown.or_else(|| step.value.tools.iter().flat_map(|tool| tool.input.values()).find_map(unknown_in));
        match unknown {
            None => Ok(step.value),
            Some(name) => Err(format!(
                "{line}: unknown placeholder `{{{{{name}}}}}`: expected one of {}",
                PLACEHOLDERS.join(", ")
            )),
        }
    });
    Ok(Rule { when: when.transpose()?, steps: steps.collect::<Result<_, _>>()? })
}

fn unknown_in(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => unknown_placeholder(text),
        Value::Array(items) => items.iter().find_map(unknown_in),
        Value::Object(fields) => fields.values().find_map(unknown_in),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Something between double braces that looks like a name and isn't one of ours. Other double braces are only text.
fn unknown_placeholder(text: &str) -> Option<String> {
    let names = text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).map(|(name, _)| name);
    let is_name = |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    names.filter(is_name).find(|name| !PLACEHOLDERS.contains(name)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn mistakes_are_told_with_their_line() {
        let cases = [
            ("- when: a\n  steps:\n    - txt: hello\n", "3: expected a list", "txt"),
            (
                "- when: a\n  steps:\n    - text: hello\n- when: 'x['\n  steps: []\n",
                "4: `when` is no regular expression",
                "unclosed",
            ),
            (
                "- steps:\n    - text: a\n    - text: '{{last_result}}'\n",
                "3: unknown placeholder `{{last_result}}`",
                "last_tool_result",
            ),
            ("when: a\n", "1: expected a list", ""),
            ("- steps:\n    - tools: [{name: a, input: 3}]\n", "2: expected a list", ""),
        ];
        for (text, begins, contains) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with(begins) && error.contains(contains), "{error}");
        }
        assert_eq!(parse("- steps:\n    - text: 'Go: {{ .Name }} {{}}'\n").map(|rules| rules.len()), Ok(1));
    }
}
