//! The conversation of a thread as its model sees it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Message, Part, Role};

/// Messages per sealed chunk: what deciding copies at most, however long the conversation is.
const CHUNK: usize = 64;

/// A conversation, oldest message first. Copying one shares all but the newest few messages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    sealed: Vec<Arc<Vec<Arc<Message>>>>,
    open: Vec<Arc<Message>>,
}

impl Transcript {
    /// Adds a part; it joins the last message if that is by the same speaker.
    pub fn push(&mut self, role: Role, part: Part) {
        if let Some(last) = self.open.last_mut()
            && last.role == role
        {
            Arc::make_mut(last).parts.push(part);
            return;
        }
        if self.open.len() == CHUNK {
            self.sealed.push(Arc::new(std::mem::take(&mut self.open)));
        }
        self.open.push(Arc::new(Message { role, parts: vec![part] }));
    }

    /// All messages, oldest first.
    pub fn messages(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.sealed.iter().flat_map(|chunk| chunk.iter()).chain(&self.open)
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.sealed.len() * CHUNK + self.open.len()
    }

    /// Whether nothing has been said.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, Transcript};
    use crate::content::Block;
    use crate::model::{Part, Role};

    fn said(text: &str) -> Part {
        Part::Content { block: Block::text(text) }
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
        let mut transcript = Transcript::default();
        for turn in 0..CHUNK * 3 {
            transcript.push(if turn % 2 == 0 { Role::User } else { Role::Assistant }, said(&turn.to_string()));
        }
        let texts: Vec<_> = transcript.messages().map(|message| message.parts[0].clone()).collect();
        assert_eq!(texts, (0..CHUNK * 3).map(|turn| said(&turn.to_string())).collect::<Vec<_>>());
        assert_eq!(transcript.len(), CHUNK * 3);
    }
}
