use serde_json::{Value, json};

use crate::fake::Fake;

async fn edited(text: &str, input: Value) -> Result<String, String> {
    let fake = Fake::new();
    fake.put("f.txt", text);
    let mut input = input;
    input["file_path"] = json!("f.txt");
    match fake.call("edit", input).await {
        Ok(told) => {
            assert!(told.starts_with("edited f.txt ("), "{told}");
            Ok(format!("{} {}", &told["edited f.txt ".len()..], fake.text("f.txt")))
        }
        Err(message) => {
            assert_eq!(fake.text("f.txt"), text, "a refused edit changes nothing");
            Err(message)
        }
    }
}

#[tokio::test]
async fn one_occurrence_is_replaced() {
    let told = edited("a b c\n", json!({ "old_string": "b", "new_string": "$0 B" })).await;
    assert_eq!(told, Ok("(1 replacement(s)) a $0 B c\n".to_owned()));
    let told = edited("a b c\r\n", json!({ "old_string": " b", "new_string": "" })).await;
    assert_eq!(told, Ok("(1 replacement(s)) a c\r\n".to_owned()));
}

#[tokio::test]
async fn several_occurrences_need_replace_all() {
    let input = json!({ "old_string": "x", "new_string": "y" });
    let message = edited("x\nx\n\nax\n", input).await.expect_err("ambiguous");
    assert_eq!(
        message,
        "edit: old_string appears 3 times in f.txt (must be unique): at lines 1, 2, 4. Give more of the lines around the \
         one you mean, or set replace_all"
    );
    let told = edited("x\nx\n", json!({ "old_string": "x", "new_string": "y", "replace_all": true })).await;
    assert_eq!(told, Ok("(2 replacement(s)) y\ny\n".to_owned()));
    let many = edited(&"x\n".repeat(50), json!({ "old_string": "x", "new_string": "y" })).await.expect_err("ambiguous");
    assert!(many.contains("9, 10, …. Give"), "{many}");
}

#[tokio::test]
async fn what_is_nearly_there_is_pointed_at() {
    for (text, old, expected) in [
        ("a\n", "zebra", ""),
        (
            "one\r\ntwo\r\n",
            "one\ntwo",
            "; it is there with other line endings: the file's lines end with \\r\\n, those of old_string with \\n",
        ),
        (
            "one\ntwo\n",
            "one\r\ntwo",
            "; it is there with other line endings: the file's lines end with \\n, those of old_string with \\r\\n",
        ),
        (
            "x\n\tlet a = 1;\n\tlet b = 2;\n",
            "    let a = 1;\n    let b = 2;",
            "; line 2 and on differ from it only in whitespace: the file has \"\\tlet a = 1;\" where old_string has \"    let a = 1;\"",
        ),
        (
            "fn main() {\n    one();\n    two();\n}\n",
            "fn main() {\n    one();\n    three();\n}",
            "; its first 2 line(s) are at line 1, but then the file has \"    two();\" where old_string has \"    three();\"",
        ),
        (
            "fn main() {",
            "fn main() {\n}",
            "; its first 1 line(s) are at line 1, but then the file has the end of the file where old_string has \"}\"",
        ),
        ("last line", "last line\n", "; line 1 and on differ from it only in the line feeds at its start or end"),
    ] {
        let told = edited(text, json!({ "old_string": old, "new_string": "new" })).await;
        assert_eq!(told, Err(format!("edit: old_string not found in f.txt{expected}")), "{text:?}");
    }
}

#[tokio::test]
async fn edits_that_can_mean_nothing_are_refused() {
    let same = edited("a", json!({ "old_string": "a", "new_string": "a" })).await.expect_err("no change");
    assert!(same.contains("the same"), "{same}");
    let empty = edited("a", json!({ "old_string": "", "new_string": "b" })).await.expect_err("nothing to find");
    assert!(empty.contains("use write"), "{empty}");
}

#[tokio::test]
async fn only_texts_can_be_edited() {
    let fake = Fake::new();
    fake.put("binary", b"\xff\xfe\x00");
    std::fs::File::create(fake.at("huge")).and_then(|file| file.set_len(9 << 20)).expect("a sparse file");
    for (path, expected) in [
        ("binary", "edit: binary: not UTF-8 text; only texts can be edited"),
        ("missing", "edit: missing: no such file or directory"),
        (".", "edit: .: is a directory"),
        ("huge", "edit: huge: is 9437184 bytes, more than the 8388608 that edit can change; use bash (sed, for one)"),
    ] {
        let told = fake.call("edit", json!({ "file_path": path, "old_string": "a", "new_string": "b" })).await;
        assert_eq!(told, Err(expected.to_owned()));
    }
}
