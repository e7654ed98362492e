//! One session's stream to many listeners, beside a bare program that writes the same bytes to as many sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::listeners::{LISTENERS, Listeners, MARK};
use crate::server::{KEY, Server};
use crate::{Row, quantile_ms, resident_kib};

/// Threads that write, as many as the server has on two processors.
const WRITERS: usize = 2;

pub(crate) async fn run() {
    let floor = floor().await;
    let dir = tempfile::tempdir_in(".").expect("the folder can be written");
    let server = Server::start(dir.path(), &[]).await;
    let session = server.session("script/demo").await;
    let before = resident_kib(server.pid());
    let address = server.url.trim_start_matches("http://").to_owned();
    let request = format!(
        "GET /v1/sessions/{session}/events/stream HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {KEY}\r\n\r\n"
    );
    let mut listeners = Listeners::connect(&address, &request).await;
    let each = (resident_kib(server.pid()) - before) as f64 / LISTENERS as f64;
    let mut times = listeners
        .time(async |round| {
            let update = serde_json::json!({"title": format!("round {round}")});
            server.post(&format!("/v1/sessions/{session}"), update).await;
        })
        .await;
    let (p50, p99) = (quantile_ms(&mut times, 0.5), quantile_ms(&mut times, 0.99));
    let (floor50, floor99) = floor;
    Row::new("stream fan-out, 10,000 listeners", format!("p50 {p50:.0}, p99 {p99:.0}"), "ms")
        .target("p99 ≤ 50", p99 <= 50.0)
        .beside(format!(
            "bare program writing the same to 10,000 sockets, same readers: p50 {floor50:.0}, p99 {floor99:.0} ms; all on the same processors"
        ))
        .print();
    Row::new("memory of an idle listener in the server", format!("{each:.1}"), "KiB")
        .target("≤ 24", each <= 24.0)
        .beside("10,000 listeners on one session".to_owned())
        .print();
}

/// What the machine can do: median and 99th percentile.
async fn floor() -> (f64, f64) {
    let own = std::env::current_exe().expect("this program has a file");
    let mut writer = Command::new(own);
    let mut writer =
        writer.arg("floor").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it can be started again");
    let mut address = String::new();
    let output = writer.stdout.take().expect("its output is piped");
    BufReader::new(output).read_line(&mut address).expect("it says where it listens");
    let mut go = writer.stdin.take().expect("its input is piped");
    let mut listeners = Listeners::connect(address.trim(), "GET / HTTP/1.1\r\n\r\n").await;
    let mut times = listeners.time(async |_| go.write_all(b"x").expect("it waits for that")).await;
    drop((go, listeners));
    let _ = writer.wait();
    (quantile_ms(&mut times, 0.5), quantile_ms(&mut times, 0.99))
}

/// The bare program: answers everybody who connects, and for every byte on its input writes a frame to all.
#[expect(clippy::print_stdout, reason = "whoever started it learns where it listens")]
pub(crate) fn write_to_all() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    println!("{}", listener.local_addr().expect("a bound socket has an address"));
    let mut sockets: Vec<TcpStream> = Vec::with_capacity(LISTENERS);
    while sockets.len() < LISTENERS {
        let (mut socket, _) = listener.accept().expect("it takes connections");
        socket.set_nodelay(true).expect("it is a socket");
        socket.read_exact(&mut [0; 18]).expect("listeners ask");
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("listeners read");
        sockets.push(socket);
    }
    let mut frame = b"id: 17\n".to_vec();
    frame.extend_from_slice(MARK);
    frame.extend_from_slice(b"\ndata: ");
    // As long as the frame of an update of the title, chunk and all.
    frame.resize(190, b'x');
    frame.extend_from_slice(b"\n\n");
    let mut input = std::io::stdin();
    while input.read_exact(&mut [0]).is_ok() {
        std::thread::scope(|scope| {
            for part in sockets.chunks_mut(LISTENERS / WRITERS) {
                scope.spawn(|| part.iter_mut().for_each(|socket| drop(socket.write_all(&frame))));
            }
        });
    }
    std::thread::sleep(Duration::from_millis(1));
}
