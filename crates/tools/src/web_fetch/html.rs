//! HTML as a row of tags and texts. It is read once, in time that grows with its length alone, whatever a hostile page holds;
//! nothing is built that could be nested too deeply.

/// One piece of a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'h> {
    /// Text between tags, entities and all.
    Text(&'h str),
    /// A tag that opens something.
    Open(Tag<'h>),
    /// A tag that closes something; its name as written.
    Close(&'h str),
    /// What stands inside of an element whose content is no HTML, with the element's name as written.
    Raw(&'h str, &'h str),
}

/// An opening tag.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tag<'h> {
    /// Its name as written.
    pub(super) name: &'h str,
    attributes: &'h str,
}

/// Elements whose content is no HTML.
const RAW: &[&str] = &["script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes", "plaintext"];

/// Reads a page.
pub(super) struct Pieces<'h> {
    rest: &'h str,
    /// The element just opened, if its content is no HTML.
    raw: Option<&'h str>,
}

impl<'h> Pieces<'h> {
    pub(super) fn of(html: &'h str) -> Self {
        Self { rest: html, raw: None }
    }

    /// Takes so many bytes.
    fn take(&mut self, length: usize) -> &'h str {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Takes what comes before `end`, and that too; all if there is none.
    fn take_to(&mut self, end: &str) -> &'h str {
        let at = self.rest.find(end);
        let before = self.take(at.unwrap_or(self.rest.len()));
        self.take(end.len());
        before
    }

    fn tag(&mut self) -> Option<Piece<'h>> {
        let closes = self.rest[1..].starts_with('/');
        let start = if closes { 2 } else { 1 };
        let text = &self.rest[start..];
        let name =
            &text[..text.find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>')).unwrap_or(text.len())];
        let end = tag_end(&text[name.len()..])?;
        let attributes = &text[name.len()..name.len() + end];
        self.take(start + name.len() + end + 1);
        if closes {
            return Some(Piece::Close(name));
        }
        self.raw = RAW.iter().any(|raw| name.eq_ignore_ascii_case(raw)).then_some(name);
        Some(Piece::Open(Tag { name, attributes }))
    }
}

impl<'h> Iterator for Pieces<'h> {
    type Item = Piece<'h>;

    fn next(&mut self) -> Option<Piece<'h>> {
        if let Some(name) = self.raw.take() {
            let end = closing(self.rest, name).unwrap_or(self.rest.len());
            return Some(Piece::Raw(name, self.take(end)));
        }
        loop {
            let bytes = self.rest.as_bytes();
            match (bytes.first()?, bytes.get(1)) {
                (b'<', Some(b'!')) if self.rest.starts_with("<!--") => {
                    self.take(4);
                    self.take_to("-->");
                }
                (b'<', Some(b'!' | b'?')) => drop(self.take_to(">")),
                (b'<', Some(b'/')) if !bytes.get(2).is_some_and(u8::is_ascii_alphabetic) => drop(self.take_to(">")),
                (b'<', Some(second)) if second.is_ascii_alphabetic() || *second == b'/' => {
                    return match self.tag() {
                        Some(piece) => Some(piece),
                        // A tag that never ends hides the rest, as in a browser.
                        None => {
                            self.rest = "";
                            None
                        }
                    };
                }
                _ => {
                    let next = self.rest.bytes().skip(1).position(|byte| byte == b'<');
                    let end = next.map_or(self.rest.len(), |at| at + 1);
                    return Some(Piece::Text(self.take(end)));
                }
            }
        }
    }
}

impl<'h> Tag<'h> {
    /// The value of an attribute, entities and all.
    pub(super) fn attribute(&self, wanted: &str) -> Option<&'h str> {
        let mut rest = self.attributes;
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
            if rest.is_empty() {
                return None;
            }
            // An equals sign at the beginning belongs to the name.
            let ends = |(_, byte): &(usize, u8)| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'=');
            let end = rest.bytes().enumerate().skip(1).find(ends);
            let (name, after) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
            let after = after.trim_start_matches(|c: char| c.is_ascii_whitespace());
            let Some(given) = after.strip_prefix('=') else {
                rest = after;
                continue;
            };
            let given = given.trim_start_matches(|c: char| c.is_ascii_whitespace());
            let (value, after) = match given.as_bytes().first() {
                Some(quote @ (b'"' | b'\'')) => given[1..].split_once(char::from(*quote)).unwrap_or((&given[1..], "")),
                Some(_) | None => given.split_at(given.find(|c: char| c.is_ascii_whitespace()).unwrap_or(given.len())),
            };
            if name.eq_ignore_ascii_case(wanted) {
                return Some(value);
            }
            rest = after;
        }
    }
}

/// Where a tag's `>` is: not inside of a quoted value.
fn tag_end(text: &str) -> Option<usize> {
    let mut quote = None;
    // Only right after an equals sign does a quote begin a value.
    let mut value_begins = false;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') if value_begins => quote = Some(byte),
            (None, b'>') => return Some(at),
            (None, _) => {}
        }
        value_begins = byte == b'=' || (value_begins && byte.is_ascii_whitespace());
    }
    None
}

/// Where `</name` is.
fn closing(text: &str, name: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find("</")?;
        let after = &text.as_bytes()[at + 2..];
        if after.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes())) {
            return Some(at);
        }
        from = at + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::{Piece, Pieces};

    fn shown(html: &str) -> String {
        let shown = |piece: Piece<'_>| match piece {
            Piece::Text(text) => text.to_owned(),
            Piece::Open(tag) => format!("[{} {:?}]", tag.name, tag.attribute("a")),
            Piece::Close(name) => format!("[/{name}]"),
            Piece::Raw(name, text) => format!("[{name}: {text}]"),
        };
        Pieces::of(html).map(shown).collect()
    }

    #[test]
    fn pieces_are_told_apart() {
        for (html, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("a < b > c", "a < b > c"),
            ("<", "<"),
            ("a<", "a<"),
            ("<3", "<3"),
            ("<p>x</p>", "[p None]x[/p]"),
            ("<p a=1>", "[p Some(\"1\")]"),
            ("<p A = '>' b>x", "[p Some(\">\")]x"),
            ("<p a=\"x y\"/>", "[p Some(\"x y\")]"),
            ("<p b=\"a='no'\" a=yes>", "[p Some(\"yes\")]"),
            ("<p a>", "[p None]"),
            ("<p ä=1 a=ö>", "[p Some(\"ö\")]"),
            ("<!doctype html><!-- <b> --><?xml ?>x", "x"),
            ("<!-- never closed <p>", ""),
            ("<p never closed", ""),
            ("<script>if (a < b) '</p>'</SCRIPT >x", "[script None][script: if (a < b) '</p>'][/SCRIPT]x"),
            ("<title>a &amp; <b>", "[title None][title: a &amp; <b>]"),
            ("</>x", "x"),
            ("</ x>y", "y"),
            ("<é>", "<é>"),
        ] {
            assert_eq!(shown(html), expected, "{html}");
        }
    }

    #[test]
    fn no_cut_of_a_page_breaks_it() {
        let html = "<!doctype html><ö a='ü'><p ä='\"' b = c/ d>é&amp;<!-- ü --><script>ä</script></p é>< </ ü><title>ß";
        for from in (0..html.len()).filter(|at| html.is_char_boundary(*at)) {
            for to in (from..=html.len()).filter(|at| html.is_char_boundary(*at)) {
                let _ = shown(&html[from..to]);
            }
        }
    }
}
