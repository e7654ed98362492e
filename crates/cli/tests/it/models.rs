use crate::home::Home;

#[test]
fn the_default_model_is_chosen_and_followed() {
    let home = Home::new();
    home.configure("listen = '127.0.0.1:0'\n");
    assert_eq!(home.ok(&["models", "default"]), "script/demo\n");
    assert_eq!(home.ok(&["models", "default", "script/talk"]), "script/talk\n");
    assert!(home.session("hello").len() == 12);
    assert_eq!(home.ok(&["models", "default", "auto"]), "script/demo\n");
    let wrong = home.run(&["models", "default", "gpt"]);
    assert_eq!(wrong.code, 1);
    assert!(wrong.stderr.contains("unknown model `gpt`"), "{wrong:#?}");
    let listed = home.ok(&["models", "list"]);
    assert!(listed.lines().any(|line| line.starts_with("script/demo") && line.ends_with('✓')), "{listed}");
}

#[test]
fn a_setting_goes_before_the_choice_and_says_so() {
    let home = Home::new();
    let chosen = home.run(&["models", "default", "script/demo"]);
    assert_eq!((chosen.code, chosen.stdout.as_str()), (0, "script/talk\n"), "{chosen:#?}");
    assert!(chosen.stderr.contains("goes before this choice"), "{chosen:#?}");
}

#[test]
fn a_model_says_a_word_or_why_not() {
    let home = Home::new();
    let tested = home.run(&["models", "test"]);
    assert_eq!((tested.code, tested.stdout.as_str()), (0, "I hear you.\n"), "{tested:#?}");
    let failed = home.run(&["models", "test", "claude-sonnet-5"]);
    assert_eq!(failed.code, 1);
    assert!(failed.stderr.contains("tenure models add anthropic"), "{failed:#?}");
}

#[test]
fn a_model_server_is_added_with_its_key_from_standard_input() {
    let home = Home::new();
    let added = home.run_with(&["models", "add", "openai", "--base-url", "http://127.0.0.1:1/v1"], "sk-secret\n");
    assert_eq!((added.code, added.stdout.as_str()), (0, ""), "{added:#?}");
    let listed = home.run(&["models", "list"]);
    assert!(listed.stderr.contains("openai: "), "{listed:#?}");

    let none = home.run(&["models", "add", "anthropic"]);
    assert!(none.code == 1 && none.stderr.contains("there is no key"), "{none:#?}");
    let url = home.server()["url"].as_str().expect("a text").to_owned();
    let itself = home.run(&["models", "add", "openai", "--no-key", "--base-url", &url]);
    assert!(itself.code == 1 && itself.stderr.contains("this Tenure server itself"), "{itself:#?}");

    home.run(&["down"]);
    for name in ["tenure.db", "tenure.db-wal", "server.log"] {
        let content = std::fs::read(home.data().join(name)).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&content).contains("sk-secret"), "the key is readable in {name}");
    }
    // It is in force after a restart.
    assert!(home.run(&["models", "list"]).stderr.contains("openai: "));
}

#[test]
fn prices_come_from_the_operator_and_a_mistake_in_them_is_told() {
    let home = Home::new();
    let prices = home.data().join("models.toml");
    let write = |text: &str| std::fs::write(&prices, text).expect("it can be written");
    write("[models.\"script/*\"]\ncontext_window = 9000\ninput = 2.5\noutput = -1\n");
    let refused = home.run(&["models", "list"]);
    assert_eq!(refused.code, 1, "{refused:#?}");
    let told = refused.stderr.replace('\n', " ");
    assert!(told.contains("models.toml") && told.contains("line 4") && told.contains("got -1"), "{refused:#?}");

    write("[models.\"script/*\"]\ncontext_window = 9000\ninput = 10000\noutput = 10000\n");
    let listed = home.ok(&["models", "list"]);
    let demo = listed.lines().find(|line| line.starts_with("script/demo")).expect("it is always there");
    assert_eq!(demo.split_whitespace().collect::<Vec<_>>()[2..5], ["9000", "$10000", "$10000"]);
    // "hello" is two tokens, two cents.
    let ran = home.run(&["run", "assistant", "--single", "--budget", "0.01", "hello"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stderr.contains("used up its budget"), "{ran:#?}");
    let id = ran.stderr.lines().find_map(|line| line.strip_prefix("Session ")?.split(' ').next()).expect("it is told");
    assert!(home.ok(&["sessions", "get", id]).contains("List Cost:    $0.00 of $0.01"));
    let wrong = home.run(&["run", "assistant", "--budget", "lots", "hello"]);
    assert!(wrong.stderr.contains("expected dollars from 0.01 on"), "{wrong:#?}");
}
