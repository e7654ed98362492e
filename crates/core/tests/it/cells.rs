//! One fixture for every command in every named state. `UPDATE=1` writes them anew, to be read before they are committed.

use std::fs;
use std::path::Path;

use tenure_core::command::Command;
use tenure_core::phase::Phase;

use crate::scene::{commands, print, scenes};

#[test]
fn every_command_in_every_state() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for name in Command::NAMES {
        let variants: Vec<_> = commands().into_iter().filter(|(command, ..)| command == name).collect();
        assert!(!variants.is_empty(), "the command `{name}` has no fixture");
        let mut text = String::new();
        for (_, variant, build) in variants {
            for (state, mut scene) in scenes() {
                let (decision, wanted) = {
                    let command = build(&scene);
                    scene.play(command)
                };
                text += &format!("given {state} when {name} {variant} then\n");
                text += &print(&decision, &wanted, &scene.state);
            }
        }
        let path = folder.join(format!("{name}.txt"));
        if update {
            fs::write(&path, &text).expect("the fixture can be written");
        } else if fs::read_to_string(&path).unwrap_or_default() != text {
            fs::write(path.with_extension("new"), &text).expect("the difference can be written");
            wrong.push(path);
        }
    }
    assert!(
        wrong.is_empty(),
        "these fixtures differ; compare the `.new` files beside them, or run with UPDATE=1: {wrong:?}"
    );
}

#[test]
fn the_scenes_reach_the_phases_that_a_command_can_reach() {
    let reached: Vec<Phase> = scenes().iter().map(|(_, scene)| scene.state.phase()).collect();
    for phase in [
        Phase::Archived,
        Phase::ClosingToArchive,
        Phase::Closing,
        Phase::Stopping,
        Phase::WorkQueued,
        Phase::Rescheduling,
        Phase::Working,
        Phase::WaitingStopped,
        Phase::Waiting,
        Phase::IdleStopped,
        Phase::Idle,
    ] {
        assert!(reached.contains(&phase), "no scene is {}", phase.name());
    }
}
