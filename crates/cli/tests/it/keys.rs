use crate::home::{Home, Ran, finish};

/// Runs a command against a server that is named, as from another machine.
fn from_elsewhere(home: &Home, url: &str, key: Option<&str>, args: &[&str]) -> Ran {
    let mut command = home.command(args);
    command.env("TENURE_URL", url).env("TENURE_DATA_DIR", "/nonexistent");
    finish(command.envs(key.map(|key| ("TENURE_API_KEY", key))).spawn().expect("started"))
}

#[test]
fn a_key_works_until_it_is_revoked() {
    let home = Home::new();
    let created = home.run(&["keys", "create", "for a test"]);
    let key = created.stdout.trim();
    assert!(created.code == 0 && key.starts_with("tnr_"), "{created:#?}");
    let listed = home.json(&["keys", "list"]);
    let id = listed["keys"][0]["id"].as_str().expect("an id");
    assert!(!listed.to_string().contains(key), "the secret is listed");
    assert!(home.ok(&["keys", "list"]).contains("for a test"));

    let url = home.server()["url"].as_str().expect("a text").to_owned();
    let ran = from_elsewhere(&home, &url, Some(key), &["agents", "list"]);
    assert!(ran.code == 0 && ran.stdout.contains("assistant"), "{ran:#?}");
    let status = from_elsewhere(&home, &url, Some(key), &["status"]);
    assert!(status.code == 0 && status.stdout.contains(&url), "{status:#?}");

    assert_eq!(home.run(&["keys", "revoke", id]).code, 0);
    let refused = from_elsewhere(&home, &url, Some(key), &["agents", "list"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{refused:#?}");
    assert!(refused.stderr.contains("TENURE_API_KEY"), "{refused:#?}");
    assert_eq!(home.run(&["keys", "revoke", "apikey_1111111111111111111112"]).code, 1);
}

#[test]
fn a_named_server_needs_a_key_and_is_never_started() {
    let home = Home::new();
    let none = from_elsewhere(&home, "http://127.0.0.1:1", None, &["agents", "list"]);
    assert_eq!(none.code, 1);
    assert!(none.stderr.contains("set TENURE_API_KEY"), "{none:#?}");
    let away = from_elsewhere(&home, "http://127.0.0.1:1", Some("k"), &["agents", "list"]);
    assert_eq!(away.code, 1);
    assert!(away.stderr.contains("can't reach the server at http://127.0.0.1:1"), "{away:#?}");
    let wrong = from_elsewhere(&home, "tenure.example", Some("k"), &["agents", "list"]);
    assert!(wrong.stderr.contains("TENURE_URL is `tenure.example`"), "{wrong:#?}");
}

#[test]
fn the_key_of_the_environment_is_accepted_by_the_server_it_starts() {
    let home = Home::new();
    let ran = finish(home.command(&["agents", "list"]).env("TENURE_API_KEY", "chosen").spawn().expect("started"));
    assert_eq!(ran.code, 0, "{ran:#?}");
    let url = home.server()["url"].as_str().expect("a text").to_owned();
    assert_eq!(from_elsewhere(&home, &url, Some("chosen"), &["agents", "list"]).code, 0);
    // The key in the file works as well.
    home.ok(&["agents", "list"]);
}
