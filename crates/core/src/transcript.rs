//! The conversation of a thread as its model sees it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::content::Block;
use crate::model::{Message, Part, Role};
use crate::tokens;

/// Messages per sealed chunk: what deciding copies at most, however long the conversation is.
const CHUNK: usize = 64;

/// What stands for the output of a call that was left out.
const LEFT_OUT: &str = "[This output was left out later on, to make room in the conversation.]";

/// The characters that are kept of what the user said last, when the message itself leaves.
const ASKED_CHARS: usize = 4_000;

/// The bytes of instructions that are kept word for word when the messages leave that they stood in; the newest whatever its
/// length.
const INSTRUCTIONS_BYTES: usize = 16_000;

/// A conversation, oldest message first. Copying one shares all but the newest few messages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preface: Option<Arc<Preface>>,
    sealed: Vec<Arc<Vec<Arc<Message>>>>,
    open: Vec<Arc<Message>>,
    /// The tokens of all of it, guessed.
    tokens: u64,
}

/// What stands in place of messages that left the conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Preface {
    /// What the model wrote about them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    /// Whether messages left that the summary doesn't speak of.
    #[serde(default)]
    gap: bool,
    /// What the user said last, if that left too and nothing the user said is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<String>,
    /// What whoever runs the agent said in them: that holds on, the newest of it word for word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    instructions: Vec<String>,
}

impl Transcript {
    /// Adds a part; it joins the last message if that is by the same speaker.
    pub fn push(&mut self, role: Role, part: Part) {
        self.tokens += tokens::of_part(&part);
        if let Some(last) = self.open.last_mut()
            && last.role == role
        {
            Arc::make_mut(last).parts.push(part);
            return;
        }
        let message = Message { role, parts: Vec::new() };
        self.tokens += tokens::of_message(&message);
        self.append(Arc::new(Message { parts: vec![part], ..message }));
    }

    /// A reply is complete. Thinking at its end, after which nothing was said or called, isn't sent back: providers take
    /// it only before something else. A reply that holds nothing else leaves no message.
    pub fn end_reply(&mut self) {
        let Some(last) = self.open.last_mut().filter(|last| last.role == Role::Assistant) else { return };
        let is_thought = |part: &Part| matches!(part, Part::Thinking { .. } | Part::RedactedThinking { .. });
        if !last.parts.last().is_some_and(is_thought) {
            return;
        }
        let last = Arc::make_mut(last);
        self.tokens -= tokens::of_message(last);
        let said = last.parts.iter().rposition(|part| !is_thought(part)).map_or(0, |at| at + 1);
        last.parts.truncate(said);
        if last.parts.is_empty() {
            self.open.pop();
        } else {
            self.tokens += tokens::of_message(last);
        }
        self.unseal();
    }

    /// Makes it shorter: the oldest `left` messages leave, for the summary if there is one, and in the oldest `emptied` of
    /// those that stay the output of calls gives way to a note.
    pub fn compact(&mut self, summary: Option<&str>, left: usize, emptied: usize) {
        let messages: Vec<Arc<Message>> = self.messages().cloned().collect();
        let (gone, stay) = messages.split_at(left.min(messages.len()));
        let mut preface = self.preface.as_deref().cloned().unwrap_or_default();
        match summary {
            Some(summary) => (preface.summary, preface.gap) = (Some(summary.to_owned()), false),
            None => preface.gap |= !gone.is_empty(),
        }
        preface.instructions.extend(gone.iter().flat_map(|message| &message.parts).filter_map(|part| match part {
            Part::System { text } => Some(text.clone()),
            _ => None,
        }));
        preface.keep_newest_instructions();
        preface.asked = match stay.iter().any(|message| asked(message).is_some()) {
            true => None,
            false => gone.iter().rev().find_map(|message| asked(message)).or(preface.asked),
        };
        *self = Self::default();
        if preface != Preface::default() {
            self.tokens = tokens::of_message(&Message { role: Role::User, parts: preface.parts() });
            self.preface = Some(Arc::new(preface));
        }
        for (at, message) in stay.iter().enumerate() {
            let message = if at < emptied { emptied_of_output(message) } else { message.clone() };
            self.tokens += tokens::of_message(&message);
            self.append(message);
        }
    }

