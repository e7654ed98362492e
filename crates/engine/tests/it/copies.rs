//! Snapshots, forks, rewinds and clones.

use serde_json::{Value, json};
use tenure_core::fact::{Fact, StoredFact};
use tenure_core::files::SnapshotEnding;
use tenure_core::id::{SessionId, SnapshotId};
use tenure_core::resource::DEFAULT_TENANT;
use tenure_core::session::StopReason;
use tenure_core::state::State;
use tenure_engine::{Config, Error, NewClone, NewFork, Point, Wanted};
use tenure_sandbox::Taken;
use tenure_testkit::{Answer, FakeModel, TestEngine};

/// Says something, to which the model answers by a call and then with words; gives the place of the turn's end.
async fn turn(engine: &TestEngine, session: SessionId, text: &str) -> u64 {
    let after = head(engine, session).await;
    engine.say(session, text).await;
    let facts = engine.until_idle(session, after).await;
    engine.until(session, after, |fact| matches!(fact, Fact::SnapshotEnded { .. })).await;
    facts.last().expect("it became idle").seq
}

async fn head(engine: &TestEngine, session: SessionId) -> u64 {
    engine.store.head(session).await.expect("the store works").expect("the session exists")
}

async fn log(engine: &TestEngine, session: SessionId) -> Vec<StoredFact> {
    engine.store.read_facts(session, 0, usize::MAX).await.expect("the store works")
}

fn turns(count: usize) -> Vec<Answer> {
    let turn = |at: usize| {
        let call = Answer::Call("bash", json!({"command": format!("echo {at}")}));
        [call, Answer::Text(["one", "two", "three", "four", "five", "six"][at])]
    };
    (0..count).flat_map(turn).collect()
}

/// The texts of the conversation that the model was last sent.
fn last_request(model: &FakeModel) -> Value {
    model.requests().last().expect("it was asked")["messages"].clone()
}

async fn fork(engine: &TestEngine, session: SessionId, at: Point, files: bool) -> Result<SessionId, Error> {
    let new = NewFork { at, title: None, files };
    let view = engine.engine.sessions().fork(DEFAULT_TENANT, session, new, None).await?;
    Ok(view.summary.session)
}

#[tokio::test]
async fn a_turn_with_calls_ends_with_a_snapshot_and_one_without_does_not() {
    let mut answers = turns(1);
    answers.push(Answer::Text("only words"));
    let model = FakeModel::start(answers).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    let end = turn(&engine, session, "go").await;
    let kept = engine.engine.sessions().snapshots(DEFAULT_TENANT, session).await.expect("they can be listed");
    assert_eq!(kept.iter().map(|kept| (kept.point, kept.name.clone())).collect::<Vec<_>>(), [(end, None)]);
    assert_eq!(kept[0].ending, SnapshotEnding::Sealed);
    assert_eq!(engine.backend.snapshots(session), [kept[0].id]);
    engine.say(session, "and?").await;
    let facts = engine.until_idle(session, head(&engine, session).await).await;
    assert!(facts.iter().all(|stored| !stored.fact.kind().starts_with("snapshot")), "{facts:?}");
    assert_eq!(engine.backend.snapshots(session).len(), 1);
}

#[tokio::test]
async fn a_call_waits_for_the_snapshot_and_the_model_does_not() {
    let model = FakeModel::start(turns(2)).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.backend.hold_snapshots(true);
    engine.say(session, "go").await;
    let facts = engine.until_idle(session, 0).await;
    let end = facts.last().expect("it became idle").seq;
    engine.say(session, "again").await;
    engine.until(session, end, |fact| matches!(fact, Fact::CallRequested { .. })).await;
    engine.backend.wait_snapshot_asked(1).await;
    assert_eq!(engine.backend.started().len(), 1, "the second call waits");
    engine.backend.hold_snapshots(false);
    let facts = engine.until_idle(session, end).await;
    let place = |kind: &str| facts.iter().position(|stored| stored.fact.kind() == kind);
    assert!(place("snapshot_ended") < place("call_started"), "{facts:?}");
    assert!(place("attempt_started") < place("snapshot_ended"), "the model was asked meanwhile");
}

