//! Two sessions were under way whenever the server died. One of them is what it dies of; the other only has a long call.

use tenure_core::command::{Recover, Tick};
use tenure_core::phase::Fold;
use tenure_core::session::{Activity, StopReason};

use crate::scene::{Scene, scenes};

const TRIALS: u64 = 1_000;

#[test]
fn who_only_works_beside_it_is_hardly_ever_ended_along() {
    let calling = scenes().into_iter().find(|(name, _)| *name == "calling").expect("there is such a state").1;
    let ended = (0..TRIALS).filter(|trial| innocent_is_ended(&calling, *trial)).count();
    // Equal chances each of the seven times that both wait.
    assert!(ended <= 20, "{ended} of {TRIALS}");
}

/// The server dies as soon as the culprit's call is taken up, until the culprit's turn is over.
fn innocent_is_ended(calling: &Scene, trial: u64) -> bool {
    let mut random = trial;
    let (mut culprit, mut innocent) = (calling.clone(), calling.clone());
    for _death in 1..=10 {
        let now = culprit.at.max(innocent.at);
        for scene in [&mut culprit, &mut innocent] {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            scene.next_id = u128::from(random >> 20);
            scene.at = now;
            let _ =
                scene.play(Recover { sandbox_alive: true, ended_cleanly: false, in_flight: None, hosted: Vec::new() });
        }
        if culprit.state.fold() == Fold::Idle {
            let exhausted =
                matches!(&culprit.state.thread.activity, Activity::Idle { stop: StopReason::RetriesExhausted, .. });
            assert!(exhausted, "the culprit is found");
            return innocent.state.fold() == Fold::Idle;
        }
        // Until the culprit's wait is over; the other goes on if its own is by then.
        if let Activity::Rescheduling { until, .. } = culprit.state.thread.activity {
            for scene in [&mut culprit, &mut innocent] {
                scene.at = until;
                let _ = scene.play(Tick {});
            }
        }
    }
    panic!("the culprit is never found");
}
