//! Processes with which somebody talks while they run.

use std::sync::Arc;

use tenure_sandbox::{Control, Error, Exit, Launch, Output, Process, Sandbox, TerminalSize, Work};

use crate::host::{Host, exec, run, session, shell, text};

const SIZE: TerminalSize = TerminalSize { columns: 80, rows: 24 };

/// A process and what it has printed so far.
struct Talk {
    process: Process,
    printed: Vec<u8>,
}

impl Talk {
    async fn with(sandbox: &Arc<dyn Sandbox>, argv: &[&str]) -> Self {
        Self::launch(sandbox, Launch::new(exec(argv))).await
    }

    async fn in_a_terminal(sandbox: &Arc<dyn Sandbox>, argv: &[&str]) -> Self {
        Self::launch(sandbox, Launch { terminal: Some(SIZE), ..Launch::new(exec(argv)) }).await
    }

    async fn launch(sandbox: &Arc<dyn Sandbox>, launch: Launch) -> Self {
        Self { process: sandbox.launch(launch).await.expect("started"), printed: Vec::new() }
    }

    async fn say(&self, text: &str) {
        self.process.input.send(text.as_bytes().to_vec()).await.expect("it is taken");
    }

    /// Waits until it has printed this.
    async fn until(&mut self, expected: &str) {
        while !String::from_utf8_lossy(&self.printed).contains(expected) {
            match self.process.output.recv().await {
                Some(Output::Out(bytes) | Output::Err(bytes)) => self.printed.extend(bytes),
                None => panic!("it ended without {expected:?}: {}", String::from_utf8_lossy(&self.printed)),
            }
        }
    }

    /// Closes its input and waits for its end; gives what it printed, on both streams, and how it ended.
    async fn finish(self) -> (String, String, Exit) {
        let (mut process, mut out, mut err) = (self.process, self.printed, Vec::new());
        drop(process.input);
        while let Some(output) = process.output.recv().await {
            match output {
                Output::Out(bytes) => out.extend(bytes),
                Output::Err(bytes) => err.extend(bytes),
            }
        }
        let exit = process.end.await.expect("told").expect("an end");
        drop(process.control);
        (String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned(), exit)
    }
}

#[tokio::test]
async fn a_program_is_talked_with() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let mut talk =
        Talk::with(&sandbox, &["sh", "-c", "id -un; while read word; do echo got $word; done; echo bye >&2; exit 3"])
            .await;
    talk.until("agent\n").await;
    talk.say("one\n").await;
    talk.until("got one\n").await;
    talk.say("two\n").await;
    let (out, err, exit) = talk.finish().await;
    assert_eq!((out.as_str(), err.as_str(), exit.code), ("agent\ngot one\ngot two\n", "bye\n", Some(3)));
    let (out, err, exit) = Talk::with(&sandbox, &["no-such-program"]).await.finish().await;
    assert_eq!((out.as_str(), err.as_str(), exit.code), ("", "no-such-program: no such program\n", Some(127)));
    let (_, _, exit) = Talk::with(&sandbox, &["sh", "-c", "kill -TERM $$"]).await.finish().await;
    assert_eq!((exit.code, exit.signal), (None, Some(15)));
    host.finish().await;
}

#[tokio::test]
async fn ops_take_input_and_give_output_as_it_comes() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let op = Work::Op { name: "relay".to_owned(), input: b"said first; ".to_vec() };
    let mut talk = Talk::launch(&sandbox, Launch::new(op)).await;
    talk.until("said first; ").await;
    talk.say("said later").await;
    talk.until("said later").await;
    let (out, _, exit) = talk.finish().await;
    assert_eq!((out.as_str(), exit.code), ("said first; said later", Some(0)));
    host.finish().await;
}