#[tokio::test]
async fn a_snapshot_that_was_cut_off_is_taken_by_the_next_engine() {
    let model = FakeModel::start(turns(1)).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.backend.hold_snapshots(true);
    engine.say(session, "go").await;
    engine.until_idle(session, 0).await;
    engine.backend.wait_snapshot_asked(1).await;
    engine.crash().await;
    engine.backend.hold_snapshots(false);
    engine.restart().await;
    let facts = engine.until(session, 0, |fact| matches!(fact, Fact::SnapshotEnded { .. })).await;
    let started: Vec<SnapshotId> = facts
        .iter()
        .filter_map(|stored| match &*stored.fact {
            Fact::SnapshotStarted { snapshot, .. } => Some(*snapshot),
            _ => None,
        })
        .collect();
    assert_eq!(started.len(), 1, "it is the same one");
    assert_eq!(engine.backend.snapshots(session), started);
}

#[tokio::test]
async fn a_fork_has_the_conversation_and_the_files_and_the_other_is_left_alone() {
    let mut answers = turns(2);
    answers.extend([Answer::Text("in the fork"), Answer::Text("in the parent")]);
    let model = FakeModel::start(answers).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let parent = engine.session("claude-test").await;
    let first = turn(&engine, parent, "first").await;
    turn(&engine, parent, "second").await;
    let before = log(&engine, parent).await;
    let taken = engine.backend.snapshots(parent);

    let child = fork(&engine, parent, Point::Place(first), true).await.expect("a turn's end");
    assert_eq!(log(&engine, parent).await, before, "nothing happened to the parent");
    let copied = log(&engine, child).await;
    let facts =
        |log: &[StoredFact]| log.iter().map(|stored| (stored.seq, stored.at, stored.fact.clone())).collect::<Vec<_>>();
    let upto = usize::try_from(first).expect("few");
    assert_eq!(facts(&copied[..upto]), facts(&before[..upto]), "the same log so far");
    assert_eq!(copied.len(), upto + 1);
    assert_eq!((engine.backend.origin(child), engine.backend.snapshots(child)), (Some(taken[0]), vec![taken[0]]));
    let view = engine.engine.sessions().get(DEFAULT_TENANT, child).await.expect("it is there");
    let from = view.summary.forked_from.expect("it says so");
    assert_eq!((from.session, from.at, from.snapshot), (parent, first, Some(taken[0])));
    assert_eq!((view.summary.tokens.input, view.summary.active_ms), (0, 0), "what it has spent counts from zero");
    assert_eq!(view.summary.stop, StopReason::EndTurn);

    // What is said next goes on from there, in each by itself.
    let after = head(&engine, child).await;
    engine.say(child, "and now").await;
    engine.until_idle(child, after).await;
    let said = last_request(&model).to_string();
    assert!(said.contains("first") && said.contains("and now") && !said.contains("second"), "{said}");
    let after = head(&engine, parent).await;
    engine.say(parent, "and here").await;
    engine.until_idle(parent, after).await;
    let said = last_request(&model).to_string();
    assert!(said.contains("second") && said.contains("and here") && !said.contains("and now"), "{said}");
}

#[tokio::test]
async fn a_fork_at_the_last_turns_end_waits_for_its_snapshot() {
    let model = FakeModel::start(turns(1)).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.backend.hold_snapshots(true);
    engine.say(session, "go").await;
    let end = engine.until_idle(session, 0).await.last().expect("it became idle").seq;
    let sessions = engine.engine.sessions().clone();
    let new = NewFork { at: Point::Last, title: Some("copy".to_owned()), files: true };
    let forked = tokio::spawn(async move { sessions.fork(DEFAULT_TENANT, session, new, None).await });
    engine.backend.wait_snapshot_asked(1).await;
    engine.backend.hold_snapshots(false);
    let view = forked.await.expect("no panic").expect("it is forked");
    assert_eq!(view.summary.forked_from.map(|from| from.at), Some(end));
    assert_eq!(view.summary.title.as_deref(), Some("copy"));
    assert_eq!(engine.backend.origin(view.summary.session), engine.backend.snapshots(session).first().copied());
}

