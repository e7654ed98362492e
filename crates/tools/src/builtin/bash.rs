//! `bash`: runs commands in the sandbox's persistent shell.

use std::time::Duration;

use futures_core::future::BoxFuture;
use serde_json::Value;
use tenure_core::model::ToolSpec;
use tenure_sandbox::{Exit, Order, Work, kept_head_bytes};

use crate::input::{self, Field, Input, Kind};
use crate::spill::{Whole, shortened};
use crate::terminal::plain;
use crate::{Tool, ToolContent, ToolCtx, ToolError, ToolLimits, ToolResult, call};

/// The tool.
#[derive(Debug)]
pub(crate) struct Bash;

const NAME: &str = "bash";
const FIELDS: &[Field] = &[
    Field {
        name: "command",
        kind: Kind::Text,
        required: false,
        description: "What to run, as bash reads it; several lines are fine. Required unless `restart` is true.",
    },
    Field {
        name: "restart",
        kind: Kind::Flag,
        required: false,
        description: "End the shell and all it has started, and begin with a fresh one. No command is run.",
    },
    Field {
        name: "timeout_ms",
        kind: Kind::Count,
        required: false,
        description: "How long the command may take, in milliseconds. Default (also for 0): two minutes, \
                      unless the operator has set another.",
    },
];

impl Tool for Bash {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: NAME.to_owned(),
            description: "Runs a command in a bash shell that stays from call to call: working directory, variables, \
                          functions and background jobs are kept. It starts in /workspace. Gives what the command \
                          prints, errors included, and the exit code if it isn't 0; of long output the beginning and \
                          the end, and the file that has all of it. There is no terminal and no input: give programs flags instead of answers (-y). \
                          Put servers into the background with `&`, their output in a file. To read, change and find \
                          files, prefer `read`, `edit`, `write`, `glob` and `grep`."
                .to_owned(),
            input_schema: input::schema(FIELDS),
        }
    }

    fn run<'a>(&'a self, ctx: ToolCtx, input: Value) -> BoxFuture<'a, Result<ToolResult, ToolError>> {
        Box::pin(async move {
            let input = Input::check(NAME, FIELDS, input).map_err(ToolError::Model)?;
            let restart = input.flag("restart");
            let command = input.text("command").unwrap_or_default();
            if !restart && command.trim().is_empty() {
                return Err(ToolError::Model(
                    "bash: `command` is required: the command to run; or set `restart` to true for a fresh shell"
                        .to_owned(),
                ));
            }
            if command.contains('\0') {
                return Err(ToolError::Model("bash: `command`: bash can't read a NUL character".to_owned()));
            }
            let timeout = timeout(&input, ctx.limits)?;
            let command = if restart { String::new() } else { command.to_owned() };
            let order = Order {
                timeout: Some(timeout),
                output_cap_bytes: ctx.limits.kept_output_bytes,
                asked_at: ctx.asked_at,
                ..Order::new(ctx.call, Work::Shell { command, restart })
            };
            let cap_bytes = order.output_cap_bytes;
            let exit = call::run(&ctx, order, ctx.progress.clone()).await?;
            if restart && exit.code == Some(0) {
                return Ok(ToolResult::text(if input.text("command").is_none_or(str::is_empty) {
                    "bash session restarted"
                } else {
                    "bash session restarted; the command was not run: send it again without `restart`"
                }));
            }
            let output = shortened(&ctx, output(&exit, cap_bytes), Whole::Unkept).await?;
            Ok(report(&exit, timeout, &output))
        })
    }
}

fn timeout(input: &Input, limits: ToolLimits) -> Result<Duration, ToolError> {
    match input.count("timeout_ms") {
        None | Some(0) => Ok(limits.default_timeout),
        Some(asked) if Duration::from_millis(asked) > limits.max_timeout => Err(ToolError::Model(format!(
            "bash: `timeout_ms`: at most {}, got {asked}; run longer work in the background with its output in a file",
            limits.max_timeout.as_millis()
        ))),
        Some(asked) => Ok(Duration::from_millis(asked)),
    }
}

/// What the model reads: what happened to the shell before, the output, and how it ended if not well.
fn report(exit: &Exit, timeout: Duration, output: &str) -> ToolResult {
    let mut text = String::new();
    if exit.shell_lost {
        text.push_str(
            "[the shell had ended since the last command, so this ran in a fresh one: its working directory, variables, \
             functions and background jobs are gone]\n",
        );
    }
    text.push_str(output);
    let mut notes = Vec::new();
    notes.extend(exit.limits_told().into_iter().map(|told| format!("[{told}]")));
    // The sandbox ends what the command started, and the shell only if that isn't enough.
    let shell = if exit.code.is_some() {
        "the shell lives on"
    } else {
        "the shell with it; the next command starts in a fresh one"
    };
    if exit.timed_out {
        let after = seconds(timeout);
        notes.push(format!("[timed out after {after} and was killed, {shell}. `timeout_ms` allows more time]"));
    } else if exit.cancelled {
        notes.push(format!("[cancelled before it ended; what it had started was killed, {shell}]"));
    } else {
        match (exit.code, exit.signal) {
            (Some(0), _) => {}
            (Some(code), _) => notes.push(format!("[exit code {code}]")),
            (None, Some(signal)) => notes.push(format!("[the shell was killed by signal {signal}]")),
            (None, None) => notes.push("[the shell ended without an exit code]".to_owned()),
        }
    }
    for note in notes {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&note);
    }
    if text.is_empty() {
        text.push_str("(no output)");
    }
    let is_error = exit.timed_out || exit.cancelled || exit.code != Some(0);
    ToolResult { content: vec![ToolContent::Text(text)], is_error }
}

fn output(exit: &Exit, cap_bytes: usize) -> String {
    let mut text = if exit.truncated {
        let (head, tail) = exit.stdout.split_at(exit.stdout.len().min(kept_head_bytes(cap_bytes)));
        let omitted = exit.omitted_bytes;
        format!(
            "{}\n[… {omitted} bytes of output left out here; to see all of it, send it to a file and read that …]\n{}",
            plain(head),
            plain(tail)
        )
    } else {
        plain(&exit.stdout)
    };
    if !exit.stderr.is_empty() {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&plain(&exit.stderr));
    }
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    text
}

fn seconds(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{} ms", duration.as_millis())
    }
}
