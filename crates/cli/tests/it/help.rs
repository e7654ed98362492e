use crate::home::Home;

#[test]
fn the_version_is_one_line() {
    let home = Home::new();
    assert_eq!(home.ok(&["--version"]), format!("tenure {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_is_no_error_and_goes_to_standard_output() {
    let home = Home::new();
    let help = home.ok(&["--help"]);
    for command in ["up", "down", "status", "run", "sessions", "agents", "models", "keys", "doctor"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} isn't in {help}");
    }
    assert!(!help.contains("settings"), "{help}");
    assert!(home.ok(&["up", "--help"]).contains("--sandbox-idle <TIME>"));
    for command in [&["run", "--help"][..], &["sessions", "limits", "--help"]] {
        let help = home.ok(command);
        for option in ["--memory <SIZE>", "--cpus <NUMBER>", "--disk <SIZE>", "--tool-timeout-max <TIME>"] {
            assert!(help.contains(option), "{option} isn't in {help}");
        }
    }
}

#[test]
fn what_nobody_knows_is_exit_code_1() {
    let home = Home::new();
    for args in [&["sesions"][..], &["run"], &["sessions", "list", "--status", "asleep"], &["up", "--lisen", "x"]] {
        let ran = home.run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{args:?}: {ran:#?}");
        assert!(ran.stderr.contains("error:"), "{ran:#?}");
    }
}

#[test]
fn the_settings_page_has_every_setting() {
    let page = Home::new().ok(&["settings", "--markdown"]);
    assert!(page.starts_with("# Settings\n"), "{page}");
    assert!(page.contains("`TENURE_ANTHROPIC_BASE_URL`, else `ANTHROPIC_BASE_URL`"), "{page}");
}
