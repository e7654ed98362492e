//! What is to be run.

use std::time::Duration;

use serde_json::{Value, json};
use tenure_engine::{Launch, TerminalSize, Work};

use crate::openapi::schema;
use crate::problem::Problem;
use crate::request::{Fields, describe};

const MOST_ARGUMENTS: usize = 4_096;
const MOST_VARIABLES: usize = 1_024;
const LONGEST: usize = 1 << 17;

/// The longest time-out, and what is taken without one.
const MOST_SECONDS: u64 = 24 * 3600;
const SECONDS: u64 = 600;

/// The fields of a command. One with a terminal, or that is talked with, has no time-out unless it says.
pub(super) fn read(fields: &mut Fields<'_>, talked_with: bool) -> Result<Launch, Problem> {
    let command = without_nul(fields, "command")?;
    let argv = fields.list("argv")?.value();
    let argv = match (command, argv) {
        (Some(command), None) => ["/bin/sh", "-c", &command].map(str::to_owned).to_vec(),
        (None, Some(argv)) => words(fields, argv)?,
        (Some(_), Some(_)) => return Err(fields.wrong("argv", "expected either this or `command`, got both")),
        (None, None) => return Err(fields.wrong("command", "expected this, or `argv`, got neither")),
    };
    let cwd = without_nul(fields, "cwd")?.unwrap_or_default();
    let env = match fields.take("env").value() {
        None => Vec::new(),
        Some(Value::Object(env)) if env.len() <= MOST_VARIABLES => variables(fields, env)?,
        Some(Value::Object(env)) => {
            return Err(fields.wrong("env", format!("expected at most {MOST_VARIABLES} variables, got {}", env.len())));
        }
        Some(other) => return Err(fields.wrong("env", format!("expected an object, got {}", describe(&other)))),
    };
    let timeout = fields.integer("timeout", 1, MOST_SECONDS)?.value();
    let timeout = timeout.or((!talked_with).then_some(SECONDS)).map(Duration::from_secs);
    let work = Work::Exec { argv, env, cwd, stdin: Vec::new() };
    Ok(Launch { timeout, ..Launch::new(work) })
}

/// What no program can be told.
const NUL: &str = "expected a text without a NUL, got one with it";

fn without_nul(fields: &mut Fields<'_>, name: &str) -> Result<Option<String>, Problem> {
    match fields.text(name, LONGEST)?.value() {
        Some(text) if text.contains('\0') => Err(fields.wrong(name, NUL)),
        given => Ok(given),
    }
}

fn words(fields: &Fields<'_>, argv: Vec<Value>) -> Result<Vec<String>, Problem> {
    if argv.is_empty() || argv.len() > MOST_ARGUMENTS {
        let message = format!("expected 1 to {MOST_ARGUMENTS} words, the first a program's name, got {}", argv.len());
        return Err(fields.wrong("argv", message));
    }
    let word = |(at, word): (usize, Value)| {
        let wrong = |message: String| Err(fields.wrong(&format!("argv.{at}"), message));
        match word {
            Value::String(word) if word.contains('\0') => wrong(NUL.to_owned()),
            Value::String(word) if word.len() > LONGEST => wrong(too_long(&word)),
            Value::String(word) if word.is_empty() && at == 0 => {
                wrong("expected a program's name, got an empty string".to_owned())
            }
            Value::String(word) => Ok(word),
            other => wrong(format!("expected a string, got {}", describe(&other))),
        }
    };
    argv.into_iter().enumerate().map(word).collect()
}

fn variables(fields: &Fields<'_>, env: serde_json::Map<String, Value>) -> Result<Vec<(String, String)>, Problem> {
    let variable = |(name, value): (String, Value)| {
        if name.is_empty() || name.contains(['=', '\0']) {
            let given = describe(&Value::String(name));
            let message = format!("expected names that aren't empty and have neither `=` nor a NUL, got {given}");
            return Err(fields.wrong("env", message));
        }
        let wrong = |message: String| Err(fields.wrong(&format!("env.{name}"), message));
        match value {
            Value::String(value) if value.contains('\0') => wrong(NUL.to_owned()),
            Value::String(value) if value.len() > LONGEST => wrong(too_long(&value)),
            Value::String(value) => Ok((name, value)),
            other => wrong(format!("expected a string, got {}", describe(&other))),
        }
    };
    env.into_iter().map(variable).collect()
}

fn too_long(text: &str) -> String {
    format!("expected at most {LONGEST} bytes, got {}", text.len())
}

/// The field `terminal`.
pub(super) fn terminal(fields: &mut Fields<'_>) -> Result<Option<TerminalSize>, Problem> {
    fields.object("terminal")?.value().map(|mut size| self::size(&mut size)).transpose()
}

/// `{columns, rows}`.
pub(super) fn size(fields: &mut Fields<'_>) -> Result<TerminalSize, Problem> {
    let mut number = |name: &str, default: u16| -> Result<u16, Problem> {
        let given = fields.integer(name, 1, u64::from(u16::MAX))?.value();
        Ok(given.and_then(|given| u16::try_from(given).ok()).unwrap_or(default))
    };
    Ok(TerminalSize { columns: number("columns", 80)?, rows: number("rows", 24)? })
}

/// The fields that every command has.
pub(super) fn described() -> [(&'static str, Value); 5] {
    let said = |schema: Value, doc: &str| schema::nullable(schema::said(schema, doc));
    [
        ("command", said(schema::text(0, LONGEST), "A line for `/bin/sh`. Either this or `argv`.")),
        (
            "argv",
            said(
                schema::list(schema::text(0, LONGEST), 1, MOST_ARGUMENTS),
                "A program and its arguments, as they are.",
            ),
        ),
        ("cwd", said(schema::text(0, LONGEST), "Where it starts. Default: `/workspace`.")),
        (
            "env",
            said(
                json!({"type": "object", "additionalProperties": {"type": "string"}}),
                "Variables besides those that every command has.",
            ),
        ),
        (
            "timeout",
            said(
                schema::integer(1, MOST_SECONDS),
                "After how many seconds it is killed with all it started. Default: 600; over a WebSocket none.",
            ),
        ),
    ]
}
