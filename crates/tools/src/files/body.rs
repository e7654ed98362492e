//! A body on its way into the sandbox: pieces with their length before them, then an empty one, so that one that was cut
//! short is told from a whole one.

use std::io::{self, Read};

/// The most bytes of a piece.
const MOST_PIECE_BYTES: usize = 1 << 20;

/// What ends a body.
pub(crate) const END: [u8; 4] = [0; 4];

/// A piece as it travels; it must not be empty.
pub(crate) fn frame(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    bytes.chunks(MOST_PIECE_BYTES).map(|piece| {
        let length = u32::try_from(piece.len()).unwrap_or(0);
        [&length.to_le_bytes(), piece].concat()
    })
}

/// Reads a body; one that was cut short is an error.
#[derive(Debug)]
pub(crate) struct BodyReader<R> {
    source: R,
    left: usize,
    over: bool,
}

impl<R: Read> BodyReader<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, left: 0, over: false }
    }
}

impl<R: Read> Read for BodyReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.over {
            let mut length = [0; 4];
            self.source.read_exact(&mut length)?;
            self.left = u32::from_le_bytes(length) as usize;
            self.over = self.left == 0;
        }
        if self.over || into.is_empty() {
            return Ok(0);
        }
        let most = into.len().min(self.left);
        let length = self.source.read(&mut into[..most])?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= length;
        Ok(length)
    }
}

/// What comes out of the sandbox: pieces, and at last whether it was all.
#[derive(Debug)]
pub struct Body {
    pub(super) process: tenure_sandbox::Process,
    /// What came with the first line.
    pub(super) first: Vec<u8>,
    /// How many bytes are to come; `None` where nobody knows before the end.
    pub(super) left: Option<u64>,
}

impl Body {
    /// The next piece; `None` once all has come. It is an error if it ends early, or doesn't end.
    pub async fn next(&mut self) -> Option<io::Result<Vec<u8>>> {
        loop {
            let piece = match std::mem::take(&mut self.first) {
                first if !first.is_empty() => first,
                _ => match self.process.output.recv().await {
                    Some(tenure_sandbox::Output::Out(piece)) => piece,
                    Some(tenure_sandbox::Output::Err(_)) => continue,
                    None => return self.end().await,
                },
            };
            match &mut self.left {
                None => return Some(Ok(piece)),
                Some(left) => match left.checked_sub(piece.len() as u64) {
                    Some(less) => {
                        *left = less;
                        return Some(Ok(piece));
                    }
                    None => return Some(Err(io::Error::other("more came out of the sandbox than was said"))),
                },
            }
        }
    }

    async fn end(&mut self) -> Option<io::Result<Vec<u8>>> {
        let whole = matches!((&mut self.process.end).await, Ok(Ok(exit)) if exit.code == Some(0));
        if whole && self.left.is_none_or(|left| left == 0) {
            return None;
        }
        Some(Err(io::Error::other("it broke off in the sandbox")))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::{BodyReader, END, frame};

    #[test]
    fn a_whole_body_is_told_from_one_that_is_cut_short() {
        let given: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
        let mut sent: Vec<u8> = frame(&given).flatten().collect();
        let mut read = Vec::new();
        assert!(BodyReader::new(sent.as_slice()).read_to_end(&mut read).is_err());
        sent.extend(END);
        sent.extend(b"rest");
        read.clear();
        BodyReader::new(sent.as_slice()).read_to_end(&mut read).expect("whole");
        assert!(read == given);
    }
}