#[tokio::test]
async fn nothing_is_lost_and_nothing_piles_up() {
    const BYTES: usize = 20_000_000;
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let mut talk = Talk::with(&sandbox, &["sh", "-c", "head -c 20000000 | sha256sum"]).await;
    let given: Vec<u8> = (0..BYTES).map(|n| (n / 7) as u8).collect();
    for part in given.chunks(100_000) {
        talk.process.input.send(part.to_vec()).await.expect("it is taken");
    }
    talk.until("\n").await;
    let sum = talk.finish().await.0;
    // What comes back is what was sent, though nobody takes it for a while: other processes don't wait for that.
    let mut talk = Talk::with(&sandbox, &["cat"]).await;
    let input = talk.process.input.clone();
    let feeding = tokio::spawn(async move {
        for part in given.chunks(100_000) {
            input.send(part.to_vec()).await.expect("it is taken");
        }
    });
    assert_eq!(text(&run(&sandbox, 1, shell("echo on")).await), "on\n");
    assert_eq!(Talk::with(&sandbox, &["echo", "too"]).await.finish().await.0, "too\n");
    assert!(!feeding.is_finished(), "it is held up");
    while talk.printed.len() < BYTES {
        match talk.process.output.recv().await {
            Some(Output::Out(bytes) | Output::Err(bytes)) => talk.printed.extend(bytes),
            None => panic!("cut short"),
        }
    }
    let again = Talk::with(&sandbox, &["sha256sum"]).await;
    for part in talk.printed.chunks(100_000) {
        again.process.input.send(part.to_vec()).await.expect("it is taken");
    }
    assert_eq!(again.finish().await.0, sum);
    feeding.await.expect("done");
    drop(talk);
    host.finish().await;
}

#[tokio::test]
async fn a_terminal_echoes_has_a_size_and_is_the_programs_own() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let mut talk = Talk::in_a_terminal(&sandbox, &["bash", "--norc", "-i"]).await;
    talk.say("stty size; tty; echo $TERM\n").await;
    talk.until("24 80\r\n/dev/pts/0\r\nxterm-256color\r\n").await;
    talk.process.control.send(Control::Resize(TerminalSize { columns: 132, rows: 50 })).await.expect("sent");
    // It comes by another way than what is typed.
    let mut asked = 0;
    while !String::from_utf8_lossy(&talk.printed).contains("50 132") {
        asked += 1;
        talk.say(&format!("stty size; echo as''ked {asked}\n")).await;
        talk.until(&format!("asked {asked}\r\n")).await;
    }
    // Ctrl-C ends what is in the foreground, not the shell, which says how that ended.
    talk.say("sh -c 'echo be\"\"gun; exec sleep 1000'\n").await;
    talk.until("begun\r\n").await;
    talk.say("\x03").await;
    talk.say("echo ended with $?\n").await;
    talk.until("ended with 130\r\n").await;
    // So does a signal.
    talk.say("sh -c 'echo a\"\"gain; exec cat'\n").await;
    talk.until("again\r\n").await;
    talk.say("typed\n").await;
    talk.until("typed\r\ntyped\r\n").await;
    talk.printed.clear();
    talk.process.control.send(Control::Signal(2)).await.expect("sent");
    talk.until("$ ").await;
    talk.say("echo ended with $?.\n").await;
    talk.until("ended with 130.\r\n").await;
    // End-of-file ends it.
    let (out, _, exit) = talk.finish().await;
    assert!(exit.code.is_some(), "{out}");
    host.finish().await;
}

#[tokio::test]
async fn what_a_terminal_showed_last_arrives() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let (out, err, exit) = Talk::in_a_terminal(&sandbox, &["seq", "1", "100000"]).await.finish().await;
    assert_eq!((exit.code, err.as_str()), (Some(0), ""));
    let expected: String = (1..=100_000).map(|n| format!("{n}\r\n")).collect();
    // What was typed, end-of-file, may be echoed somewhere.
    assert_eq!(out.replace("^D\u{8}\u{8}", ""), expected);
    // A whole line, and half a one, are typed before end-of-file is.
    for typed in ["whole\n", "half"] {
        let talk = Talk::in_a_terminal(&sandbox, &["cat"]).await;
        talk.say(typed).await;
        let (out, _, exit) = talk.finish().await;
        assert_eq!(exit.code, Some(0));
        assert_eq!(out.matches(typed.trim_end()).count(), 2, "typed and printed: {out:?}");
    }
    host.finish().await;
}

