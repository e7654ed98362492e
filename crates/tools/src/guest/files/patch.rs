//! The lines in which two texts differ.

use std::time::Duration;

use similar::TextDiff;

use crate::files::{Content, Detail, MOST_PATCH_BYTES};

/// Lines around those that differ.
const CONTEXT: usize = 3;

/// After how long it is no longer the fewest lines that are looked for.
const PATIENCE: Duration = Duration::from_secs(1);

/// What differs between two contents; one that isn't there is empty.
pub(super) fn describe(before: &[u8], after: &[u8], detail: Detail) -> Content {
    let is_text = |bytes: &[u8]| !bytes.contains(&0);
    let (Ok(old), Ok(new)) = (std::str::from_utf8(before), std::str::from_utf8(after)) else { return Content::Binary };
    if !is_text(before) || !is_text(after) {
        return Content::Binary;
    }
    // A line ends where `patch` and `git` take it to end, and nowhere else.
    let lines = |text| str::split_inclusive(text, '\n').collect::<Vec<&str>>();
    let (old, new) = (lines(old), lines(new));
    let diff = TextDiff::configure().timeout(PATIENCE).newline_terminated(true).diff_slices(&old, &new);
    let (mut added, mut removed) = (0, 0);
    for op in diff.ops() {
        let is_equal = op.tag() == similar::DiffTag::Equal;
        if !is_equal {
            added += op.new_range().len() as u64;
            removed += op.old_range().len() as u64;
        }
    }
    let mut patch = Limited(Vec::new());
    let wanted = detail == Detail::Patch;
    let whole =
        wanted && diff.unified_diff().context_radius(CONTEXT).missing_newline_hint(true).to_writer(&mut patch).is_ok();
    let patch = String::from_utf8(patch.0).ok().filter(|_| whole);
    Content::Text { added, removed, patch }
}

/// Takes no more than is shown.
struct Limited(Vec<u8>);

impl std::io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > MOST_PATCH_BYTES {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::describe;
    use crate::files::{Content, Detail, MOST_PATCH_BYTES};

    fn patch(before: &str, after: &str) -> String {
        match describe(before.as_bytes(), after.as_bytes(), Detail::Patch) {
            Content::Text { patch: Some(patch), .. } => patch,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_that_differ_are_shown_with_those_around_them() {
        assert_eq!(patch("a\nb\nc\n", "a\nB\nc\n"), "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n");
        assert_eq!(patch("", "new\n"), "@@ -0,0 +1 @@\n+new\n");
        assert_eq!(patch("old\n", ""), "@@ -1 +0,0 @@\n-old\n");
        assert_eq!(patch("a", "a\n"), "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n");
        // A carriage return alone ends no line.
        assert_eq!(patch("a\rb\n", "a\rc\n"), "@@ -1 +1 @@\n-a\rb\n+a\rc\n");
        assert_eq!(patch("a\r\n", "a\n"), "@@ -1 +1 @@\n-a\r\n+a\n");
        assert_eq!(patch("", ""), "");
    }

    #[test]
    fn what_is_no_text_or_too_long_is_said_to_be() {
        assert_eq!(describe(b"a", b"\xff", Detail::Patch), Content::Binary);
        assert_eq!(describe(b"a\0", b"a", Detail::Count), Content::Binary);
        let long = "x\n".repeat(MOST_PATCH_BYTES);
        let added = long.len() as u64 / 2;
        assert_eq!(describe(b"", long.as_bytes(), Detail::Patch), Content::Text { added, removed: 0, patch: None });
        assert_eq!(describe(b"a\n", b"b\nc\n", Detail::Count), Content::Text { added: 2, removed: 1, patch: None });
    }
}
