//! Root file systems of images and packages in them, from a registry on loopback and archives to what a conversation sees of them.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tenure_testkit::{FakeRegistry, ImageFiles};

use crate::home::{Home, has_sandboxes};
use crate::http::send;

/// Looks around and says what it saw.
const LOOK: &str = r#"
- steps:
    - text: I look.
      tools: [{name: bash, input: {command: "echo $(</etc/motd) $PLACE; type cat 2>/dev/null || echo no cat"}}]
    - text: "{{last_tool_result}}"
"#;

fn make_environment(home: &Home, mut config: Value) -> Value {
    config["type"] = "cloud".into();
    let key = std::fs::read_to_string(home.data().join("root.key")).expect("a key");
    let headers = format!("x-api-key: {}\r\n", key.trim());
    let body = json!({"name": "furnished", "config": config}).to_string();
    let server = home.server();
    let answer = send(server["url"].as_str().expect("text"), "POST", "/v1/environments", &headers, &body);
    serde_json::from_slice(&answer.body).expect("it is JSON")
}

#[test]
fn a_conversation_runs_in_an_image_of_a_registry() {
    if !has_sandboxes("a_conversation_runs_in_an_image_of_a_registry") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let registry = runtime.block_on(FakeRegistry::start());
    let home = Home::new();
    let registries = format!("registries = ['{}']", registry.host());
    home.configure(&format!(
        "listen = '127.0.0.1:0'\n[models]\ndefault = 'script/look'\n[sandbox]\nlinger = '1s'\n{registries}\n"
    ));
    std::fs::write(home.data().join("scripts/look.yaml"), LOOK).expect("written");
    let env = json!({"config": {"Env": ["PLACE=here", "PATH=/bin"]}});
    let image = ImageFiles::of(&[&bash(), &motd("from an image")], &env);
    registry.push("team/tools:1", &image);
    home.ok(&["run", "assistant", "begin", "--single"]);

    let elsewhere = make_environment(&home, json!({"root": {"type": "image", "reference": "debian:12"}}));
    let refused = elsewhere["error"]["message"].as_str().expect("a message");
    assert!(refused.starts_with("config.root: ") && refused.contains("--registries"), "{refused}");
    let root = json!({"type": "image", "reference": registry.reference("team/tools:1")});
    let made = make_environment(&home, json!({"root": root}));
    assert_eq!(made["config"]["root"]["reference"], registry.reference("team/tools:1"), "{made}");
    let look = || home.ok(&["run", "assistant", "look", "--single", "--environment", "furnished"]);
    let seen = look();
    assert!(seen.contains("from an image here\nno cat"), "{seen}");
    look();
    assert_eq!(registry.asked(&image.layers[0]), 1, "the second sandbox has the first one's layers");

    registry.push("team/tools:1", &ImageFiles::of(&[b"no archive at all, but long enough to be taken for one"], &env));
    let failed = home.run(&["run", "assistant", "look", "--single", "--environment", "furnished"]);
    assert!(failed.code == 1 && failed.stderr.contains("can't be unpacked"), "{failed:#?}");
}

/// Uses what is installed.
const USE: &str = r#"
- steps:
    - text: I use it.
      tools: [{name: bash, input: {command: "python3 -c 'import tiny; print(tiny.word)'"}}]
    - text: "{{last_tool_result}}"
"#;

#[test]
fn a_conversation_has_its_environments_packages() {
    if !has_sandboxes("a_conversation_has_its_environments_packages") {
        return;
    }
    let home = Home::new();
    home.configure("listen = '127.0.0.1:0'\n[models]\ndefault = 'script/use'\n[sandbox]\nlinger = '1s'\n");
    std::fs::write(home.data().join("scripts/use.yaml"), USE).expect("written");
    home.ok(&["run", "assistant", "begin", "--single"]);

    let wanted = || json!({"packages": {"pip": ["tiny==1.0"]}});
    let archives = home.data().join("packages/pip");
    let refused = make_environment(&home, wanted());
    let message = refused["error"]["message"].as_str().unwrap_or_default();
    let expected = format!("config.packages: pip: no archive of tiny==1.0 in {}; have its wheel", archives.display());
    assert!(message.starts_with(&expected), "{refused}");
    wheel(&archives, "tiny", "a word from a wheel");
    let made = make_environment(&home, wanted());
    assert_eq!(made["config"]["packages"]["pip"], json!(["tiny==1.0"]), "{made}");
    let use_it = || home.run(&["run", "assistant", "use", "--single", "--environment", "furnished"]);
    let used = use_it();
    assert!(used.code == 0 && used.stdout.contains("a word from a wheel"), "{used:#?}");

    // Somebody took it away: a layer that was made stays, another can't be.
    std::fs::remove_file(archives.join("tiny-1.0-py3-none-any.whl")).expect("removed");
    let failed = use_it();
    assert!(failed.code == 1 && failed.stderr.contains("pip: no archive of tiny==1.0"), "{failed:#?}");
    assert!(failed.stderr.contains("put there"), "{failed:#?}");
}

/// A package of Python with one module, in which there is a word.
fn wheel(dir: &Path, name: &str, word: &str) {
    let info = format!("{name}-1.0.dist-info");
    let files = [
        (format!("{name}.py"), format!("word = '{word}'\n")),
        (format!("{info}/METADATA"), format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")),
        (format!("{info}/WHEEL"), "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_owned()),
        (format!("{info}/RECORD"), String::new()),
    ];
    let parts = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(parts.path().join(&info)).expect("made");
    for (path, content) in &files {
        std::fs::write(parts.path().join(path), content).expect("written");
    }
    std::fs::create_dir_all(dir).expect("made");
    let wheel = dir.join(format!("{name}-1.0-py3-none-any.whl"));
    let mut zip = Command::new("/usr/bin/python3");
    zip.args(["-m", "zipfile", "-c"]).arg(wheel).args([&files[0].0, &info]).current_dir(parts.path());
    assert!(zip.status().expect("control: there is a Python").success());
}

/// An archive with the host's bash and what it needs.
fn bash() -> Vec<u8> {
    let listed = Command::new("ldd").arg("/bin/bash").output().expect("control: ldd runs");
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
    let mut archive = tar::Builder::new(Vec::new());
    for path in libraries.chain(["/bin/bash"]) {
        let content = std::fs::read(path).expect("control: the host has it");
        append(&mut archive, path.trim_start_matches('/'), &content, 0o755);
    }
    archive.into_inner().expect("written to memory")
}

fn motd(words: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "etc/motd", words.as_bytes(), 0o644);
    archive.into_inner().expect("written to memory")
}

fn append(archive: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8], mode: u32) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, name, content).expect("written to memory");
}