    /// What stands in place of messages that left: parts of a user's message before all others.
    pub fn preface(&self) -> Vec<Part> {
        self.preface.as_deref().map(Preface::parts).unwrap_or_default()
    }

    /// All messages that are left, oldest first.
    pub fn messages(&self) -> impl DoubleEndedIterator<Item = &Arc<Message>> {
        self.sealed.iter().flat_map(|chunk| chunk.iter()).chain(&self.open)
    }

    /// How many messages are left.
    pub fn len(&self) -> usize {
        self.sealed.len() * CHUNK + self.open.len()
    }

    /// Whether no message is left.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The tokens it takes, guessed.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    fn append(&mut self, message: Arc<Message>) {
        if self.open.len() == CHUNK {
            self.sealed.push(Arc::new(std::mem::take(&mut self.open)));
        }
        self.open.push(message);
    }

    /// The newest messages are always open to be added to.
    fn unseal(&mut self) {
        if self.open.is_empty()
            && let Some(chunk) = self.sealed.pop()
        {
            self.open = Arc::unwrap_or_clone(chunk);
        }
    }
}

impl Preface {
    /// Whoever gives new ones again and again must not fill the window with them. Of those that go, a summary speaks.
    fn keep_newest_instructions(&mut self) {
        let mut room = INSTRUCTIONS_BYTES;
        let newest = self.instructions.iter().rev().skip(1).take_while(|text| {
            room = room.saturating_sub(text.len());
            room > 0
        });
        let kept = newest.count() + 1;
        self.instructions.drain(..self.instructions.len().saturating_sub(kept));
    }

    fn parts(&self) -> Vec<Part> {
        let gap = "[Earlier messages of this conversation were left out, to make room for newer ones.]";
        let mut texts = Vec::new();
        if let Some(summary) = &self.summary {
            texts.push(format!(
                "[A summary of this conversation so far, in place of its earlier messages:]\n\n{summary}"
            ));
        }
        texts.extend(self.gap.then(|| gap.to_owned()));
        texts.extend(
            self.asked
                .as_ref()
                .map(|asked| format!("[What the user had said last, before the messages that follow:]\n\n{asked}")),
        );
        let texts = texts.into_iter().map(|text| Part::Content { block: Block::text(text) });
        texts.chain(self.instructions.iter().map(|text| Part::System { text: text.clone() })).collect()
    }
}

/// A message as it is without the output of calls. A short one stays, since a note is no shorter.
pub(crate) fn emptied_of_output(message: &Arc<Message>) -> Arc<Message> {
    let note = Block::text(LEFT_OUT);
    let limit = tokens::of_text(LEFT_OUT);
    let is_long = |part: &Part| matches!(part, Part::ToolResult { .. }) && tokens::of_part(part) > 2 * limit;
    if !message.parts.iter().any(is_long) {
        return message.clone();
    }
    let mut message = Message::clone(message);
    for part in message.parts.iter_mut().filter(|part| is_long(part)) {
        if let Part::ToolResult { content, .. } = part {
            *content = vec![note.clone()];
        }
    }
    Arc::new(message)
}

