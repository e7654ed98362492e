//! Server-sent events, read from bytes that may be split anywhere (WHATWG HTML, "Parsing an event stream").

/// One event, with the id that was last given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// The id of the event itself.
    pub(super) id: Option<String>,
    pub(super) data: String,
}

/// The state between two pieces of input. Lines end with LF or CRLF, as every server of ours sends them.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    id: Option<String>,
    data: Option<String>,
}

impl Parser {
    /// The events that the next piece completes.
    pub(super) fn feed(&mut self, mut input: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&input[..end]);
            input = &input[end + 1..];
            frames.extend(self.end_line());
        }
        self.line.extend_from_slice(input);
        frames
    }

    fn end_line(&mut self) -> Option<Frame> {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        let line = line.strip_suffix('\r').unwrap_or(&line);
        if line.is_empty() {
            let (id, data) = (self.id.take(), self.data.take());
            return data.map(|data| Frame { id, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (field, &mut self.data) {
            ("id", _) => self.id = Some(value.to_owned()),
            ("data", None) => self.data = Some(value.to_owned()),
            ("data", Some(data)) => {
                data.push('\n');
                data.push_str(value);
            }
            // Comments have an empty name; the event's name is in its data too.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Frame, Parser};

    #[test]
    fn events_come_whole_wherever_the_bytes_are_cut() {
        let input =
            ": open\n\nid: 7\r\nevent: agent.message\r\ndata: {\"a\":\r\ndata: \"é🦀\"}\r\n\r\ndata:x\n\nid: 9\n\n"
                .as_bytes();
        let expected = vec![
            Frame { id: Some("7".to_owned()), data: "{\"a\":\n\"é🦀\"}".to_owned() },
            Frame { id: None, data: "x".to_owned() },
        ];
        for size in 1..=input.len() {
            let mut parser = Parser::default();
            let frames: Vec<Frame> = input.chunks(size).flat_map(|piece| parser.feed(piece)).collect();
            assert_eq!(frames, expected, "in pieces of {size}");
        }
    }
}
