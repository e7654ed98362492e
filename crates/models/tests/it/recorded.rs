//! Streams as servers send them, and the neutral events they must become. The expected events are in a `.txt` beside
//! each `.sse`.

use std::sync::Arc;

use tenure_core::content::Block;
use tenure_core::model::{FailureKind, Message, ModelConfig, Part, Request, Role};
use tenure_models::Event;

use crate::fake::{Answer, End, Fake};
use crate::render::{Events, collect, render};
use crate::snapshot::{assert_snapshot, fixtures};

#[tokio::test]
async fn anthropic_streams_become_neutral_events() {
    every_stream("anthropic", "claude-sonnet-5").await;
}

#[tokio::test]
async fn openai_streams_become_neutral_events() {
    every_stream("openai", "openai/qwen3").await;
}

/// However a stream is packed into packets and wherever it is cut.
async fn every_stream(folder: &str, model: &str) {
    let mut names: Vec<String> = std::fs::read_dir(fixtures().join(folder))
        .expect("the folder")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".sse").map(str::to_owned))
        .collect();
    names.sort_unstable();
    assert!(names.len() > 10, "fixtures are missing");
    let fake = Fake::start([]).await;
    for name in names {
        let body = std::fs::read(fixtures().join(folder).join(format!("{name}.sse"))).expect("the stream");
        let whole = play(&fake, model, Answer::stream(&body)).await;
        assert_snapshot(&format!("{folder}/{name}.txt"), &render(&whole));
        for bytes in [1, 7] {
            let pieces = play(&fake, model, Answer::stream(&body).in_pieces_of(bytes)).await;
            assert_eq!(render(&pieces), render(&whole), "{name} in pieces of {bytes} bytes");
        }
        for at in (0..body.len()).step_by(53) {
            let cut = play(&fake, model, Answer::stream(&body[..at]).end(End::Cut)).await;
            is_cut_off(&cut, &whole, &format!("{name} cut at {at}"));
        }
    }
}

async fn play(fake: &Fake, model: &str, answer: Answer) -> Events {
    fake.answer(answer);
    collect(fake.models().stream(hello(model))).await
}

/// A cut stream tells the beginning of what the whole one tells, and then that it broke, unless all was said before.
fn is_cut_off(cut: &Events, whole: &Events, what: &str) {
    let (last, before) = cut.split_last().expect("a last word");
    assert!(whole.starts_with(before), "{what}: {cut:?}");
    match last {
        Err(failure) if whole.last() != Some(last) => {
            assert_eq!(failure.kind, FailureKind::Unavailable, "{what}: {failure}")
        }
        Err(_) => {}
        Ok(Event::Finished(_)) => assert_eq!(whole.last(), Some(last), "{what}"),
        Ok(other) => panic!("{what}: {other:?}"),
    }
}

/// A request with nothing special in it.
pub(crate) fn hello(model: &str) -> Arc<Request> {
    let parts = vec![Part::Content { block: Block::text("Hello") }];
    Arc::new(Request {
        model: ModelConfig::named(model),
        system: None,
        messages: vec![Arc::new(Message { role: Role::User, parts })],
        tools: Vec::new(),
        attachments: Default::default(),
    })
}
