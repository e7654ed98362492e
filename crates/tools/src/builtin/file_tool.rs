//! What the file tools share: the input is checked, sent into the sandbox, and the answer read.

use std::time::Duration;

use futures_core::future::BoxFuture;
use serde_json::Value;
use tenure_core::model::ToolSpec;
use tenure_sandbox::{Order, Work};

use crate::guest::{self, Answer, Body, Workspace};
use crate::input::{self, Field, Input};
use crate::spill::{Whole, shortened};
use crate::{Tool, ToolContent, ToolCtx, ToolError, ToolResult, call};

/// A tool that is a function over the sandbox's files.
#[derive(Debug)]
pub(crate) struct FileTool {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) fields: &'static [Field],
    /// The work, done inside the sandbox. The error is for the model.
    pub(crate) guest: fn(&Workspace<'_>, &Input) -> Result<Body, String>,
    /// The most bytes the answer can have, besides text within [`crate::ToolLimits::output_cap_bytes`].
    pub(crate) answer_cap_bytes: usize,
}

/// How long a search goes on before it gives what it has; the peer's gives up after as long.
const LONGEST_SEARCH: Duration = Duration::from_secs(30);

impl Tool for FileTool {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: self.name.to_owned(),
            description: self.description.to_owned(),
            input_schema: input::schema(self.fields),
        }
    }

    fn run<'a>(&'a self, ctx: ToolCtx, input: Value) -> BoxFuture<'a, Result<ToolResult, ToolError>> {
        Box::pin(async move {
            let input = Input::check(self.name, self.fields, input).map_err(ToolError::Model)?;
            // What is read from a file is in that file.
            let path = input.text("file_path").map(str::to_owned);
            let timeout = ctx.limits.default_timeout;
            let give_up_after = LONGEST_SEARCH.min(timeout / 2);
            let order = guest::Order {
                input: input.into_value(),
                give_up_after_ms: give_up_after.as_millis().try_into().unwrap_or(u64::MAX),
                output_cap_bytes: ctx.limits.output_cap_bytes,
            };
            let work = Work::Op {
                name: self.name.to_owned(),
                input: serde_json::to_vec(&order).map_err(|source| ToolError::Operator {
                    doing: format!("writing the order of `{}`", self.name),
                    source: source.into(),
                })?,
            };
            let order = Order {
                timeout: Some(timeout),
                // Notes and messages come on top of the text's own cap.
                output_cap_bytes: self.answer_cap_bytes + ctx.limits.output_cap_bytes + 64 * 1024,
                asked_at: ctx.asked_at,
                ..Order::new(ctx.call, work)
            };
            // What an op writes is no output for people, so it has no progress.
            let exit = call::run(&ctx, order, None).await?;
            if exit.cancelled {
                return Err(ToolError::Cancelled);
            }
            if exit.timed_out {
                return Err(ToolError::Model(format!(
                    "{}: took longer than {} s and was stopped",
                    self.name,
                    timeout.as_secs()
                )));
            }
            let told = exit.limits_told();
            if exit.code.is_none() && !told.is_empty() {
                return Err(ToolError::Model(format!("{}: {}", self.name, told.join("; "))));
            }
            let broken = |problem: String| ToolError::Operator {
                doing: format!("running `{}` in the sandbox", self.name),
                source: problem.into(),
            };
            if exit.truncated {
                return Err(broken(format!("the answer is {} bytes longer than foreseen", exit.omitted_bytes)));
            }
            let Some(code) = exit.code else {
                return Err(broken(format!("it was ended by signal {}", exit.signal.unwrap_or_default())));
            };
            match Answer::read(code, &exit.stdout) {
                Answer::Done(Body::Text(text)) => {
                    let whole = path.as_deref().map_or(Whole::Unkept, Whole::At);
                    Ok(ToolResult::text(shortened(&ctx, text, whole).await?))
                }
                Answer::Done(Body::Media { media_type, bytes }) => {
                    Ok(ToolResult { content: vec![media(media_type, bytes)], is_error: false })
                }
                Answer::Refused(message) => Err(ToolError::Model(message)),
                Answer::Broken(problem) => Err(broken(
                    format!("exit code {code}: {problem} {}", String::from_utf8_lossy(&exit.stderr)).trim().to_owned(),
                )),
            }
        })
    }
}

fn media(media_type: String, bytes: Vec<u8>) -> ToolContent {
    match media_type.starts_with("image/") {
        true => ToolContent::Image { media_type, bytes },
        false => ToolContent::Document { media_type, bytes },
    }
}
