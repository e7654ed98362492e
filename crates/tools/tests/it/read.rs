use serde_json::json;
use tenure_tools::{ToolContent, ToolError};

use crate::fake::{Fake, tool};

#[tokio::test]
async fn a_text_comes_as_it_is() {
    let fake = Fake::new();
    for text in ["one\n\ttwo\r\nüber", "\n", "\u{feff}bom\n", "x"] {
        fake.put("f", text);
        assert_eq!(fake.call("read", json!({ "file_path": "f" })).await, Ok(text.to_owned()));
        assert_eq!(fake.call("read", json!({ "file_path": fake.at("f") })).await, Ok(text.to_owned()));
    }
}

#[tokio::test]
async fn a_range_of_lines_comes_as_the_peer_cuts_it() {
    let fake = Fake::new();
    fake.put("f", "one\ntwo\n\nfour\n");
    for (range, expected) in [
        ([1, 1], "one"),
        ([1, 2], "one\ntwo"),
        ([2, 4], "two\n\nfour"),
        ([2, 5], "two\n\nfour\n"),
        ([4, -1], "four\n"),
        ([0, 0], "one\ntwo\n\nfour\n"),
        ([3, 3], "(line 3 of f is empty)"),
    ] {
        let told = fake.call("read", json!({ "file_path": "f", "view_range": range })).await;
        assert_eq!(told, Ok(expected.to_owned()), "{range:?}");
    }
    let told = fake.call("read", json!({ "file_path": "f", "view_range": [9, 12] })).await;
    assert_eq!(told, Err("read: view_range starts at line 9, but f ends with line 4".to_owned()));
    let told = fake.call("read", json!({ "file_path": "f", "view_range": [3, 2] })).await;
    assert_eq!(told, Err("read: view_range [3, 2] ends before it starts".to_owned()));
}

#[tokio::test]
async fn a_large_text_needs_a_range() {
    let fake = Fake::new();
    let line = format!("{}\n", "x".repeat(1023));
    fake.put("large", line.repeat(300));
    let told = fake.call("read", json!({ "file_path": "large" })).await.expect_err("too large");
    assert!(
        told.starts_with("read: large is 307200 bytes, more than the 262144 that can be shown at once. Use view_range"),
        "{told}"
    );
    let shown = fake.call("read", json!({ "file_path": "large", "view_range": [299, 300] })).await.expect("two lines");
    assert_eq!(shown.len(), 2047);
    let told = fake.call("read", json!({ "file_path": "large", "view_range": [1, 299] })).await.expect_err("too much");
    assert!(told.contains("[1, 299] of large is more than"), "{told}");
    fake.put("exact", "y".repeat(100_000));
    assert_eq!(fake.call("read", json!({ "file_path": "exact" })).await.map(|text| text.len()), Ok(100_000));
    fake.put("longer", "y".repeat(256 * 1024));
    let told = fake.call("read", json!({ "file_path": "longer" })).await.expect("its ends");
    assert!(told.contains("of 262144 characters left out here. Read smaller parts of longer"), "{}", told.len());
    fake.put("one_line", format!("short\n{}", "z".repeat(300_000)));
    let told = fake.call("read", json!({ "file_path": "one_line", "view_range": [2, 2] })).await.expect_err("too long");
    assert!(told.starts_with("read: line 2 of one_line alone"), "{told}");
    assert_eq!(
        fake.call("read", json!({ "file_path": "one_line", "view_range": [1, 1] })).await,
        Ok("short".to_owned())
    );
}

#[tokio::test]
async fn what_can_not_be_read_is_said() {
    let fake = Fake::new();
    fake.put("binary", b"text\xff");
    fake.put("below/file", "");
    for (path, expected) in [
        ("missing", "read: missing: no such file or directory"),
        ("below", "read: below: is a directory; list it with glob or bash"),
        ("below/file/x", "read: below/file/x: not a directory"),
        ("/dev/null", "read: /dev/null: not a regular file"),
        ("", "read: the path is empty"),
        (
            "binary",
            "read: binary: not UTF-8 text (byte 4 isn't part of a character); of binary files only PNG, JPEG, GIF, WebP \
             and PDF can be shown",
        ),
    ] {
        assert_eq!(fake.call("read", json!({ "file_path": path })).await, Err(expected.to_owned()), "{path}");
    }
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    bytes.extend(width.to_be_bytes());
    bytes.extend(height.to_be_bytes());
    bytes
}

fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc2\0\x11\x08".to_vec();
    bytes.extend(height.to_be_bytes());
    bytes.extend(width.to_be_bytes());
    bytes
}

#[tokio::test]
async fn pictures_and_documents_are_known_by_their_bytes() {
    let fake = Fake::new();
    for (name, bytes, expected) in [
        ("p.png", png(3, 4), "image/png"),
        ("no_suffix", png(3, 4), "image/png"),
        ("wrong.gif", jpeg(5, 6), "image/jpeg"),
        ("a.gif", b"GIF89a\x05\0\x06\0".to_vec(), "image/gif"),
        ("lossy.webp", b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x05\0\x06\0".to_vec(), "image/webp"),
        ("lossless.webp", b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\x04\x40\x01\0".to_vec(), "image/webp"),
        ("extended.webp", b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0\x04\0\0\x05\0\0".to_vec(), "image/webp"),
    ] {
        fake.put(name, &bytes);
        let result = tool("read").run(fake.ctx(), json!({ "file_path": name })).await.expect("a picture");
        assert!(!result.is_error);
        let media_type = expected.to_owned();
        assert_eq!(result.content, [ToolContent::Image { media_type, bytes }], "{name}");
    }
    fake.put("d.pdf", "%PDF-1.7\n…");
    let result = tool("read").run(fake.ctx(), json!({ "file_path": "d.pdf" })).await.expect("a document");
    let document = ToolContent::Document { media_type: "application/pdf".to_owned(), bytes: "%PDF-1.7\n…".into() };
    assert_eq!(result.content, [document]);
    // A text stays one, whatever its name says.
    fake.put("text.png", "not a picture");
    assert_eq!(fake.call("read", json!({ "file_path": "text.png" })).await, Ok("not a picture".to_owned()));
}

#[tokio::test]
async fn pictures_that_a_provider_would_refuse_are_refused_here() {
    let fake = Fake::new();
    fake.put("wide.png", png(9000, 10));
    fake.put("none.png", png(0, 10));
    fake.put("cut.png", &png(1, 1)[..18]);
    fake.put("cut.jpg", b"\xff\xd8\xff\xe0\0\0");
    let mut large = png(10, 10);
    large.resize(5 * 1024 * 1024 / 4 * 3 + 1, 0);
    fake.put("large.png", &large);
    for (path, expected) in [
        ("wide.png", "the picture is 9000×10 pixels; at most 8000 on a side"),
        ("none.png", "the picture is 0×10 pixels"),
        ("cut.png", "not a whole image/png"),
        ("cut.jpg", "not a whole image/jpeg"),
        ("large.png", "is 3932161 bytes, more than the 3932160 that can be shown of image/png"),
    ] {
        let told = fake.call("read", json!({ "file_path": path })).await.expect_err("refused");
        assert!(told.contains(expected), "{told}");
    }
    let told = fake.call("read", json!({ "file_path": "wide.png", "view_range": [1, 2] })).await.expect_err("no lines");
    assert!(told.contains("view_range is for texts"), "{told}");
    large.pop();
    fake.put("large.png", &large);
    let result = tool("read").run(fake.ctx(), json!({ "file_path": "large.png" })).await;
    assert!(!matches!(result, Err(ToolError::Model(_))), "{result:?}");
}