#[tokio::test]
async fn a_turn_without_calls_is_over_before_its_files_are_kept_or_back_and_has_them_all_the_same() {
    let mut answers = turns(1);
    answers.push(Answer::Text("words"));
    answers.extend(turns(1));
    answers.push(Answer::Text("words again"));
    let model = FakeModel::start(answers).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    let fork_soon = |at: u64| {
        let sessions = engine.engine.sessions().clone();
        let new = NewFork { at: Point::Place(at), title: None, files: true };
        tokio::spawn(async move { sessions.fork(DEFAULT_TENANT, session, new, None).await })
    };

    // The snapshot of the turn before is still being taken.
    engine.backend.hold_snapshots(true);
    engine.say(session, "go").await;
    let first = engine.until_idle(session, 0).await.last().expect("it became idle").seq;
    engine.say(session, "and?").await;
    let words = engine.until_idle(session, first).await.last().expect("it became idle").seq;
    let forked = fork_soon(words);
    engine.backend.wait_snapshot_asked(1).await;
    engine.backend.hold_snapshots(false);
    let child = forked.await.expect("no panic").expect("it is forked").summary.session;
    let taken = engine.backend.snapshots(session)[0];
    assert_eq!(engine.backend.origin(child), Some(taken));
    // It belongs to the turn that it was taken for, in the fork too.
    let kept = engine.engine.sessions().snapshots(DEFAULT_TENANT, child).await.expect("they can be listed");
    assert_eq!(kept.iter().map(|kept| (kept.id, kept.point)).collect::<Vec<_>>(), [(taken, first)]);
    let of_child = fork(&engine, child, Point::Place(first), true).await.expect("a turn's end of the fork");
    assert_eq!(engine.backend.origin(of_child), Some(taken));

    // The files are still being put back.
    turn(&engine, session, "on").await;
    engine.backend.hold_snapshots(true);
    let sessions = engine.engine.sessions().clone();
    let rewind = tokio::spawn(async move { sessions.rewind(DEFAULT_TENANT, session, Point::Place(first), None).await });
    let rewound = engine.until(session, words, |fact| matches!(fact, Fact::SessionRewound { .. })).await;
    engine.say(session, "and now?").await;
    let after = rewound.last().expect("facts").seq;
    let words = engine.until_idle(session, after).await.last().expect("it became idle").seq;
    let forked = fork_soon(words);
    engine.backend.wait_snapshot_asked(3).await;
    engine.backend.hold_snapshots(false);
    rewind.await.expect("no panic").expect("it is rewound");
    let child = forked.await.expect("no panic").expect("it is forked").summary.session;
    assert_eq!(engine.backend.origin(child), Some(taken));
    let of_child = fork(&engine, child, Point::Place(words), true).await.expect("a turn's end of the fork");
    assert_eq!(engine.backend.origin(of_child), Some(taken));
}

#[tokio::test]
async fn a_fork_has_its_named_snapshots_at_their_places() {
    let mut answers = turns(1);
    answers.push(Answer::Text("words"));
    let model = FakeModel::start(answers).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    turn(&engine, session, "go").await;
    let sessions = engine.engine.sessions();
    let taken = sessions.take_snapshot(DEFAULT_TENANT, session, "here".to_owned()).await.expect("nothing runs");
    let after = head(&engine, session).await;
    engine.say(session, "and?").await;
    let words = engine.until_idle(session, after).await.last().expect("it became idle").seq;
    let child = fork(&engine, session, Point::Place(words), true).await.expect("a turn's end");
    let kept = sessions.snapshots(DEFAULT_TENANT, child).await.expect("they can be listed");
    let parents = sessions.snapshots(DEFAULT_TENANT, session).await.expect("they can be listed");
    assert_eq!((kept.len(), kept.last()), (2, Some(&taken)));
    assert_eq!(kept, parents);
    let without = fork(&engine, session, Point::Name("here".to_owned()), false).await.expect("by its name");
    assert!(!engine.backend.has_files(without), "none were wanted");
}

