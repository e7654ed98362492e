//! Conversations that are too long for their model.

use serde_json::json;
use tenure_core::command::{CallResult, FailAttempt, FinishAttempt, FinishCall, Send, Tick};
use tenure_core::content::Block;
use tenure_core::context::assemble;
use tenure_core::fact::Fact;
use tenure_core::id::ItemId;
use tenure_core::lifetime::next_due;
use tenure_core::model::{FailureKind, ModelStop, Part, Reply, ReplyPart, Role, TokenUsage};
use tenure_core::session::{Activity, CallProgress, ContextPolicy, Lifetimes, Purpose, StopReason};

use crate::scene::{Scene, failure, instructions, message};

/// What a model does with every request of one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Says,
    SaysNothing,
    Thinks,
    IsCutOff,
    IsCutOffInACall,
    Pauses,
    Refuses,
    Calls,
    Fails(FailureKind),
}

const DOES: [Does; 12] = [
    Does::Says,
    Does::SaysNothing,
    Does::Thinks,
    Does::IsCutOff,
    Does::IsCutOffInACall,
    Does::Refuses,
    Does::Calls,
    Does::Fails(FailureKind::TooLong),
    Does::Fails(FailureKind::Rejected),
    Does::Fails(FailureKind::Overloaded),
    Does::Fails(FailureKind::Unavailable),
    Does::Fails(FailureKind::Authentication),
];

/// What was said before.
type History = fn(&mut Scene);

/// A session in which this was said, with a window of so many tokens, that is just about to take up a turn.
fn with_history(window: u64, history: History) -> Scene {
    let mut scene = Scene::open(Lifetimes::default());
    let retry = scene.state.definition.retry;
    scene.policies(retry, ContextPolicy { window, ..ContextPolicy::default() });
    history(&mut scene);
    scene
}

fn say(scene: &mut Scene, text: &str) {
    scene.next_id += 1;
    let item = ItemId::from_bits(scene.next_id << 32);
    let _ = scene.play(Send { inputs: vec![(item, message(text))] });
}

fn answer(scene: &mut Scene, does: Does) {
    let attempt = scene.attempt();
    let call = || ReplyPart::ToolUse { name: "weather".into(), input: Ok(json!({})) };
    let (parts, stop) = match does {
        Does::Fails(kind) => {
            let _ = scene.play(FailAttempt { attempt, failure: failure(kind), answered: false });
            return;
        }
        Does::Says => (vec![ReplyPart::Text("in short".into())], ModelStop::EndTurn),
        Does::SaysNothing => (Vec::new(), ModelStop::EndTurn),
        Does::Thinks => (vec![ReplyPart::Thinking { text: "hm".into(), signature: None }], ModelStop::EndTurn),
        Does::IsCutOff => (vec![ReplyPart::Text("and so on".into())], ModelStop::MaxTokens),
        Does::IsCutOffInACall => (vec![call()], ModelStop::MaxTokens),
        Does::Pauses => (vec![ReplyPart::Text("so far".into())], ModelStop::Pause),
        Does::Refuses => (Vec::new(), ModelStop::Refusal { category: None, explanation: None }),
        Does::Calls => (vec![call()], ModelStop::ToolUse),
    };
    let reply = Reply { parts, stop, usage: TokenUsage::default() };
    let _ = scene.play(FinishAttempt { attempt, reply, previewed: Vec::new() });
}

fn talk(scene: &mut Scene) {
    for number in 0..20 {
        say(scene, &format!("question {number} {}", "of some length ".repeat(20)));
        while matches!(scene.state.thread.activity, Activity::Asking { .. }) {
            answer(scene, Does::Says);
        }
    }
}

/// One message, and a long loop of calls whose output is long.
fn toil(scene: &mut Scene) {
    say(scene, "do it");
    let sandbox = |scene: &Scene| scene.sandbox();
    for number in 0..20 {
        let attempt = scene.attempt();
        if matches!(scene.state.thread.activity, Activity::Asking { attempt } if attempt.purpose == Purpose::Summary) {
            answer(scene, Does::Refuses);
            continue;
        }
        let parts = vec![ReplyPart::ToolUse { name: "bash".into(), input: Ok(json!({ "command": number })) }];
        let reply = Reply { parts, stop: ModelStop::ToolUse, usage: TokenUsage::default() };
        let _ = scene.play(FinishAttempt { attempt, reply, previewed: Vec::new() });
        let report = tenure_core::command::SandboxReport::Started;
        let _ = scene.play(tenure_core::command::ReportSandbox { sandbox: sandbox(scene), report });
        let started = scene.state.thread.calls.iter().find(|open| open.progress == CallProgress::Started);
        let call = started.expect("it runs").call;
        let content = vec![Block::text("a line of output\n".repeat(40))];
        let _ = scene.play(FinishCall { call, result: CallResult::Finished { content, is_error: false } });
    }
    answer(scene, Does::Says);
}

fn one_huge_message(scene: &mut Scene) {
    say(scene, &"all of it ".repeat(2_000));
    answer(scene, Does::Says);
}

