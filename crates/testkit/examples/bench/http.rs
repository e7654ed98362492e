//! The server over HTTP: how long until the model is asked, and how many messages it takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure_testkit::{Answer, FakeModel};

use crate::server::Server;
use crate::{Row, quantile_ms};

const SAMPLES: usize = 300;
const CLIENTS: usize = 64;
const MESSAGES_EACH: usize = 600;

pub(crate) async fn run() {
    first_byte().await;
    acknowledged().await;
}

/// From sending a message to the first byte of the model's request, beside calling the model directly.
async fn first_byte() {
    let model = FakeModel::start([Answer::Text("done")]).await;
    let dir = tempfile::tempdir_in(".").expect("the folder can be written");
    let server =
        Server::start(dir.path(), &[("TENURE_ANTHROPIC_API_KEY", "x"), ("TENURE_ANTHROPIC_BASE_URL", &model.url)])
            .await;
    let session = server.session("claude-bench").await;
    let (mut through, mut bare) = (Vec::new(), Vec::new());
    for number in 0..SAMPLES * 2 {
        let began = Instant::now();
        if number % 2 == 0 {
            server.say(&session, "go").await;
        } else {
            let _ = server.http.post(format!("{}/v1/messages", model.url)).body("{}").send().await;
        }
        model.wait_asked(number + 1).await;
        let arrived = model.arrivals()[number];
        let times = if number % 2 == 0 { &mut through } else { &mut bare };
        times.push(arrived.saturating_duration_since(began));
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    let (p50, p99) = (quantile_ms(&mut through, 0.5), quantile_ms(&mut through, 0.99));
    let (bare50, bare99) = (quantile_ms(&mut bare, 0.5), quantile_ms(&mut bare, 0.99));
    let measured = format!("p50 {:.2}, p99 {:.2}", p50 - bare50, p99 - bare99);
    let beside = format!("through: {p50:.2} / {p99:.2}; bare call: {bare50:.2} / {bare99:.2}; both connect anew");
    Row::new("POST of an event → first byte of the model's request", measured, "ms over a bare call")
        .target("p50 ≤ 2, p99 ≤ 10", p50 - bare50 <= 2.0 && p99 - bare99 <= 10.0)
        .beside(beside)
        .print();
}

/// Messages that are acknowledged, and so are on the disk, from many clients. The sessions work, so each one queues.
async fn acknowledged() {
    let model = FakeModel::start([Answer::Hang]).await;
    let dir = tempfile::tempdir_in(".").expect("the folder can be written");
    let server = Arc::new(
        Server::start(dir.path(), &[("TENURE_ANTHROPIC_API_KEY", "x"), ("TENURE_ANTHROPIC_BASE_URL", &model.url)])
            .await,
    );
    let mut sessions = Vec::new();
    for _ in 0..CLIENTS {
        let session = server.session("claude-bench").await;
        server.say(&session, "begin").await;
        sessions.push(session);
    }
    let began = Instant::now();
    let clients = sessions.into_iter().map(|session| {
        let server = server.clone();
        tokio::spawn(async move {
            for _ in 0..MESSAGES_EACH {
                server.say(&session, "and this").await;
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("clients don't panic");
    }
    let rate = (CLIENTS * MESSAGES_EACH) as f64 / began.elapsed().as_secs_f64();
    Row::new("acknowledged user messages over HTTP", format!("{rate:.0}"), "messages/s")
        .target("≥ 5,000", rate >= 5_000.0)
        .beside("64 clients on the same processors, one message per request".to_owned())
        .print();
}