/// The beginning of what the user said in a message; `None` if that is only the output of calls.
fn asked(message: &Message) -> Option<String> {
    if message.role != Role::User {
        return None;
    }
    let blocks = message.parts.iter().filter_map(|part| match part {
        Part::Content { block } => Some(block.as_text().unwrap_or("[A picture or document.]")),
        Part::System { .. } | Part::ToolResult { .. } | Part::ToolUse { .. } => None,
        Part::Thinking { .. } | Part::RedactedThinking { .. } => None,
    });
    let said = blocks.collect::<Vec<_>>();
    let text = said.join("\n");
    let end = text.char_indices().nth(ASKED_CHARS).map(|(end, _)| end);
    (!said.is_empty()).then(|| match end {
        Some(end) => format!("{}…", &text[..end]),
        None => text,
    })
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, INSTRUCTIONS_BYTES, Transcript};
    use crate::content::Block;
    use crate::model::{Part, Role};

    fn said(text: &str) -> Part {
        Part::Content { block: Block::text(text) }
    }

    fn thought() -> Part {
        Part::Thinking { text: "hm".to_owned(), signature: None }
    }

    /// As many messages, by each speaker in turn.
    fn of(messages: usize) -> Transcript {
        let mut transcript = Transcript::default();
        for turn in 0..messages {
            transcript.push(if turn % 2 == 0 { Role::User } else { Role::Assistant }, said(&turn.to_string()));
        }
        transcript
    }

    #[test]
    fn parts_of_one_speaker_join() {
        let mut transcript = Transcript::default();
        transcript.push(Role::User, said("a"));
        transcript.push(Role::User, said("b"));
        transcript.push(Role::Assistant, said("c"));
        let shape: Vec<_> = transcript.messages().map(|message| (message.role, message.parts.len())).collect();
        assert_eq!(shape, [(Role::User, 2), (Role::Assistant, 1)]);
    }

    #[test]
    fn sealing_keeps_order_and_count() {
        let transcript = of(CHUNK * 3);
        let texts: Vec<_> = transcript.messages().map(|message| message.parts[0].clone()).collect();
        assert_eq!(texts, (0..CHUNK * 3).map(|turn| said(&turn.to_string())).collect::<Vec<_>>());
        assert_eq!(transcript.len(), CHUNK * 3);
    }

    #[test]
    fn thinking_at_the_end_of_a_reply_is_not_sent_back() {
        let mut transcript = of(CHUNK + 1);
        let before = transcript.clone();
        transcript.push(Role::Assistant, thought());
        transcript.end_reply();
        assert_eq!(transcript, before, "a reply of thinking alone leaves nothing");
        // The reply may have been the first of its chunk.
        let mut transcript = of(CHUNK - 1);
        transcript.push(Role::Assistant, said("yes"));
        transcript.push(Role::User, said("go on"));
        transcript.push(Role::Assistant, thought());
        transcript.end_reply();
        transcript.push(Role::User, said("please"));
        assert_eq!((transcript.len(), transcript.messages().last().map(|last| last.parts.len())), (CHUNK + 1, Some(2)));
        let mut transcript = of(1);
        for part in [thought(), said("well"), thought()] {
            transcript.push(Role::Assistant, part);
        }
        transcript.end_reply();
        assert_eq!(transcript.messages().last().map(|last| last.parts.clone()), Some(vec![thought(), said("well")]));
    }

    #[test]
    fn instructions_without_end_leave_room_for_the_conversation() {
        let mut transcript = Transcript::default();
        for turn in 0..200 {
            transcript.push(Role::User, Part::System { text: format!("{turn} {}", "be brief ".repeat(50)) });
            transcript.push(Role::Assistant, said("yes"));
            transcript.compact(Some("so far"), transcript.len() - 1, 0);
        }
        let texts: Vec<String> = transcript
            .preface()
            .into_iter()
            .filter_map(|part| match part {
                Part::System { text } => Some(text),
                _ => None,
            })
            .collect();
        let bytes: usize = texts.iter().map(String::len).sum();
        assert!((INSTRUCTIONS_BYTES / 2..INSTRUCTIONS_BYTES + 500).contains(&bytes), "{bytes}");
        assert!(texts.last().is_some_and(|text| text.starts_with("199 ")), "the newest stay");
    }
}