/// Whatever a model and its provider do, and go on doing, the turn comes to its end soon.
#[test]
fn no_answer_leads_to_asking_for_ever() {
    let histories: [(&str, History); 4] =
        [("nothing", |_| {}), ("talk", talk), ("toil", toil), ("one huge message", one_huge_message)];
    for window in [100, 1_000, 4_000, 128_000] {
        for (name, history) in histories {
            for reply in DOES {
                for summary in DOES {
                    let told = format!("window {window}, after {name}: replies {reply:?}, summaries {summary:?}");
                    let mut scene = with_history(window, history);
                    let began = scene.log.len();
                    say(&mut scene, "and now?");
                    come_to_rest(&mut scene, reply, summary, &told);
                    let asked =
                        scene.log[began..].iter().filter(|stored| matches!(&*stored.fact, Fact::AttemptStarted { .. }));
                    let asked = asked.count();
                    assert!(asked <= 16, "{told}: {asked} requests");
                }
            }
        }
    }
}

/// A provider that makes pauses without end is stopped by the limit of requests that a turn may make.
#[test]
fn pauses_without_end_come_to_one() {
    let mut scene = with_history(1_000, |_| {});
    say(&mut scene, "go");
    come_to_rest(&mut scene, Does::Pauses, Does::Pauses, "pauses");
    assert!(matches!(&scene.state.thread.activity, Activity::Idle { stop: StopReason::RetriesExhausted, .. }));
}

fn come_to_rest(scene: &mut Scene, reply: Does, summary: Does, told: &str) {
    for _ in 0..2_000 {
        match scene.state.thread.activity {
            Activity::Asking { attempt } => match attempt.purpose {
                Purpose::Reply => answer(scene, reply),
                Purpose::Summary => answer(scene, summary),
            },
            Activity::Rescheduling { .. } => {
                scene.at = next_due(&scene.state).expect("it goes on by itself");
                let _ = scene.play(Tick {});
            }
            Activity::Idle { .. } | Activity::Waiting { .. } => return,
            Activity::Calling => panic!("{told}: no call runs in a sandbox"),
        }
    }
    panic!("{told}: it never comes to rest");
}

#[test]
fn a_summary_stands_for_what_went_before_and_the_newest_stays_word_for_word() {
    let mut scene = with_history(5_000, talk);
    say(&mut scene, &format!("and now? {}", "and so on ".repeat(240)));
    let Activity::Asking { attempt } = scene.state.thread.activity else { panic!("it asks") };
    assert_eq!(attempt.purpose, Purpose::Summary);
    let request = assemble(&scene.state, &[]);
    let wanted = request.messages.last().and_then(|last| last.parts.last());
    let Some(Part::Content { block: Block::Text { text } }) = wanted else { panic!("it says what: {request:?}") };
    assert!(text.contains("Write a summary"), "{text}");
    answer(&mut scene, Does::Says);
    let request = assemble(&scene.state, &[]);
    let first = &request.messages[0];
    assert_eq!(first.role, Role::User);
    let texts: Vec<&str> = first
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Content { block } => block.as_text(),
            _ => None,
        })
        .collect();
    assert!(texts[0].contains("summary") && texts[0].ends_with("in short"), "{texts:?}");
    assert!(request.messages.len() < 10, "{} messages", request.messages.len());
    let all = format!("{request:?}");
    assert!(all.contains("and now?") && all.contains("question 19") && !all.contains("question 1 "), "{all}");
}

#[test]
fn instructions_hold_on_word_for_word() {
    let mut scene = with_history(5_000, |scene| {
        let inputs = vec![(ItemId::from_bits(0xf00), instructions())];
        let _ = scene.play(Send { inputs });
        talk(scene);
    });
    say(&mut scene, &format!("and now? {}", "and so on ".repeat(240)));
    answer(&mut scene, Does::Says);
    let request = assemble(&scene.state, &[]);
    let told = |part: &Part| matches!(part, Part::System { text } if text == "be brief");
    let at: Vec<usize> =
        (0..request.messages.len()).filter(|at| request.messages[*at].parts.iter().any(told)).collect();
    assert_eq!(at, [0], "once, before all that stayed: {request:?}");
    assert!(!format!("{request:?}").contains("question 0"), "what they came with has left");
}

#[test]
fn without_a_summary_old_output_goes_first_and_what_was_asked_stays() {
    let mut scene = with_history(6_000, toil);
    let told = scene.log.iter().filter_map(|stored| match &*stored.fact {
        Fact::ConversationCompacted { summary, left, emptied, .. } => Some((summary.is_some(), *left, *emptied)),
        _ => None,
    });
    let told: Vec<_> = told.collect();
    assert!(matches!(told[..], [(false, 0, 1..), ..]), "{told:?}");
    say(&mut scene, "and now?");
    let all = format!("{:?}", assemble(&scene.state, &[]).messages);
    assert!(all.contains("do it") && all.contains("This output was left out"), "{all}");
}

#[test]
fn pictures_and_documents_are_weighed_by_what_they_are() {
    use tenure_core::content::Source;
    use tenure_core::context::estimate_tokens;
    let mut scene = with_history(128_000, |_| {});
    let before = estimate_tokens(&scene.state);
    let url = || Source::Url { url: "https://example.com/a".into() };
    let picture = Block::Image { source: url() };
    let document = Block::Document { source: url(), title: None, context: None };
    let content = vec![picture, document, Block::text("x".repeat(400))];
    let input = tenure_core::session::Input::Message { content, delivery: Default::default() };
    let _ = scene.play(Send { inputs: vec![(ItemId::from_bits(0xf00), input)] });
    let taken = estimate_tokens(&scene.state) - before;
    assert!((13_700..13_900).contains(&taken), "{taken}");
}