#[tokio::test]
async fn another_place_is_refused_with_the_nearest_and_the_reason() {
    let model = FakeModel::start(turns(2)).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    let refusal = |error: Error| match error {
        Error::Invalid { field, message } => format!("{field}: {message}"),
        other => panic!("{other:?}"),
    };
    let none = refusal(fork(&engine, session, Point::Last, true).await.expect_err("nothing was said"));
    assert!(none.contains("no turn's end yet"), "{none}");
    let first = turn(&engine, session, "go").await;
    engine.backend.next_snapshot(Taken::Skipped { bytes: 1 << 30 });
    let second = turn(&engine, session, "on").await;
    let skipped = refusal(fork(&engine, session, Point::Place(second), true).await.expect_err("it has no snapshot"));
    assert!(skipped.contains("64 MiB") && skipped.contains(&format!("nearest that would do is {first}")), "{skipped}");
    let between = refusal(fork(&engine, session, Point::Place(first - 1), true).await.expect_err("in a turn"));
    assert!(between.starts_with("at: ") && between.contains(&format!("nearest that would do is {first}")), "{between}");
    let beyond = refusal(fork(&engine, session, Point::Place(9_999), true).await.expect_err("beyond"));
    assert!(beyond.contains("the log ends at"), "{beyond}");
    let name = refusal(fork(&engine, session, Point::Name("x".to_owned()), true).await.expect_err("no such name"));
    assert!(name.contains("no snapshot `x`"), "{name}");
    // Without files any turn's end will do, and without a place the last that will do is taken.
    let talk = fork(&engine, session, Point::Place(second), false).await.expect("a turn's end");
    assert!(!engine.backend.has_files(talk));
    let last = fork(&engine, session, Point::Last, true).await.expect("there is one");
    let view = engine.engine.sessions().get(DEFAULT_TENANT, last).await.expect("it is there");
    assert_eq!(view.summary.forked_from.map(|from| from.at), Some(first));
}

#[tokio::test]
async fn a_rewind_takes_conversation_and_files_back_and_can_be_rewound() {
    let mut answers = turns(2);
    answers.extend([Answer::Text("another way"), Answer::Text("back again")]);
    let model = FakeModel::start(answers).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    let first = turn(&engine, session, "first").await;
    let second = turn(&engine, session, "second").await;
    let taken = engine.backend.snapshots(session);
    let sessions = engine.engine.sessions().clone();
    let view = sessions.rewind(DEFAULT_TENANT, session, Point::Place(first), None).await.expect("a turn's end");
    assert_eq!(engine.backend.origin(session), Some(taken[0]), "the files are back before it is answered");
    assert_eq!(engine.backend.alive_count(), 0, "what ran has ended");
    assert_eq!(view.summary.rewinds.len(), 1);
    let end = |facts: &[StoredFact]| facts.last().expect("facts").seq;
    engine.say(session, "third").await;
    let third = end(&engine.until_idle(session, view.summary.seq).await);
    let said = last_request(&model).to_string();
    assert!(said.contains("first") && said.contains("third") && !said.contains("second"), "{said}");

    // The same after waking from the log alone.
    engine.crash_and_restart().await;
    let sessions = engine.engine.sessions().clone();
    let replayed = State::replay(&log(&engine, session).await).expect("a session");
    assert_eq!(replayed.summary(), sessions.get(DEFAULT_TENANT, session).await.expect("it is there").summary);

    // What was gone back on is still there to be gone forward to.
    let view = sessions.rewind(DEFAULT_TENANT, session, Point::Place(second), None).await.expect("a turn's end");
    assert_eq!(engine.backend.origin(session), Some(taken[1]));
    engine.say(session, "fourth").await;
    engine.until_idle(session, view.summary.seq).await;
    let said = last_request(&model).to_string();
    assert!(said.contains("second") && said.contains("fourth") && !said.contains("third"), "{said}");
    assert!(third < view.summary.seq);
}

