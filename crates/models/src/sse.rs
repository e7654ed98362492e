//! Server-sent events, read from bytes that may be split anywhere.
//!
//! Follows the event-stream grammar of the HTML standard (`CR`, `LF` and `CRLF` end lines, a leading BOM is skipped,
//! comments are ignored, `data` lines are joined by a line feed), with two liberties that model servers need: a frame
//! that the end of the stream leaves open counts (llama.cpp ends with `data: [DONE]` and no blank line), and a field
//! `error` is read as an event of that name (llama.cpp before September 2025).

/// One event: its name, empty if it has none, and its data, never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) event: String,
    pub(crate) data: String,
}

/// A frame larger than the parser's bound.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FrameTooLarge {
    pub(crate) limit_bytes: usize,
}

/// The parser's state between two pieces of input.
#[derive(Debug)]
pub(crate) struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    first_line: bool,
    event: String,
    data: String,
    has_data: bool,
    limit_bytes: usize,
}

impl Parser {
    /// A parser that refuses frames of more than `limit_bytes`.
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            line: Vec::new(),
            after_cr: false,
            first_line: true,
            event: String::new(),
            data: String::new(),
            has_data: false,
            limit_bytes,
        }
    }

    /// Reads more input and appends the frames it completes to `frames`.
    pub(crate) fn feed(&mut self, mut input: &[u8], frames: &mut impl Extend<Frame>) -> Result<(), FrameTooLarge> {
        if self.after_cr && !input.is_empty() {
            self.after_cr = false;
            input = input.strip_prefix(b"\n").unwrap_or(input);
        }
        while let Some(end) = input.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            self.push(&input[..end])?;
            frames.extend(self.end_line());
            let is_cr = input[end] == b'\r';
            input = &input[end + 1..];
            if is_cr {
                self.after_cr = input.is_empty();
                input = input.strip_prefix(b"\n").unwrap_or(input);
            }
        }
        self.push(input)
    }

    /// The frame the end of the stream leaves open, if any.
    pub(crate) fn finish(&mut self) -> Option<Frame> {
        let complete = self.end_line();
        complete.or_else(|| self.dispatch())
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), FrameTooLarge> {
        if self.line.len() + self.data.len() + bytes.len() > self.limit_bytes {
            return Err(FrameTooLarge { limit_bytes: self.limit_bytes });
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Option<Frame> {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        let bom = if std::mem::take(&mut self.first_line) { "\u{feff}" } else { "" };
        let line = line.strip_prefix(bom).unwrap_or(&line);
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => self.add_data(value),
            "error" => {
                "error".clone_into(&mut self.event);
                self.add_data(value);
            }
            // Comments (an empty field name), `id`, `retry`, and what nobody knows.
            _ => {}
        }
        None
    }

    fn add_data(&mut self, value: &str) {
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push('\n');
        }
        self.data.push_str(value);
    }

    fn dispatch(&mut self) -> Option<Frame> {
        self.has_data = false;
        let frame = Frame { event: std::mem::take(&mut self.event), data: std::mem::take(&mut self.data) };
        (!frame.data.is_empty()).then_some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::{Frame, FrameTooLarge, Parser};

    fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
        let (mut parser, mut frames) = (Parser::new(1 << 20), Vec::new());
        for piece in pieces {
            parser.feed(piece, &mut frames).expect("small");
        }
        frames.extend(parser.finish());
        frames
    }

    fn frame(event: &str, data: &str) -> Frame {
        Frame { event: event.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn the_grammar() {
        let cases: &[(&str, Vec<Frame>)] = &[
            ("data: a\n\n", vec![frame("", "a")]),
            ("\u{feff}data: a\r\n\r\ndata:b\r\r", vec![frame("", "a"), frame("", "b")]),
            ("event: x\n: ping\nid: 7\ndata: a\ndata:  b\ndata\n\n", vec![frame("x", "a\n b\n")]),
            ("event: lonely\n\ndata: a\n\n", vec![frame("", "a")]),
            ("data:\n\ndata: a\n\n", vec![frame("", "a")]),
            ("data: a\n\ndata: [DONE]", vec![frame("", "a"), frame("", "[DONE]")]),
            ("error: {\"code\":400}\n\n", vec![frame("error", "{\"code\":400}")]),
            ("<html>\n<body>\n\n", vec![]),
            ("", vec![]),
        ];
        for (input, expected) in cases {
            assert_eq!(&parse([input.as_bytes()]), expected, "{input:?}");
        }
    }

    /// The frames of a stream don't depend on where its bytes are cut.
    #[test]
    fn every_split_gives_the_same_frames() {
        let input = "\u{feff}event: é\r\ndata: 日本\r\ndata: b\n\r\n: c\rdata: 🦀\r\r\n\ndata: {\"a\":1}\n\nevent: end\ndata: z";
        let bytes = input.as_bytes();
        let whole = parse([bytes]);
        assert_eq!(whole.len(), 4);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(parse(pieces), whole, "split at {first} and {second}");
            }
        }
        assert_eq!(parse(bytes.chunks(1)), whole);
    }

    #[test]
    fn an_endless_frame_is_refused() {
        let (mut parser, mut frames) = (Parser::new(100), Vec::new());
        let refused = (0..10).find_map(|_| parser.feed(b"data: 0123456789\n", &mut frames).err());
        assert_eq!(refused, Some(FrameTooLarge { limit_bytes: 100 }));
    }
}
