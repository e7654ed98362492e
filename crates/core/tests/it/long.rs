//! A session of a hundred thousand facts.

use tenure_core::command::Send;
use tenure_core::id::ItemId;
use tenure_core::model::{ModelStop, ReplyPart};
use tenure_core::session::Lifetimes;
use tenure_core::state::State;
use tenure_core::transcript::Transcript;

use crate::scene::{Scene, message};

const FACTS: u64 = 100_000;

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

fn besides_the_conversation(state: &State) -> usize {
    let mut state = state.clone();
    state.thread.transcript = Transcript::default();
    serde_json::to_vec(&state).expect("the state is JSON").len()
}