#[tokio::test]
async fn a_rewind_that_was_cut_off_is_finished_by_the_next_engine() {
    let model = FakeModel::start(turns(2)).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    let first = turn(&engine, session, "first").await;
    turn(&engine, session, "second").await;
    engine.backend.hold_snapshots(true);
    let sessions = engine.engine.sessions().clone();
    let rewind = tokio::spawn(async move { sessions.rewind(DEFAULT_TENANT, session, Point::Place(first), None).await });
    engine.until(session, first, |fact| matches!(fact, Fact::SessionRewound { .. })).await;
    engine.crash().await;
    rewind.abort();
    assert_eq!(engine.backend.origin(session), None, "the files are as they were");
    engine.backend.hold_snapshots(false);
    engine.restart().await;
    engine.until(session, first, |fact| matches!(fact, Fact::FilesRewound { failed: None })).await;
    assert_eq!(engine.backend.origin(session), engine.backend.snapshots(session).first().copied());
}

/// Whether a turn without calls ends with a snapshot.
async fn words_are_kept(engine: &TestEngine, session: SessionId) -> bool {
    let after = head(engine, session).await;
    engine.say(session, "and?").await;
    let end = engine.until_idle(session, after).await.last().expect("it became idle").seq;
    let begun = |stored: &StoredFact| stored.seq > end && matches!(&*stored.fact, Fact::SnapshotStarted { .. });
    let kept = log(engine, session).await.iter().any(begun);
    if kept {
        engine.until(session, end, |fact| matches!(fact, Fact::SnapshotEnded { .. })).await;
    }
    kept
}

#[tokio::test]
async fn what_people_write_while_files_are_kept_or_put_back_is_kept_at_the_next_turns_end() {
    let mut answers = turns(1);
    answers.push(Answer::Text("words"));
    let model = FakeModel::start(answers).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    let sessions = engine.engine.sessions().clone();
    // A visit that outlasts a turn whose end is kept.
    let visit = sessions.visit(DEFAULT_TENANT, session, Wanted::Change).await.expect("it is opened");
    let end = turn(&engine, session, "go").await;
    drop(visit);
    engine.until(session, end, |fact| matches!(fact, Fact::FilesChanged {})).await;
    assert!(words_are_kept(&engine, session).await);
    assert!(!words_are_kept(&engine, session).await, "nobody has been there since");

    // A visit that had to wait until the files were put back.
    engine.backend.hold_snapshots(true);
    let rewind = tokio::spawn({
        let sessions = sessions.clone();
        async move { sessions.rewind(DEFAULT_TENANT, session, Point::Place(end), None).await }
    });
    engine.until(session, end, |fact| matches!(fact, Fact::SessionRewound { .. })).await;
    let visit = tokio::spawn(async move { sessions.visit(DEFAULT_TENANT, session, Wanted::Change).await });
    engine.backend.wait_snapshot_asked(3).await;
    engine.backend.hold_snapshots(false);
    rewind.await.expect("no panic").expect("it is rewound");
    drop(visit.await.expect("no panic").expect("it is opened"));
    assert!(words_are_kept(&engine, session).await);
}

#[tokio::test]
async fn who_works_is_not_rewound_or_named() {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "wait"})), Answer::Text("done")]).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    let call = engine.backend.wait_started(1).await[0];
    let sessions = engine.engine.sessions();
    let named = sessions.take_snapshot(DEFAULT_TENANT, session, "now".to_owned()).await.expect_err("a call runs");
    assert!(named.to_string().contains("interrupt it"), "{named}");
    engine.backend.release(call);
    engine.until_idle(session, 0).await;
    let taken = sessions.take_snapshot(DEFAULT_TENANT, session, "now".to_owned()).await.expect("nothing runs");
    assert_eq!(taken.name.as_deref(), Some("now"));
    let again = sessions.take_snapshot(DEFAULT_TENANT, session, "now".to_owned()).await.expect_err("it is taken");
    assert!(again.to_string().contains("`now`"), "{again}");
    for wrong in ["", "a b", "../x", "12", "snap_x", &"x".repeat(65)] {
        let refused = sessions.take_snapshot(DEFAULT_TENANT, session, wrong.to_owned()).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{wrong}");
    }
    let child = fork(&engine, session, Point::Name("now".to_owned()), true).await.expect("by its name");
    assert_eq!(engine.backend.origin(child), Some(taken.id));
    sessions.remove_snapshot(DEFAULT_TENANT, session, &Point::Name("now".to_owned())).await.expect("it is there");
    engine.backend.wait_snapshots(session, 1).await;
    assert!(fork(&engine, session, Point::Snapshot(taken.id), true).await.is_err());
}

