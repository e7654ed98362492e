use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use serde_json::json;

use crate::fake::Fake;

#[tokio::test]
async fn a_file_and_its_directories_are_made() {
    let fake = Fake::new();
    let told = fake.call("write", json!({ "file_path": "a/b/grün.txt", "content": "é\n" })).await;
    assert_eq!(told, Ok("wrote 3 bytes to a/b/grün.txt".to_owned()));
    assert_eq!(fake.text("a/b/grün.txt"), "é\n");
}

#[tokio::test]
async fn absolute_paths_are_taken_as_they_are() {
    let fake = Fake::new();
    let path = fake.at("absolute.txt");
    fake.call("write", json!({ "file_path": path, "content": "x" })).await.expect("written");
    assert_eq!(fake.text("absolute.txt"), "x");
}

#[tokio::test]
async fn a_replaced_file_keeps_its_mode_and_nothing_is_left_beside_it() {
    let fake = Fake::new();
    let path = fake.put("run.sh", "old");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o751)).expect("a mode");
    let before = fs::metadata(&path).expect("a file").ino();
    fake.call("write", json!({ "file_path": "run.sh", "content": "new" })).await.expect("written");
    let after = fs::metadata(&path).expect("a file");
    assert_eq!(after.permissions().mode() & 0o7777, 0o751);
    assert_ne!(after.ino(), before, "replaced by rename");
    let names: Vec<_> =
        fs::read_dir(fake.path()).expect("a directory").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(names, ["run.sh"]);
}

#[tokio::test]
async fn a_symbolic_link_stays_one() {
    let fake = Fake::new();
    fake.put("target.txt", "old");
    symlink("target.txt", fake.at("link.txt")).expect("a link");
    symlink("new.txt", fake.at("dangling.txt")).expect("a link");
    fake.call("write", json!({ "file_path": "link.txt", "content": "new" })).await.expect("written");
    fake.call("write", json!({ "file_path": "dangling.txt", "content": "made" })).await.expect("written");
    assert_eq!(fake.text("target.txt"), "new");
    assert_eq!(fake.text("new.txt"), "made");
    assert!(fake.at("link.txt").is_symlink() && fake.at("dangling.txt").is_symlink());
}

#[tokio::test]
async fn a_hard_linked_file_stays_linked() {
    let fake = Fake::new();
    fake.put("one", "a longer old text");
    fs::hard_link(fake.at("one"), fake.at("other")).expect("a link");
    fake.call("write", json!({ "file_path": "one", "content": "new" })).await.expect("written");
    assert_eq!(fake.text("other"), "new");
}

#[tokio::test]
async fn what_stands_in_the_way_is_named() {
    let fake = Fake::new();
    fake.put("file", "x");
    fs::create_dir(fake.at("directory")).expect("a directory");
    symlink("loop", fake.at("loop")).expect("a link");
    for (path, expected) in [
        ("directory", "write: directory: is a directory"),
        ("new/", "write: new/: is a directory"),
        ("file/below", "write: file/below: not a directory"),
        ("file/further/below", "write: file/further/below: not a directory"),
        ("loop", "write: loop: too many levels of symbolic links"),
        ("", "write: the path is empty"),
        ("a\0b", "write: \"a\\0b\": a path can't hold a NUL"),
    ] {
        let told = fake.call("write", json!({ "file_path": path, "content": "y" })).await;
        assert_eq!(told, Err(expected.to_owned()), "{path}");
    }
    let long = "n".repeat(300);
    let told = fake.call("write", json!({ "file_path": long, "content": "y" })).await.expect_err("too long");
    assert!(told.ends_with("file name too long"), "{told}");
    let longest = "n".repeat(255);
    fake.call("write", json!({ "file_path": longest, "content": "y" })).await.expect("as long as a name can be");
}
