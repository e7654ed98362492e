use crate::home::{Home, has_sandboxes};

#[test]
fn the_doctor_needs_no_server_and_leaves_nothing() {
    if !has_sandboxes("the_doctor_needs_no_server_and_leaves_nothing") {
        return;
    }
    let home = Home::new();
    let before = files(&home);
    let report = home.json(&["doctor"]);
    assert_eq!(report["ok"], true, "{report}");
    let checks = report["checks"].as_array().expect("a list");
    assert!(checks.len() > 5, "{report}");
    assert!(checks.iter().all(|check| check["outcome"] != "fail"), "{report}");
    assert_eq!(files(&home), before);
    assert!(home.ok(&["doctor"]).lines().all(|line| line.starts_with(['✓', '–', ' '])));
}

#[test]
fn what_is_left_over_is_found_with_and_without_a_server() {
    if !has_sandboxes("what_is_left_over_is_found_with_and_without_a_server") {
        return;
    }
    let home = Home::new();
    home.session("hello");
    let lost = home.data().join("sandbox/sessions/00000000000000000000000000000001");
    std::fs::create_dir_all(&lost).expect("made");
    for _ in ["with a server", "without"] {
        let found = home.run(&["doctor"]);
        assert_eq!(found.code, 1, "{found:#?}");
        assert!(found.stdout.contains(&format!("directory {}", lost.display())), "{found:#?}");
        home.run(&["down"]);
    }
    std::fs::remove_dir(&lost).expect("removed");
    assert_eq!(home.run(&["doctor"]).code, 0);
}

fn files(home: &Home) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> =
        std::fs::read_dir(home.data()).expect("there").flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    names
}
