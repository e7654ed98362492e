//! What was fetched, as a model can read it.

use std::io::Read;

use encoding_rs::{Encoding, UTF_8};
use reqwest::Url;

use super::fetch::{Fetched, Refusal};
use super::markdown::readable;

/// What a model is given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// Words.
    Text {
        /// What the page calls itself.
        title: Option<String>,
        /// What it says.
        text: String,
        /// Whether it says more than was read.
        cut: bool,
    },
    /// A PDF.
    Pdf(Vec<u8>),
}

/// So much of a page is put into words: far more than a model is given.
const MOST_WORDS_BYTES: usize = 2 << 20;

/// What kind of contents it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Html,
    Text,
    Pdf,
}

/// The kind of this media type, if a model can read it.
pub(super) fn kind(media_type: &str) -> Option<Kind> {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (top, sub) = essence.split_once('/')?;
    match (top, sub) {
        ("text", "html") | ("application", "xhtml+xml") => Some(Kind::Html),
        ("application", "pdf" | "x-pdf") => Some(Kind::Pdf),
        ("text", _) => Some(Kind::Text),
        (
            "application",
            "json" | "xml" | "javascript" | "ecmascript" | "x-javascript" | "yaml" | "x-yaml" | "toml" | "x-ndjson"
            | "jsonl" | "x-sh" | "sql" | "graphql" | "rtf" | "x-tex",
        ) => Some(Kind::Text),
        (_, sub) if sub.ends_with("+json") || sub.ends_with("+xml") || sub.ends_with("+yaml") => Some(Kind::Text),
        _ => None,
    }
}

/// The kind of contents whose server doesn't say.
pub(super) fn guessed(body: &[u8]) -> Option<Kind> {
    let begin = &body[..body.len().min(1024)];
    let text = String::from_utf8_lossy(begin).trim_start().to_ascii_lowercase();
    match () {
        () if begin.starts_with(b"%PDF-") => Some(Kind::Pdf),
        () if begin.contains(&0) => None,
        () if text.starts_with("<!doctype html") || text.starts_with("<html") => Some(Kind::Html),
        () => Some(Kind::Text),
    }
}

/// Puts what was fetched into words.
pub(super) fn page(fetched: Fetched) -> Result<Page, Refusal> {
    let Fetched { url, kind, media_type, body, whole } = fetched;
    let page = match kind {
        Kind::Pdf if !whole => return Err(Refusal::too_large("the PDF")),
        Kind::Pdf if !body.starts_with(b"%PDF-") => {
            return Err(Refusal::unsupported("what the server calls a PDF and isn't one"));
        }
        Kind::Pdf => Page::Pdf(body),
        Kind::Text => {
            let text = decoded(&body, &media_type, false);
            Page::Text { title: None, text: text.replace('\0', "\u{fffd}"), cut: !whole }
        }
        Kind::Html => words(&decoded(&body, &media_type, true), &url, whole),
    };
    Ok(page)
}

fn words(html: &str, url: &Url, whole: bool) -> Page {
    let read = readable(html, url, MOST_WORDS_BYTES);
    Page::Text { title: read.title, text: read.text.replace('\0', "\u{fffd}"), cut: read.cut || !whole }
}

/// The text in these bytes: as they begin with, as the server says, as the page says, or UTF-8.
fn decoded(body: &[u8], media_type: &str, html: bool) -> String {
    let named = charset(media_type).or_else(|| html.then(|| declared(body)).flatten());
    // A mark at the beginning goes before both.
    let (text, _, _) = named.unwrap_or(UTF_8).decode(body);
    text.into_owned()
}

fn charset(media_type: &str) -> Option<&'static Encoding> {
    let lower = media_type.to_ascii_lowercase();
    let (_, after) = lower.split_once("charset=")?;
    let label = after.trim_start_matches(['"', '\'']).split(['"', '\'', ';', ' ', '>', '/']).next()?;
    Encoding::for_label(label.as_bytes())
}

/// What a page's own `<meta charset>` says, within its first 1,024 bytes.
fn declared(body: &[u8]) -> Option<&'static Encoding> {
    let begin = String::from_utf8_lossy(&body[..body.len().min(1024)]).to_ascii_lowercase();
    let meta = &begin[begin.find("<meta")?..];
    charset(&meta.replace("charset = ", "charset=").replace("charset =", "charset=").replace("charset= ", "charset="))
}

/// Unpacks a compressed body, `most` bytes of it; and whether that is all.
pub(super) fn unpacked(body: &[u8], most: usize) -> std::io::Result<(Vec<u8>, bool)> {
    let mut unpacked = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(body).take(most as u64 + 1);
    match reader.read_to_end(&mut unpacked) {
        Ok(_) => {}
        // What came until then is good: the rest may just not have been read.
        Err(_) if !unpacked.is_empty() => return Ok((unpacked, false)),
        Err(error) => return Err(error),
    }
    let whole = unpacked.len() <= most;
    unpacked.truncate(most);
    Ok((unpacked, whole))
}

#[cfg(test)]
mod tests {
    use super::{Kind, decoded, guessed, kind};

    #[test]
    fn kinds_are_told_by_what_the_server_says() {
        for (media_type, expected) in [
            ("text/html; charset=utf-8", Some(Kind::Html)),
            ("Application/XHTML+XML", Some(Kind::Html)),
            ("text/plain", Some(Kind::Text)),
            ("text/markdown", Some(Kind::Text)),
            ("application/json", Some(Kind::Text)),
            ("application/ld+json;x=y", Some(Kind::Text)),
            ("image/svg+xml", Some(Kind::Text)),
            ("application/pdf", Some(Kind::Pdf)),
            ("image/png", None),
            ("video/mp4", None),
            ("application/octet-stream", None),
            ("application/zip", None),
            ("nonsense", None),
        ] {
            assert_eq!(kind(media_type), expected, "{media_type}");
        }
        assert_eq!(guessed(b"%PDF-1.7 ..."), Some(Kind::Pdf));
        assert_eq!(guessed(b"\n <!DOCTYPE html><p>"), Some(Kind::Html));
        assert_eq!(guessed(b"key = 1"), Some(Kind::Text));
        assert_eq!(guessed(b"\x7fELF\0\0"), None);
    }

    #[test]
    fn other_alphabets_are_read() {
        let latin = b"M\xfcnchen";
        assert_eq!(decoded(latin, "text/plain; charset=ISO-8859-1", false), "München");
        assert_eq!(decoded(latin, "text/plain", false), "M\u{fffd}nchen");
        let html = [b"<html><meta http-equiv=x content='text/html; charset=windows-1252'>".as_slice(), latin].concat();
        assert!(decoded(&html, "text/html", true).ends_with("München"));
        assert_eq!(decoded("\u{feff}München".as_bytes(), "text/plain; charset=latin1", false), "München");
        assert_eq!(decoded(b"\xff\xfea\0b\0", "text/plain", false), "ab");
    }
}
