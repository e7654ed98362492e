//! A data directory for one test, and the program in it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything a test waits for may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A data directory; when it goes, so does every process that came of it.
pub(crate) struct Home {
    root: tempfile::TempDir,
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

/// A call that goes on until somebody adds a line to `gate`.
const GATE: &str = r#"
- steps:
    - text: I begin.
      tools:
        - name: bash
          input:
            command: |-
              echo line >> log; touch gate
              until read -r word < gate; do read -rt 0.05 <> <(:); done
              wc -l < log
    - text: "{{last_tool_result}}"
"#;

/// One that writes files, and changes them when it is asked to.
const FILES: &str = r#"
- when: edit
  steps:
    - tools:
        - name: bash
          input:
            command: sed -i s/two/2/ report.md; mkdir -p src; echo new > src/added
    - text: Edited.
- steps:
    - tools:
        - name: bash
          input:
            command: "printf 'one\ntwo\nthree\n' > report.md; printf 'a\\0b' > bytes"
    - text: Written.
"#;

/// Scripts the tests talk to.
const SCRIPTS: &[(&str, &str)] = &[
    (
        "talk",
        "- when: escape\n  steps:\n    - text: \"\\e]0;title\\a\\e[31mred\\e[0m end\"\n- steps:\n    - text: I hear you.\n",
    ),
    ("slow", "- steps:\n    - text: Never said.\n      delay_ms: 600000\n"),
    ("gate", GATE),
    ("files", FILES),
];

impl Home {
    /// An empty directory whose server takes any free port.
    pub(crate) fn new() -> Self {
        let home = Self { root: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory") };
        std::fs::create_dir_all(home.data().join("scripts")).expect("made");
        home.configure("listen = '127.0.0.1:0'\n[models]\ndefault = 'script/talk'\n[sandbox]\nlinger = '1s'\n");
        for (name, script) in SCRIPTS {
            std::fs::write(home.data().join(format!("scripts/{name}.yaml")), script).expect("written");
        }
        home
    }

    pub(crate) fn configure(&self, text: &str) {
        std::fs::write(self.data().join("config.toml"), text).expect("written");
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// The program, in this directory, with nothing from outside.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tenure"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("TENURE_DATA_DIR", self.data()).env("HOME", self.root.path());
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        finish(self.command(args).spawn().expect("started"))
    }

    /// Runs a command to its end with this on its standard input.
    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> Ran {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().expect("started");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
        finish(child)
    }

    /// Runs a command that must succeed; gives what it printed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:#?}");
        ran.stdout
    }

    /// Runs a command that must succeed; gives the JSON it printed.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.push("--json");
        let printed = self.ok(&args);
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{args:?}: {error} in {printed}"))
    }

    /// What `server.json` says, once it is there.
    pub(crate) fn server(&self) -> Value {
        let path = self.data().join("server.json");
        let content = until("server.json", || std::fs::read(&path).ok());
        serde_json::from_slice(&content).expect("it is JSON")
    }

    /// Makes a session that says one thing; gives its short id.
    pub(crate) fn session(&self, prompt: &str) -> String {
        let ran = self.run(&["run", "assistant", prompt, "--single"]);
        assert_eq!(ran.code, 0, "{ran:#?}");
        let id = ran.stderr.rsplit("tenure sessions resume ").next().expect("never empty").trim();
        assert_eq!(id.len(), 12, "{ran:#?}");
        id.to_owned()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let down = self.run(&["down"]);
        if !std::thread::panicking() {
            assert_eq!(down.code, 0, "{down:#?}");
            assert_eq!(processes_of(&self.data()), Vec::<String>::new(), "processes are left");
        }
    }
}

/// The processes that have a file of the directory open, as server and supervisor have its locks.
fn processes_of(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("it is Linux").flatten();
    let holds = |process: &PathBuf| {
        let files = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|file| file.starts_with(dir))
    };
    let holders = entries.map(|entry| entry.path()).filter(holds);
    holders.map(|process| std::fs::read_to_string(process.join("comm")).unwrap_or_default()).collect()
}

/// Waits for a command's end; it must come by itself.
pub(crate) fn finish(mut child: Child) -> Ran {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let stderr = std::thread::spawn(move || all(stderr));
    let stdout = all(stdout);
    let stderr = stderr.join().expect("read");
    let ended = child.wait().expect("waited for");
    Ran { stdout, stderr, code: ended.code().unwrap_or(-1) }
}

fn all(pipe: Option<impl std::io::Read>) -> String {
    let mut text = String::new();
    pipe.map(|mut pipe| pipe.read_to_string(&mut text)).transpose().expect("it is text");
    text
}

/// Asks again and again until there is an answer. For what no descriptor can be waited on for.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads lines until one contains a text; gives the reader back, and what was read.
pub(crate) fn read_until<R: std::io::Read>(pipe: R, text: &str) -> (BufReader<R>, String) {
    let (mut reader, mut read) = (BufReader::new(pipe), String::new());
    while !read.contains(text) {
        let count = reader.read_line(&mut read).expect("it is text");
        assert_ne!(count, 0, "it ended without `{text}`: {read}");
    }
    (reader, read)
}

/// Sends a signal.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process");
    kill_process(pid, signal).expect("it is there");
}

/// Whether sandboxes can be made here. Where they must be (in CI), it is an error if not.
pub(crate) fn has_sandboxes(test: &str) -> bool {
    static ISOLATES: OnceLock<Result<(), String>> = OnceLock::new();
    let isolates = ISOLATES.get_or_init(|| {
        let ran = Home::new().run(&["doctor"]);
        if ran.code == 0 { Ok(()) } else { Err(ran.stdout) }
    });
    match isolates {
        Ok(()) => true,
        Err(report) => {
            assert!(std::env::var_os("CI").is_none(), "{test} needs sandboxes:\n{report}");
            let _ = writeln!(std::io::stderr(), "skipped {test}: no sandboxes here");
            false
        }
    }
}

/// A file of that name somewhere below a folder.
pub(crate) fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        let found = match entry.file_type().ok()?.is_dir() {
            true => find(&path, name),
            false => (entry.file_name() == name && path.parent()?.ends_with("workspace")).then_some(path),
        };
        if found.is_some() {
            return found;
        }
    }
    None
}
