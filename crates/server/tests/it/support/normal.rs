//! Texts with ids that are the same in every run, for snapshots.

use std::collections::HashMap;

/// Every id becomes its prefix and a number, in the order in which they appear.
pub(crate) fn normal(text: &str) -> String {
    const PREFIXES: [&str; 6] = ["sesn_", "sevt_", "sthr_", "agent_", "env_", "sbx_"];
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut normal = String::new();
    let mut rest = text;
    'text: while !rest.is_empty() {
        for prefix in PREFIXES {
            let digits = rest.strip_prefix(prefix).and_then(|rest| rest.get(..22));
            if let Some(digits) = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
                let number = *numbers.entry(format!("{prefix}{digits}")).or_insert_with(|| {
                    let count = counts.entry(prefix).or_default();
                    *count += 1;
                    *count
                });
                normal.push_str(&format!("{prefix}{number}"));
                rest = &rest[prefix.len() + 22..];
                continue 'text;
            }
        }
        let first = rest.chars().next().unwrap();
        normal.push(first);
        rest = &rest[first.len_utf8()..];
    }
    normal
}

/// Compares with a checked-in file; with `TENURE_UPDATE` set, writes it.
#[macro_export]
macro_rules! assert_snapshot {
    ($name:literal, $text:expr) => {{
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/snapshots/", $name);
        let text: String = $text;
        if std::env::var_os("TENURE_UPDATE").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(text == kept, "{path} differs; run with TENURE_UPDATE=1 to accept. Now:\n{text}");
    }};
}
