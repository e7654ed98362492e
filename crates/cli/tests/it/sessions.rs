use crate::home::Home;

#[test]
fn sessions_are_listed_and_shown() {
    let home = Home::new();
    let empty = home.run(&["sessions", "list"]);
    assert_eq!((empty.code, empty.stdout.as_str()), (0, ""), "{empty:#?}");
    let first = home.session("What is the capital of France, and why is it not Lyon?");
    let second = home.session("hello");

    let listed = home.ok(&["sessions", "list"]);
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines[0].starts_with("ID ") && lines[0].ends_with("Last Active"), "{listed}");
    assert!(lines[1].chars().all(|letter| letter == '─'), "{listed}");
    assert!(lines[2].starts_with(&second) && lines[3].starts_with(&first), "{listed}");
    assert!(lines[3].contains("What is the capital of France, and why i…"), "{listed}");
    assert!(lines[2].contains(" IDLE ") && lines[2].ends_with("just now"), "{listed}");

    assert_eq!(home.ok(&["sessions", "list", "--limit", "1"]).lines().count(), 3);
    assert_eq!(home.ok(&["sessions", "list", "--status", "active"]), "");
    assert_eq!(home.json(&["sessions", "list", "--status", "idle"])["sessions"].as_array().map(Vec::len), Some(2));
    assert_eq!(home.json(&["sessions", "list", "--agent", "assistant"])["sessions"].as_array().map(Vec::len), Some(2));
    assert_eq!(home.run(&["sessions", "list", "--agent", "nobody"]).code, 1);

    let shown = home.ok(&["sessions", "get", &first[..8]]);
    for (name, value) in [("Agent:", "assistant (agent_"), ("Status:", "IDLE"), ("Messages:", "2"), ("ID:", "sesn_")] {
        let line = shown.lines().find(|line| line.starts_with(name));
        assert!(line.is_some_and(|line| line.contains(value)), "{name} isn't {value} in {shown}");
    }
    let whole = home.json(&["sessions", "get", &first])["id"].as_str().expect("an id").to_owned();
    assert_eq!(home.json(&["sessions", "get", &whole])["id"], whole);
}

#[test]
fn sessions_are_found_by_their_labels() {
    let home = Home::new();
    for labels in [&["web", "nightly"][..], &["web"]] {
        let mut words = vec!["run", "assistant", "hello", "--single"];
        words.extend(labels.iter().flat_map(|label| ["--label", label]));
        home.ok(&words);
    }
    let found = |labels: &[&str]| {
        let mut words = vec!["sessions", "list"];
        words.extend(labels.iter().flat_map(|label| ["--label", label]));
        home.json(&words)["sessions"].as_array().cloned().unwrap_or_default()
    };
    assert_eq!(found(&["web"]).len(), 2);
    assert_eq!(found(&["nope"]).len(), 0);
    let both = found(&["nightly", "web"]);
    assert_eq!(both.len(), 1, "{both:#?}");
    assert_eq!(both[0]["tenure"]["labels"], serde_json::json!(["nightly", "web"]));
    let shown = home.ok(&["sessions", "get", both[0]["id"].as_str().expect("an id")]);
    assert!(shown.lines().any(|line| line.starts_with("Labels:") && line.ends_with("nightly, web")), "{shown}");
    let refused = home.run(&["run", "assistant", "hello", "--single", "--label", "a b"]);
    assert!(refused.code == 1 && refused.stderr.contains("labels.0: "), "{refused:#?}");
}

#[test]
fn a_beginning_that_fits_none_or_several_is_an_error() {
    let home = Home::new();
    home.session("hello");
    for typed in ["zzz", "", "0123456789abcdef0123456789abcdef0", "--"] {
        let ran = home.run(&["sessions", "get", "--", typed]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:#?}");
        assert!(ran.stderr.contains(&format!("No session found matching '{typed}'")), "{ran:#?}");
    }
    // Of seventeen ids two begin with the same digit.
    let ids: Vec<String> = (0..17).map(|_| home.session("hello")).collect();
    let (first, second) = ids
        .iter()
        .enumerate()
        .find_map(|(at, id)| Some((id, ids[at + 1..].iter().find(|other| other[..1] == id[..1])?)))
        .expect("there are sixteen digits");
    let ran = home.run(&["sessions", "get", &first[..1]]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains(&format!("Ambiguous ID '{}' — matches: ", &first[..1])), "{ran:#?}");
    assert!(ran.stderr.contains(first) && ran.stderr.contains(second), "{ran:#?}");
}

#[test]
fn a_session_is_resumed_stopped_ended_and_deleted() {
    let home = Home::new();
    let id = home.session("hello");
    let resumed = home.run(&["sessions", "resume", &id, "again", "--single"]);
    assert_eq!((resumed.code, resumed.stdout.as_str()), (0, "I hear you.\n"), "{resumed:#?}");
    assert_eq!(home.json(&["sessions", "get", &id])["tenure"]["messages"], 4);

    assert!(home.run(&["sessions", "stop", &id]).stderr.contains(&format!("Session {id} stopped")));
    let resumed = home.run(&["sessions", "resume", &id, "and again", "--single"]);
    assert_eq!((resumed.code, resumed.stdout.as_str()), (0, "I hear you.\n"), "{resumed:#?}");

    let asked = home.run(&["sessions", "end", &id]);
    assert_eq!(asked.code, 1);
    assert!(asked.stderr.contains("--yes"), "{asked:#?}");
    let ended = home.run(&["sessions", "end", &id, "--yes"]);
    assert!(ended.stderr.contains(&format!("Session {id} ended (status: ENDED)")), "{ended:#?}");
    let refused = home.run(&["sessions", "resume", &id, "once more", "--single"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("has status 'ended' and cannot be resumed"), "{refused:#?}");
    assert_eq!(home.json(&["sessions", "list", "--status", "ended"])["sessions"].as_array().map(Vec::len), Some(1));

    assert_eq!(home.run(&["sessions", "delete", &id, "--yes"]).code, 0);
    assert!(home.run(&["sessions", "get", &id]).stderr.contains("No session found"));
}
