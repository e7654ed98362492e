//! Output that is too long for a model: it is kept whole in a file of the sandbox, and the model gets its beginning and its end.
//!
//! The same call gives the same words each time it is run, and writing the file again does no harm: so a crash in between
//! changes nothing.

use std::time::Duration;

use tenure_core::id::ItemId;
use tenure_sandbox::{Order, Work};

use crate::guest::{Answer, KEEP_OUTPUT, OUTPUTS, WORKSPACE};
use crate::{ToolCtx, ToolError, call};

/// The most characters of one result that a model is given, as the peer's tools.
pub(crate) const MOST_CHARS: usize = 100_000;

/// How much of a longer one it gets of the beginning, and of the end.
const EDGE_CHARS: usize = 10_000;

/// Where all of an output is.
pub(crate) enum Whole<'w> {
    /// In this file already.
    At(&'w str),
    /// Nowhere yet.
    Unkept,
}

/// The text, or its beginning and end if it is too long; then all of it is in a file, which they name.
pub(crate) async fn shortened(ctx: &ToolCtx, text: String, whole: Whole<'_>) -> Result<String, ToolError> {
    // Each character has a byte at least.
    let chars = if text.len() > MOST_CHARS { text.chars().count() } else { 0 };
    if chars <= MOST_CHARS {
        return Ok(text);
    }
    let head = text.char_indices().nth(EDGE_CHARS).map_or(text.len(), |(at, _)| at);
    let tail = text.char_indices().nth(chars - EDGE_CHARS).map_or(0, |(at, _)| at);
    let (head, tail, lines) = (text[..head].to_owned(), text[tail..].to_owned(), text.lines().count());
    let rest = match whole {
        Whole::At(path) => {
            format!(
                "Read smaller parts of {path} with `view_range` ({lines} lines are meant here), or search it with `grep`."
            )
        }
        Whole::Unkept => match keep(ctx, text).await? {
            Ok(path) => format!(
                "All of it is in {path} ({lines} lines): read on with `read` and its `view_range`, or search it with `grep`."
            ),
            Err(reason) => format!("The rest couldn't be kept: {reason}"),
        },
    };
    let omitted = chars - 2 * EDGE_CHARS;
    Ok(format!("{head}\n[… {omitted} of {chars} characters left out here. {rest} …]\n{tail}"))
}

/// How often the file is written anew if whoever wrote it was ended: what a server before this one had begun may be cleared away
/// just then.
const TRIES: u128 = 3;

/// Writes all of it to a file; gives its path, or why there is none, for the model.
async fn keep(ctx: &ToolCtx, text: String) -> Result<Result<String, String>, ToolError> {
    let name = format!("{}.txt", ctx.call.prefixed());
    let input = [name.as_bytes(), b"\n", text.as_bytes()].concat();
    for attempt in 0..TRIES {
        if ctx.cancel.is_cancelled() {
            break;
        }
        let writer = ItemId::from_bits(ctx.call.bits() ^ (WRITER + attempt));
        let work = Work::Op { name: KEEP_OUTPUT.to_owned(), input: input.clone() };
        let order = Order { timeout: Some(Duration::from_secs(60)), ..Order::new(writer, work) };
        let end = call::run(ctx, order, None).await;
        // Its journal isn't needed: writing again does no harm.
        let _ = ctx.workspace.acknowledge(writer).await;
        match end {
            Ok(exit) => match exit.code.map(|code| Answer::read(code, &exit.stdout)) {
                Some(Answer::Done(_)) => return Ok(Ok(format!("{WORKSPACE}/{OUTPUTS}/{name}"))),
                Some(Answer::Refused(reason)) => return Ok(Err(reason)),
                Some(Answer::Broken(problem)) => tracing::warn!(call = %ctx.call, problem, "output not kept"),
                None if exit.timed_out => return Ok(Err("writing it took too long".to_owned())),
                None => {}
            },
            Err(ToolError::SandboxLost) => return Err(ToolError::SandboxLost),
            Err(ToolError::Operator { doing, source }) => {
                tracing::warn!(call = %ctx.call, error = &*source as &dyn std::error::Error, "output not kept: {doing}");
            }
            Err(ToolError::Model(_) | ToolError::Interrupted { .. } | ToolError::Cancelled) => {}
        }
    }
    Ok(Err("writing it was broken off".to_owned()))
}

/// Tells the call that writes the file from the one whose output it is.
const WRITER: u128 = 0x6f75_7470_7574_5f6b_6570_745f_6279_0000;
