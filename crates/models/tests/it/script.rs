//! The scripted model: a pure function of the request.

use std::sync::Arc;

use tenure_core::content::Block;
use tenure_core::id::ItemId;
use tenure_core::model::{FailureKind, Message, ModelStop, Part, Reply, ReplyPart, Request, Role};
use tenure_models::{Models, Settings};

use crate::recorded::hello;
use crate::render::{collect, failed, render, reply};

fn said(role: Role, text: &str) -> Arc<Message> {
    Arc::new(Message { role, parts: vec![Part::Content { block: Block::text(text) }] })
}

/// The messages a reply and its tools' result become.
fn carried_out(reply: &Reply, result: &str) -> [Arc<Message>; 2] {
    let (mut calls, mut results) = (Vec::new(), Vec::new());
    for (number, part) in (1..).zip(&reply.parts) {
        if let ReplyPart::ToolUse { name, input } = part {
            let call = ItemId::from_bits(number);
            calls.push(Part::ToolUse { call, name: name.clone(), input: input.clone().expect("an object") });
            results.push(Part::ToolResult { call, content: vec![Block::text(result)], is_error: false });
        }
    }
    [Arc::new(Message { role: Role::Assistant, parts: calls }), Arc::new(Message { role: Role::User, parts: results })]
}

fn asked(model: &str, messages: Vec<Arc<Message>>) -> Arc<Request> {
    Arc::new(Request { messages, ..(*hello(model)).clone() })
}

#[tokio::test]
async fn fibonacci_writes_runs_and_tells_what_was_printed() {
    let models = Models::new(Settings::default()).expect("settings");
    let mut messages = vec![said(Role::User, "write a Fibonacci script to fib.py, run it, tell me the 20th number")];
    let mut calls = Vec::new();
    for result in ["wrote 300 bytes to fib.py", "6765\n"] {
        let events = collect(models.stream(asked("script/fibonacci", messages.clone()))).await;
        let reply = reply(&events);
        assert_eq!(reply.stop, ModelStop::ToolUse);
        calls.extend(reply.parts.iter().filter_map(|part| match part {
            ReplyPart::ToolUse { name, input } => Some((name.clone(), input.clone().expect("an object"))),
            _ => None,
        }));
        messages.extend(carried_out(reply, result));
    }
    assert_eq!(calls[0].0, "write");
    assert_eq!(calls[0].1["file_path"], "fib.py");
    assert_eq!(calls[1], ("bash".to_owned(), serde_json::json!({"command": "python3 fib.py"})));
    let last = collect(models.stream(asked("script/fibonacci", messages.clone()))).await;
    let text = "I wrote `fib.py` and ran it in the sandbox. Asked for the 20th Fibonacci number, it printed:\n\n6765";
    assert_eq!(
        (&reply(&last).stop, reply(&last).parts.as_slice()),
        (&ModelStop::EndTurn, &[ReplyPart::Text(text.to_owned())][..])
    );

    messages.push(said(Role::Assistant, text));
    messages.push(said(Role::User, "again"));
    let again = collect(models.stream(asked("script/fibonacci", messages))).await;
    assert_eq!(reply(&again).stop, ModelStop::ToolUse, "a new message starts from the first step");
}

#[tokio::test]
async fn demo_says_what_it_is_and_how_to_set_a_key() {
    let models = Models::new(Settings::default()).expect("settings");
    let events = collect(models.stream(hello("script/demo"))).await;
    let text = render(&events);
    assert!(
        text.contains("scripted model") && text.contains("ANTHROPIC_API_KEY") && text.contains("tenure models add"),
        "{text}"
    );
}

#[tokio::test]
async fn rules_steps_and_placeholders() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("s.yaml");
    let script = "- when: ^say (?i)HI\n  steps:\n    - text: '{{last_user_text}}: {{last_tool_result}}!'\n- when: list\n  steps: []\n";
    std::fs::write(&file, script).expect("write");
    let models =
        Models::new(Settings { scripts_dir: Some(dir.path().to_owned()), ..Settings::default() }).expect("settings");
    let answer = async |messages| {
        let events = collect(models.stream(asked("script/s", messages))).await;
        match reply(&events).parts.as_slice() {
            [ReplyPart::Text(text)] => text.clone(),
            other => panic!("{other:?}"),
        }
    };
    let hi = || said(Role::User, "say hi {{last_tool_result}} ");
    assert_eq!(answer(vec![hi()]).await, "say hi {{last_tool_result}}: !", "a value's braces stay text");
    assert_eq!(answer(vec![hi(), said(Role::Assistant, "x")]).await, "That is all script/s has to say to this.");
    assert_eq!(answer(vec![said(Role::User, "list")]).await, "That is all script/s has to say to this.");
    let no_match = answer(vec![said(Role::User, "what?")]).await;
    assert!(no_match.contains("script/s") && no_match.contains("`^say (?i)HI`, `list`"), "{no_match}");

    std::fs::write(&file, "- steps: [{text: 'Edited.'}]").expect("write");
    assert_eq!(answer(vec![hi()]).await, "Edited.", "a changed file is read again");
}

#[tokio::test]
async fn mistakes_name_the_file_and_the_line() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("bad.yaml"), "- when: a\n  steps:\n    - txt: b\n").expect("write");
    let models =
        Models::new(Settings { scripts_dir: Some(dir.path().to_owned()), ..Settings::default() }).expect("settings");
    let told = async |model: &str| {
        let events = collect(models.stream(hello(model))).await;
        let failure = failed(&events).clone();
        assert_eq!(failure.kind, FailureKind::Rejected);
        failure.message
    };
    let bad = told("script/bad").await;
    assert!(bad.starts_with(&format!("{}:3: expected a list", dir.path().join("bad.yaml").display())), "{bad}");
    let missing = told("script/missing").await;
    assert!(
        missing.contains("`demo` and `fibonacci` come with Tenure and")
            && missing.contains("missing.yaml doesn't exist"),
        "{missing}"
    );
    for outside in ["script/../../etc/passwd", "script/..", "script/a/b", "script/.hidden"] {
        assert!(told(outside).await.contains("expected letters, digits"), "{outside}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_waits_its_delay() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("slow.yaml"), "- steps: [{text: 'At last.', delay_ms: 30000}]").expect("write");
    let models =
        Models::new(Settings { scripts_dir: Some(dir.path().to_owned()), ..Settings::default() }).expect("settings");
    let before = tokio::time::Instant::now();
    reply(&collect(models.stream(hello("script/slow"))).await);
    assert!(before.elapsed() >= std::time::Duration::from_secs(30), "the paused clock was not moved by the delay");
}

#[tokio::test(start_paused = true)]
async fn a_step_speaks_at_its_pace() {
    let dir = tempfile::tempdir().expect("a folder");
    let rules = "- steps: [{text: one word after another is told, pace_ms: 5000}]";
    std::fs::write(dir.path().join("paced.yaml"), rules).expect("write");
    let models =
        Models::new(Settings { scripts_dir: Some(dir.path().to_owned()), ..Settings::default() }).expect("settings");
    let before = tokio::time::Instant::now();
    reply(&collect(models.stream(hello("script/paced"))).await);
    assert!(before.elapsed() >= std::time::Duration::from_secs(10), "it is told in two pieces at least");
}