/// What is typed for end-of-file is for programs that read lines: one that reads keys meanwhile, and one after it, get their own.
#[tokio::test]
async fn input_ends_for_each_program_in_a_terminal() {
    const SCRIPT: &str = "cat; stty -icanon
        until [ \"$(dd bs=1 count=1 2>/dev/null | od -An -tx1)\" = ' 04' ]; do :; done
        stty icanon; cat; exit 7";
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let (out, _, exit) = Talk::in_a_terminal(&sandbox, &["sh", "-c", SCRIPT]).await.finish().await;
    assert_eq!(exit.code, Some(7), "{out}");
    host.finish().await;
}

#[tokio::test]
async fn whoever_lets_go_ends_it_with_all_it_started() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    for terminal in [None, Some(SIZE)] {
        let argv = ["bash", "-c", "sleep 1000 & setsid sleep 1000 & echo begun; exec sleep 1000"];
        let mut talk = Talk::launch(&sandbox, Launch { terminal, ..Launch::new(exec(&argv)) }).await;
        talk.until("begun").await;
        let Process { control, end, output, input } = talk.process;
        drop(control);
        let exit = end.await.expect("told").expect("an end");
        assert!(exit.cancelled && exit.signal == Some(9), "{exit:?}");
        assert_eq!(text(&run(&sandbox, 1, exec(&["sh", "-c", "pgrep sleep || echo none"])).await), "none\n");
        sandbox.acknowledge(crate::host::call(1)).await.expect("forgotten");
        drop((output, input));
    }
    host.finish().await;
}

#[tokio::test]
async fn what_a_server_launched_ends_with_it_and_calls_go_on() {
    let mut host = Host::new();
    let sandbox = host.open(session(1)).await;
    let mut talk = Talk::with(&sandbox, &["sh", "-c", "echo begun; exec sleep 1001"]).await;
    talk.until("begun").await;
    // Only the connection ends, as with the server's process.
    let talking = talk.process;
    host.restarted();
    let again = host.open(session(1)).await;
    let ended = talking.end.await.expect("told");
    assert!(matches!(&ended, Err(Error::Lost)) || ended.as_ref().is_ok_and(|exit| exit.cancelled), "{ended:?}");
    let gone = exec(&["sh", "-c", "while pgrep sleep; do :; done; echo gone"]);
    assert!(text(&run(&again, 1, gone).await).ends_with("gone\n"));
    drop(sandbox);
    host.finish().await;
}

#[tokio::test]
async fn time_outs_stops_and_wrong_orders_are_told() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let timeout = Some(std::time::Duration::from_millis(100));
    let talk = Talk::launch(&sandbox, Launch { timeout, ..Launch::new(exec(&["sleep", "1000"])) }).await;
    let (_, _, exit) = talk.finish().await;
    assert!(exit.timed_out && exit.code.is_none(), "{exit:?}");
    let given = Work::Exec { argv: vec!["cat".to_owned()], env: Vec::new(), cwd: String::new(), stdin: vec![1] };
    for wrong in [Launch::new(shell("true")), Launch::new(exec(&[])), Launch::new(given)] {
        let refused = sandbox.launch(wrong).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
    let mut talk = Talk::with(&sandbox, &["sh", "-c", "echo begun; exec sleep 1000"]).await;
    talk.until("begun").await;
    let ended = tokio::spawn(talk.process.end);
    sandbox.stop(std::time::Duration::ZERO).await.expect("stopped");
    let ended = ended.await.expect("no panic").expect("told");
    assert!(!matches!(&ended, Ok(exit) if exit.code.is_some()), "{ended:?}");
    assert!(matches!(sandbox.launch(Launch::new(exec(&["true"]))).await, Err(Error::Lost)));
    host.finish().await;
}

#[tokio::test]
async fn its_streams_can_be_opened_by_their_names() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let script = "read word < /dev/stdin; echo out $word > /dev/stdout; echo err $word | tee /dev/stderr > /dev/null";
    let talk = Talk::with(&sandbox, &["sh", "-c", script]).await;
    talk.say("one\n").await;
    let (out, err, exit) = talk.finish().await;
    assert_eq!((out.as_str(), err.as_str(), exit.code), ("out one\n", "err one\n", Some(0)));
    let (out, _, exit) = Talk::in_a_terminal(&sandbox, &["sh", "-c", "echo seen > /dev/stderr"]).await.finish().await;
    assert_eq!((out.as_str(), exit.code), ("seen\r\n", Some(0)));
    host.finish().await;
}
