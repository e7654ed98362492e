//! Lines that a person types.

use std::borrow::Cow;
use std::io::IsTerminal as _;

use anyhow::{Context as _, Result};
use reedline::{Prompt, PromptEditMode, PromptHistorySearch, Reedline, Signal};

/// What came of asking for a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// A line, without its end.
    Said(String),
    /// Nothing more will come (Ctrl-D).
    End,
    /// Ctrl-C.
    BrokenOff,
}

/// Where lines come from: a person at a terminal. It remembers what was typed before.
pub(super) struct Lines(Reedline);

impl Lines {
    pub(super) fn new() -> Self {
        Self(Reedline::create().with_ansi_colors(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())))
    }

    /// Whether there is a person to ask.
    pub(super) fn has_person() -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Asks for a line; blocks.
    pub(super) fn ask(&mut self, question: &str) -> Result<Line> {
        let answer = self.0.read_line(&Question(question)).context("can't read from the terminal")?;
        Ok(match answer {
            Signal::Success(line) => Line::Said(line),
            Signal::CtrlC => Line::BrokenOff,
            _ => Line::End,
        })
    }
}

/// A prompt that is one text.
struct Question<'q>(&'q str);

impl Prompt for Question<'_> {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.0)
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed(" > ")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("... ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        Cow::Owned(format!("(search: {}) ", search.term))
    }
}
