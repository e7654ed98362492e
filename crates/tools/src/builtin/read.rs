//! `read`: shows a text, a picture or a PDF to the model.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use crate::builtin::{FileTool, image};
use crate::guest::{self, Body, Content, Workspace, reason};
use crate::input::{Field, Input, Kind};

pub(crate) const TOOL: FileTool = FileTool {
    name: "read",
    description: "Shows a file: UTF-8 text exactly as it is, without line numbers; PNG, JPEG, GIF and WebP pictures as \
                  pictures; PDFs as documents. Texts over 256 KiB need `view_range`. To list a directory use `glob` or \
                  `bash`.",
    fields: &[
        Field {
            name: "file_path",
            kind: Kind::Text,
            required: true,
            description: "The file to read. Relative paths start from /workspace.",
        },
        Field {
            name: "view_range",
            kind: Kind::LineRange,
            required: false,
            description: "[start_line, end_line] of a text, counted from 1, both included. An end_line of 0 or less \
                          means the end of the file. Without it, all of the file is shown.",
        },
    ],
    guest: read,
    answer_cap_bytes: PDF_CAP_BYTES as usize,
};

/// The peer's cap.
const TEXT_CAP_BYTES: u64 = 256 * 1024;
/// 5 MiB of base64, the most the Messages API takes for a picture.
const IMAGE_CAP_BYTES: u64 = 5 * 1024 * 1024 / 4 * 3;
/// The peer's cap; base64 and the rest of the request must fit into the API's 32 MB.
const PDF_CAP_BYTES: u64 = 20 * 1024 * 1024;

fn read(workspace: &Workspace<'_>, input: &Input) -> Result<Body, String> {
    let path = input.required_text("file_path");
    let resolved = workspace.resolve("read", path)?;
    let (mut file, metadata) =
        guest::open_regular(&resolved).map_err(String::from).map_err(|reason| match reason.as_str() {
            "is a directory" => format!("read: {path}: is a directory; list it with glob or bash"),
            _ => format!("read: {path}: {reason}"),
        })?;

    let mut head = Vec::new();
    (&mut file)
        .take(image::SNIFFED_BYTES)
        .read_to_end(&mut head)
        .map_err(|error| format!("read: {path}: {}", reason(&error)))?;
    // What the bytes are counts, not the name: a text named .png would make the model's provider refuse the request.
    let media_type = image::media_type(&head);
    let cap_bytes = match media_type {
        None => TEXT_CAP_BYTES,
        Some(image::PDF) => PDF_CAP_BYTES,
        Some(_) => IMAGE_CAP_BYTES,
    };
    let range = input.line_range("view_range");
    if range.is_some() && media_type.is_some() {
        return Err(format!("read: {path}: view_range is for texts, this is {}", media_type.unwrap_or_default()));
    }
    let rest = Rest { head: &head, file };
    if let Some((start, end)) = range {
        return lines(path, rest, start, end).map(Body::Text);
    }
    let bytes = match guest::read_whole(rest.chained(), &metadata, cap_bytes)
        .map_err(|reason| format!("read: {path}: {reason}"))?
    {
        Content::Whole(bytes) => bytes,
        Content::TooLarge(size) => return Err(too_large(path, size, cap_bytes, media_type)),
    };
    match media_type {
        Some(media_type) => {
            image::check(media_type, &bytes).map_err(|problem| format!("read: {path}: {problem}"))?;
            Ok(Body::Media { media_type: media_type.to_owned(), bytes })
        }
        None if bytes.is_empty() => Ok("(the file is empty)".to_owned().into()),
        None => text(path, bytes).map(Body::Text),
    }
}

/// A file whose first bytes have been read already.
struct Rest<'h> {
    head: &'h [u8],
    file: File,
}

impl<'h> Rest<'h> {
    fn chained(self) -> std::io::Chain<&'h [u8], File> {
        self.head.chain(self.file)
    }
}

fn too_large(path: &str, size: u64, cap_bytes: u64, media_type: Option<&str>) -> String {
    match media_type {
        Some(media_type) => {
            format!("read: {path} is {size} bytes, more than the {cap_bytes} that can be shown of {media_type}")
        }
        None => format!(
            "read: {path} is {size} bytes, more than the {cap_bytes} that can be shown at once. Use view_range to read \
             some of its lines, e.g. [1, 500]"
        ),
    }
}

fn text(path: &str, bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!(
            "read: {path}: not UTF-8 text (byte {at} isn't part of a character); of binary files only PNG, JPEG, GIF, \
             WebP and PDF can be shown"
        )
    })
}

/// The lines from `start` to `end`, as the peer cuts them: the last one without its line feed, unless the file ends
/// with it and the range goes beyond.
fn lines(path: &str, rest: Rest<'_>, start: i64, end: i64) -> Result<String, String> {
    let first = u64::try_from(start.max(1)).unwrap_or(1);
    let last = if end > 0 { end.unsigned_abs() } else { u64::MAX };
    if last < first {
        return Err(format!("read: view_range [{start}, {end}] ends before it starts"));
    }
    let failed = |error: std::io::Error| format!("read: {path}: {}", reason(&error));
    let mut reader = BufReader::new(rest.chained());
    let mut shown = Vec::new();
    let (mut line, mut fed) = (1, true);
    // Not line by line: a line of gigabytes that isn't shown must not be held.
    while line <= last {
        let buffer = reader.fill_buf().map_err(failed)?;
        if buffer.is_empty() {
            break;
        }
        let feed = buffer.iter().position(|&byte| byte == b'\n');
        let used = feed.map_or(buffer.len(), |at| at + 1);
        if line >= first {
            let keep = if feed.is_some() && line == last { used - 1 } else { used };
            shown.extend_from_slice(&buffer[..keep]);
            if shown.len() as u64 > TEXT_CAP_BYTES {
                return Err(if last == first {
                    format!(
                        "read: line {first} of {path} alone is more than the {TEXT_CAP_BYTES} bytes that can be shown at once; use bash (cut -c, for one)"
                    )
                } else {
                    format!(
                        "read: view_range [{start}, {end}] of {path} is more than the {TEXT_CAP_BYTES} bytes that can be shown at once; narrow it"
                    )
                });
            }
        }
        reader.consume(used);
        fed = feed.is_some();
        line += u64::from(fed);
    }
    if shown.is_empty() {
        let last_line = if fed { line - 1 } else { line };
        return if last_line < first {
            Err(format!("read: view_range starts at line {first}, but {path} ends with line {last_line}"))
        } else {
            Ok(format!("(line {first} of {path} is empty)"))
        };
    }
    text(path, shown)
}
