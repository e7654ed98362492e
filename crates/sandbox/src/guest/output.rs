use std::collections::VecDeque;
use std::os::fd::AsFd;

use rustix::buffer::spare_capacity;

/// How much output is read at once. There is a keeper in every sandbox: it should stay small.
const OUTPUT_CHUNK_BYTES: usize = 16 * 1024;

/// Reads output once. Of the place for it only what is read is ever touched: most tools print little, and a keeper would keep the rest
/// for its life.
pub(crate) fn read_chunk(pipe: impl AsFd) -> rustix::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(OUTPUT_CHUNK_BYTES);
    rustix::io::read(pipe, spare_capacity(&mut bytes))?;
    Ok(bytes)
}

/// How many chunks a pipe that is full holds, at its default size or up to the most that its user may ask for.
pub(crate) const MOST_CHUNKS_IN_A_PIPE: usize = (1 << 20) / OUTPUT_CHUNK_BYTES;

/// The most of a stream's end that is kept: it is held in memory, outside of the sandbox's limits.
const MOST_TAIL_BYTES: usize = 64 * 1024;

/// How much of a stream's beginning is kept, if so much of it is kept in all: half, or all but 64 KiB. The rest is its end.
pub fn kept_head_bytes(cap_bytes: usize) -> usize {
    cap_bytes - (cap_bytes - cap_bytes / 2).min(MOST_TAIL_BYTES)
}

/// What is kept of a stream: its first bytes and its last.
#[derive(Debug)]
pub(crate) struct Kept {
    head_left: usize,
    tail_most: usize,
    tail: VecDeque<u8>,
    omitted: u64,
}

impl Kept {
    /// Keeps so many bytes, the first and the last.
    pub(crate) fn new(cap_bytes: usize) -> Self {
        let head_left = kept_head_bytes(cap_bytes);
        Self { head_left, tail_most: cap_bytes - head_left, tail: VecDeque::new(), omitted: 0 }
    }

    /// Takes what was printed, and gives the part of it that belongs to the head, to be recorded at once.
    pub(crate) fn take<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let (head, rest) = bytes.split_at(bytes.len().min(self.head_left));
        self.head_left -= head.len();
        let useless = rest.len().saturating_sub(self.tail_most);
        let overflow = (self.tail.len() + rest.len() - useless).saturating_sub(self.tail_most);
        self.tail.drain(..overflow);
        self.tail.extend(&rest[useless..]);
        self.omitted += (useless + overflow) as u64;
        head
    }

    /// The tail, and how many bytes before it were left out.
    pub(crate) fn finish(self) -> (Vec<u8>, u64) {
        (self.tail.into(), self.omitted)
    }
}

#[cfg(test)]
mod tests {
    use super::{Kept, MOST_TAIL_BYTES, kept_head_bytes};

    #[test]
    fn little_is_kept_of_a_long_end() {
        for (cap, head) in
            [(0, 0), (1, 0), (9, 4), (100, 50), (128 * 1024, 64 * 1024), (1 << 20, (1 << 20) - MOST_TAIL_BYTES)]
        {
            assert_eq!(kept_head_bytes(cap), head, "{cap}");
        }
    }

    #[test]
    fn head_and_tail_are_kept_however_the_bytes_arrive() {
        let all: Vec<u8> = (0..100).collect();
        for cap in [0, 1, 2, 9, 10, 99, 100, 101, 1000] {
            for step in [1, 3, 7, 50, 100] {
                let mut kept = Kept::new(cap);
                let mut out: Vec<u8> = all.chunks(step).flat_map(|chunk| kept.take(chunk).to_vec()).collect();
                let (tail, omitted) = kept.finish();
                out.extend(tail);
                let head = cap / 2;
                let expected =
                    if cap >= 100 { all.clone() } else { [&all[..head], &all[100 - (cap - head)..]].concat() };
                assert_eq!((out, omitted), (expected, 100 - cap.min(100) as u64), "cap {cap}, step {step}");
            }
        }
    }
}
