//! Sessions that go on and on.

use tenure_core::command::{CallResult, FinishCall, SandboxReport, Send};
use tenure_core::content::Block;
use tenure_core::files::SnapshotEnding;
use tenure_core::id::ItemId;
use tenure_core::model::{ModelStop, ReplyPart};
use tenure_core::session::{CallProgress, Lifetimes};
use tenure_core::state::State;
use tenure_core::transcript::Transcript;

use crate::scene::{Scene, message};

const FACTS: u64 = 100_000;
const TURNS: usize = 2_000;
const KEPT: usize = 100;

#[test]
fn nothing_but_the_conversation_grows() {
    let mut scene = Scene::open(Lifetimes::default());
    let mut sizes = Vec::new();
    while scene.state.seq < FACTS {
        scene.next_id += 1;
        let inputs = vec![(ItemId::from_bits(scene.next_id << 64), message("and then?"))];
        let _ = scene.play(Send { inputs });
        let reply = scene.reply(vec![ReplyPart::Text("this and that".into())], ModelStop::EndTurn);
        let _ = scene.play(reply);
        // The log is the store's, and would only be in the way here.
        scene.log.clear();
        if scene.state.seq % (FACTS / 2) < 11 {
            sizes.push(besides_the_conversation(&scene.state));
        }
    }
    assert!(sizes.len() >= 2 && sizes.iter().all(|size| *size < 4_096), "{sizes:?} bytes");
    let spoken = scene.state.thread.transcript.len();
    let whole = serde_json::to_vec(&scene.state).expect("the state is JSON").len();
    assert!(whole / spoken < 256, "{whole} bytes for {spoken} short messages");
}

#[test]
fn so_many_turns_with_calls_keep_no_more_snapshots_than_are_wanted() {
    let mut scene = Scene::open(Lifetimes::default());
    let mut facts = Vec::new();
    let mut sizes = Vec::new();
    for turn in 1..=TURNS {
        let before = scene.state.seq;
        scene.next_id += 1;
        let inputs = vec![(ItemId::from_bits(scene.next_id << 64), message("and then?"))];
        let _ = scene.play(Send { inputs });
        let _ = scene.play(scene.calls(&["bash"]));
        if turn == 1 {
            let _ = scene.play(scene.report(SandboxReport::Started));
        }
        let result = CallResult::Finished { content: vec![Block::text("ok")], is_error: false };
        let _ = scene.play(FinishCall { call: scene.call(CallProgress::Started), result });
        let reply = scene.reply(vec![ReplyPart::Text("this and that".into())], ModelStop::EndTurn);
        let _ = scene.play(reply);
        let _ = scene.play(scene.files_report(SnapshotEnding::Sealed, Some(KEPT)));
        scene.log.clear();
        facts.push(scene.state.seq - before);
        sizes.push(besides_the_conversation(&scene.state));
    }
    assert_eq!(scene.state.files.snapshots.len(), KEPT);
    // Numbers have a few more digits.
    let (early, late) = (sizes[2 * KEPT], sizes[TURNS - 1]);
    assert!(late < early + early / 10, "{early} bytes are kept after {} turns, {late} after {TURNS}", 2 * KEPT);
    assert_eq!(facts[2 * KEPT], facts[TURNS - 1], "facts of a turn");
}

fn besides_the_conversation(state: &State) -> usize {
    let mut state = state.clone();
    state.thread.transcript = Transcript::default();
    serde_json::to_vec(&state).expect("the state is JSON").len()
}
