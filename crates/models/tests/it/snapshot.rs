//! Expected text in files; `UPDATE=1` writes what came instead of comparing.

use std::path::{Path, PathBuf};

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Compares `actual` with the file, which is named from the fixtures folder.
pub(crate) fn assert_snapshot(file: &str, actual: &str) {
    let path = fixtures().join(file);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, actual).expect("write the snapshot");
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == actual, "{file} differs (UPDATE=1 accepts):\n--- expected\n{expected}\n--- actual\n{actual}");
}