#[tokio::test]
async fn the_operator_says_how_many_snapshots_are_kept() {
    let model = FakeModel::start(turns(4)).await;
    let config = Config { snapshots_kept: Some(2), ..Config::default() };
    let engine = TestEngine::with_config(Some(&model.url), config).await;
    let session = engine.session("claude-test").await;
    let first = turn(&engine, session, "a").await;
    engine.engine.sessions().take_snapshot(DEFAULT_TENANT, session, "kept".to_owned()).await.expect("nothing runs");
    for text in ["b", "c", "d"] {
        turn(&engine, session, text).await;
    }
    engine.backend.wait_snapshots(session, 3).await;
    let kept = engine.engine.sessions().snapshots(DEFAULT_TENANT, session).await.expect("they can be listed");
    assert_eq!(kept.iter().map(|kept| kept.name.as_deref()).collect::<Vec<_>>(), [Some("kept"), None, None]);
    let refused = fork(&engine, session, Point::Place(first), true).await.expect_err("it is gone");
    assert!(refused.to_string().contains("isn't kept any longer"), "{refused}");
}

#[tokio::test]
async fn a_hundred_are_kept_unless_the_operator_says() {
    let model = FakeModel::answering(|request| {
        let last = request["messages"].as_array()?.last()?["content"].as_array()?.first()?["type"].clone();
        Some(if last == "tool_result" { Answer::Text("done") } else { turns(1).remove(0) })
    })
    .await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    let first = turn(&engine, session, "0").await;
    for number in 1..=100 {
        turn(&engine, session, &number.to_string()).await;
    }
    engine.backend.wait_snapshots(session, 100).await;
    let kept = engine.engine.sessions().snapshots(DEFAULT_TENANT, session).await.expect("they can be listed");
    assert!(kept.len() == 100 && kept.iter().all(|kept| kept.point > first));
}

#[tokio::test]
async fn a_clone_is_set_up_the_same_and_nothing_was_said_in_it() {
    let mut answers = turns(1);
    answers.push(Answer::Text("hello"));
    let model = FakeModel::start(answers).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    turn(&engine, session, "a secret").await;
    let sessions = engine.engine.sessions();
    for files in [false, true] {
        let new = NewClone { title: Some("again".to_owned()), files };
        let view = sessions.clone_session(DEFAULT_TENANT, session, new, None).await.expect("it can be cloned");
        let parent = sessions.get(DEFAULT_TENANT, session).await.expect("it is there");
        assert_eq!((view.definition.clone(), view.summary.messages), (parent.definition, 0));
        assert_eq!(engine.backend.origin(view.summary.session).is_some(), files);
        if files {
            let after = view.summary.seq;
            engine.say(view.summary.session, "who is there?").await;
            engine.until_idle(view.summary.session, after).await;
            let said = last_request(&model).to_string();
            assert!(said.contains("who is there") && !said.contains("a secret"), "{said}");
            // It can be forked in its turn, where its own log says: at its beginning, and now.
            let clone = view.summary.session;
            for at in [Point::Place(after), Point::Last] {
                let child = fork(&engine, clone, at, true).await.expect("a fork point of the clone's");
                assert_eq!(engine.backend.origin(child), engine.backend.origin(clone));
            }
        }
    }
}

#[tokio::test]
async fn files_of_sessions_that_do_not_exist_go_at_the_next_start() {
    let model = FakeModel::start(turns(1)).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    turn(&engine, session, "go").await;
    let taken = engine.backend.snapshots(session)[0];
    engine.crash().await;
    // The last engine died between the files and the rows of a fork.
    let stray = SessionId::from_bits(0x5eed);
    let backend: &dyn tenure_sandbox::Backend = &engine.backend;
    backend.fork(session, taken, &[], stray).await.expect("the snapshot is there");
    engine.restart().await;
    engine.backend.wait_gone(stray).await;
    assert!(engine.backend.has_files(session), "and no others");
}
