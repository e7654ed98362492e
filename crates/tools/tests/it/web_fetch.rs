//! `web_fetch` against a server on loopback. Names are answered by a list; nothing goes anywhere else.
//!
//! Long because the server, the names and every spelling of an address stand in one place.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tenure_core::agent::WebFetchSettings;
use tenure_core::id::ItemId;
use tenure_tools::{
    FetchLimits, HostedCtx, HostedTool, Lookup, Opened, ToolContent, ToolError, WebFetch, WebFetchConfig,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A web server: what it gives for each path, as bytes on the wire.
struct Site {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Site {
    async fn start(pages: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("a bound socket has an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, pages) = (requests.clone(), Arc::new(pages));
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (seen, pages) = (seen.clone(), pages.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    let mut chunk = [0; 1024];
                    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                        match stream.read(&mut chunk).await {
                            Ok(0) | Err(_) => return,
                            Ok(length) => head.extend_from_slice(&chunk[..length]),
                        }
                    }
                    let head = String::from_utf8_lossy(&head).into_owned();
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    seen.lock().expect("no holder panics").push(head);
                    match pages(&path) {
                        Some(answer) => {
                            let _ = stream.write_all(&answer).await;
                            let _ = stream.shutdown().await;
                        }
                        // Nothing, ever.
                        None => std::future::pending().await,
                    }
                });
            }
        });
        Self { address, requests, task }
    }

    /// One that gives this page whatever is asked for.
    async fn of(media_type: &str, body: &[u8]) -> Self {
        let answer = ok(media_type, body);
        Self::start(move |_| Some(answer.clone())).await
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no holder panics").clone()
    }
}

fn ok(media_type: &str, body: &[u8]) -> Vec<u8> {
    answer("200 OK", &format!("content-type: {media_type}\r\n"), body)
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn redirect(to: &str) -> Vec<u8> {
    answer("302 Found", &format!("location: {to}\r\n"), b"elsewhere")
}

/// Names and their addresses; each lookup takes the next answer, and the last one stays.
#[derive(Debug, Default)]
struct Names {
    answers: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    asked: Mutex<Vec<String>>,
}

impl Names {
    fn of(names: &[(&str, &[&str])]) -> Arc<Self> {
        let parse = |addresses: &&[&str]| addresses.iter().map(|ip| ip.parse().expect("an address")).collect();
        let answers = names.iter().fold(HashMap::<_, Vec<_>>::new(), |mut all, (name, addresses)| {
            all.entry((*name).to_owned()).or_default().push(parse(addresses));
            all
        });
        Arc::new(Self { answers: Mutex::new(answers), asked: Mutex::default() })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no holder panics").clone()
    }
}

impl Lookup for Names {
    fn lookup(&self, host: String) -> futures_core::future::BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let mut answers = self.answers.lock().expect("no holder panics");
        let found = answers.get_mut(&host).map(|all| if all.len() > 1 { all.remove(0) } else { all[0].clone() });
        self.asked.lock().expect("no holder panics").push(host);
        Box::pin(std::future::ready(found.ok_or_else(|| io::ErrorKind::NotFound.into())))
    }
}

fn tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.expect("ring has them").with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}

/// The tool, with the server's address opened.
fn tool(names: &Arc<Names>, opened: &[SocketAddr]) -> WebFetch {
    tool_with(names, opened, FetchLimits::default())
}

fn tool_with(names: &Arc<Names>, opened: &[SocketAddr], limits: FetchLimits) -> WebFetch {
    let opened: Vec<Opened> = opened.iter().map(|address| address.to_string().parse().expect("it is one")).collect();
    WebFetch::new(WebFetchConfig { opened, tls: tls(), lookup: names.clone(), limits })
}

fn ctx() -> HostedCtx {
    HostedCtx { call: ItemId::from_bits(1), web_fetch: WebFetchSettings::default(), shown_urls: None }
}

/// What the model is told, and whether as an error.
async fn fetch_as(tool: &WebFetch, ctx: HostedCtx, url: &str) -> (bool, String) {
    match tool.run(ctx, json!({ "url": url })).await {
        Ok(result) => match result.content.as_slice() {
            [ToolContent::Text(text)] => (result.is_error, text.clone()),
            other => panic!("expected a text, got {other:?}"),
        },
        Err(ToolError::Model(text)) => (true, text),
        Err(other) => panic!("{other}"),
    }
}

async fn fetch(tool: &WebFetch, url: &str) -> (bool, String) {
    fetch_as(tool, ctx(), url).await
}

async fn code(tool: &WebFetch, url: &str) -> String {
    let (is_error, text) = fetch(tool, url).await;
    assert!(is_error, "{url}: {text}");
    text.split(':').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_page_is_read_as_markdown_with_its_address_and_title() {
    let site = Site::of(
        "text/html; charset=utf-8",
        "<title>Grüße</title><h1>Hello</h1><p>To <a href=/you>you</a></p>".as_bytes(),
    )
    .await;
    let names = Names::of(&[("site.test", &["127.0.0.1"])]);
    let tool = tool(&names, &[site.address]);
    let url = format!("http://site.test:{}/page?x=1#part", site.port());
    let (is_error, text) = fetch(&tool, &url).await;
    let port = site.port();
    let expected = format!(
        "URL: http://site.test:{port}/page?x=1\nTitle: Grüße\n\n# Hello\n\nTo [you](http://site.test:{port}/you)"
    );
    assert_eq!((is_error, text), (false, expected));
    let requests = site.requests();
    let head = requests[0].to_lowercase();
    assert!(head.starts_with("get /page?x=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("user-agent: tenure/"), "{head}");
    for secret in ["cookie", "authorization", "referer", "x-api-key"] {
        assert!(!head.contains(secret), "{head}");
    }
}

#[tokio::test]
async fn text_json_and_pdf_are_given_as_they_are_and_the_rest_is_refused() {
    let site = Site::start(|path| {
        Some(match path {
            "/text" => ok("text/plain", b"a < b\n  c"),
            "/json" => ok("application/json", br#"{"a": 1}"#),
            "/pdf" => ok("application/pdf", b"%PDF-1.7 the rest"),
            "/false-pdf" => ok("application/pdf", b"<html>no"),
            "/nothing" => ok("text/html", b""),
            "/untold" => answer("200 OK", "", b"plain words"),
            "/binary" => answer("200 OK", "", b"\x7fELF\0\0\0"),
            "/missing" => answer("404 Not Found", "content-type: text/html\r\n", b"<p>no such page"),
            "/busy" => answer("429 Too Many Requests", "", b""),
            "/broken" => b"what is this".to_vec(),
            _ => ok("image/png", b"\x89PNG"),
        })
    })
    .await;
    let names = Names::of(&[("site.test", &["127.0.0.1"])]);
    let tool = tool(&names, &[site.address]);
    let at = |path: &str| format!("http://site.test:{}{path}", site.port());
    let head = |path: &str| format!("URL: {}\n", at(path));
    assert_eq!(fetch(&tool, &at("/text")).await, (false, head("/text") + "\na < b\n  c"));
    assert_eq!(fetch(&tool, &at("/json")).await, (false, head("/json") + "\n{\"a\": 1}"));
    assert_eq!(fetch(&tool, &at("/untold")).await, (false, head("/untold") + "\nplain words"));
    assert_eq!(fetch(&tool, &at("/nothing")).await, (false, head("/nothing") + "\n(the page holds no text)"));
    let pdf = tool.run(ctx(), json!({"url": at("/pdf")})).await.expect("it is read");
    let document = ToolContent::Document { media_type: "application/pdf".into(), bytes: b"%PDF-1.7 the rest".to_vec() };
    assert_eq!(pdf.content, [ToolContent::Text(head("/pdf") + "A PDF of 17 bytes:"), document]);
    for (path, expected) in [
        ("/picture", "unsupported_content_type"),
        ("/false-pdf", "unsupported_content_type"),
        ("/binary", "unsupported_content_type"),
        ("/missing", "url_not_accessible"),
        ("/busy", "too_many_requests"),
        ("/broken", "url_not_accessible"),
    ] {
        assert_eq!(code(&tool, &at(path)).await, expected, "{path}");
    }
    assert!(fetch(&tool, &at("/missing")).await.1.contains("404"));
}

#[tokio::test]
async fn no_spelling_reaches_a_private_address() {
    let site = Site::of("text/plain", b"secret").await;
    let names = Names::of(&[
        ("metadata.google.internal", &["169.254.169.254"]),
        ("127.0.0.1.nip.test", &["127.0.0.1"]),
        ("six.test", &["::1"]),
        ("mapped.test", &["::ffff:127.0.0.1"]),
        ("both.test", &["8.8.8.8", "10.0.0.1"]),
        ("empty.test", &[]),
    ]);
    let tool = tool(&names, &[]);
    let port = site.port();
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0x7F.1",
        "0177.0.0.1",
        "0177.0x0.1",
        "017700000001",
        "00000000177.0.0.1",
        "127.000.000.001",
        "0",
        "0.0.0.0",
        "%31%32%37.0.0.1",
        "127%2e0%2e0%2e1",
        "１２７.０.０.１",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "127．0．0．1",
        "ⓛocalhost",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "LocalHost..",
        "a.b.localhost",
        "a.localhost.",
        "%6cocalhost",
        "lo\u{ad}calhost",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::ffff:8.8.8.8]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "0xA9FEA9FE",
        "2852039166",
        "0251.0376.0251.0376",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "224.0.0.1",
        "255.255.255.255",
        "metadata.google.internal",
        "127.0.0.1.nip.test",
        "six.test",
        "mapped.test",
        "both.test",
        "user@127.0.0.1",
        "user:word@127.0.0.1",
        "user@8.8.8.8",
        ":word@8.8.8.8",
        "8.8.8.8@127.0.0.1",
        "8.8.8.8%40127.0.0.1",
        "127.0.0.1\\@8.8.8.8",
        "127.0.0.1\t",
        "12\n7.0.0.1",
    ] {
        for scheme in ["http", "https", "HTTP", "hTtPs"] {
            let url = format!("{scheme}://{host}:{port}/latest/meta-data/");
            let (is_error, text) = fetch(&tool, &url).await;
            let refused = text.starts_with("url_not_allowed") || text.starts_with("invalid_tool_input");
            assert!(is_error && refused, "{url:?}: {text}");
        }
    }
    for url in [
        "http:127.0.0.1/",
        "http:/127.0.0.1/",
        "http:///127.0.0.1/",
        "http:\\\\127.0.0.1/",
        "\u{1}http://127.0.0.1/",
        " http://127.0.0.1/ ",
        "file:///etc/passwd",
        "ftp://8.8.8.8/",
        "gopher://8.8.8.8/",
        "data:text/html,hello",
        "javascript:alert(1)",
        "about:blank",
        "blob:http://8.8.8.8/x",
        "view-source:http://8.8.8.8/",
        "http://8.8.8.8:22/",
        "http://8.8.8.8:6379/",
        "http://8.8.8.8:0/",
    ] {
        let (is_error, text) = fetch(&tool, url).await;
        let refused = text.starts_with("url_not_allowed") || text.starts_with("invalid_tool_input");
        assert!(is_error && refused, "{url:?}: {text}");
    }
    assert_eq!(code(&tool, "http://empty.test/").await, "url_not_accessible");
    assert_eq!(code(&tool, "http://unknown.test/").await, "url_not_accessible");
    assert_eq!(site.requests(), [] as [String; 0], "nothing was connected to");
    let asked_local = names.asked().into_iter().any(|name| name.to_lowercase().contains("localhost"));
    assert!(!asked_local, "what means this machine isn't asked for elsewhere");
}

#[tokio::test]
async fn what_is_no_address_is_told_so() {
    let tool = tool(&Names::of(&[]), &[]);
    for given in [
        "",
        "example.com",
        "/page",
        "http://",
        "http://[::1",
        "http://a b/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "https://%00/",
    ] {
        assert_eq!(code(&tool, given).await, "invalid_tool_input", "{given:?}");
    }
    assert_eq!(code(&tool, &format!("https://example.com/{}", "x".repeat(2_050))).await, "url_too_long");
    let (is_error, text) = match tool.run(ctx(), json!({})).await {
        Err(ToolError::Model(text)) => (true, text),
        other => panic!("{other:?}"),
    };
    assert!(is_error && text.contains("`url` is required"), "{text}");
}

#[tokio::test]
async fn redirects_are_followed_and_each_is_checked() {
    let inner = Site::of("text/plain", b"secret").await;
    let secret = inner.port();
    let site = Site::start(move |path| {
        Some(match path {
            "/once" => redirect("/there"),
            "/relative" => redirect("there?x=1#part"),
            "/elsewhere" => redirect("//other.test:PORT/there"),
            "/five" => redirect("/four"),
            "/four" => redirect("/three"),
            "/three" => redirect("/two"),
            "/two" => redirect("/once"),
            "/six" => redirect("/five"),
            "/loop" => redirect("/loop"),
            "/nowhere" => answer("301 Moved", "", b""),
            "/garbage" => redirect("http://[::1"),
            "/file" => redirect("file:///etc/passwd"),
            "/user" => redirect("http://user:word@other.test/"),
            "/named" => redirect("http://inside.test/"),
            path if path.starts_with("/to/") => {
                redirect(&format!("http://{}:{secret}/", path.trim_start_matches("/to/")))
            }
            path => ok("text/plain", path.as_bytes()),
        })
    })
    .await;
    let names = Names::of(&[("site.test", &["127.0.0.1"]), ("inside.test", &["192.168.0.1"])]);
    let tool = tool(&names, &[site.address]);
    let at = |path: &str| format!("http://site.test:{}{path}", site.port());
    let (is_error, text) = fetch(&tool, &at("/once")).await;
    assert_eq!((is_error, text), (false, format!("URL: {} (redirected from {})\n\n/there", at("/there"), at("/once"))));
    assert!(fetch(&tool, &at("/relative")).await.1.ends_with("/there?x=1"));
    assert!(fetch(&tool, &at("/five")).await.1.ends_with("/there"));
    for path in ["/six", "/loop", "/nowhere", "/garbage"] {
        assert_eq!(code(&tool, &at(path)).await, "url_not_accessible", "{path}");
    }
    for path in ["/file", "/user", "/named"] {
        assert_eq!(code(&tool, &at(path)).await, "url_not_allowed", "{path}");
    }
    for host in
        ["127.0.0.1", "0x7f.1", "2130706433", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1"]
    {
        assert_eq!(code(&tool, &at(&format!("/to/{host}"))).await, "url_not_allowed", "{host}");
    }
    assert_eq!(inner.requests(), [] as [String; 0]);
}

#[tokio::test]
async fn what_was_checked_is_what_is_connected_to() {
    let site = Site::of("text/plain", b"hello").await;
    let names = Names::of(&[("site.test", &["127.0.0.1"]), ("site.test", &["10.0.0.1"])]);
    let tool = tool(&names, &[site.address]);
    let url = format!("http://site.test:{}/", site.port());
    assert!(fetch(&tool, &url).await.1.ends_with("hello"));
    assert_eq!(names.asked(), ["site.test"], "a name is looked up once, and never again for the connection");
    assert_eq!(code(&tool, &url).await, "url_not_allowed");
    assert_eq!(site.requests().len(), 1);
}

#[tokio::test]
async fn domains_hold_for_each_hop() {
    let site = Site::start(|path| {
        Some(match path.strip_prefix("/to/") {
            Some(to) => redirect(&format!("http://{to}/")),
            None => ok("text/plain", b"hello"),
        })
    })
    .await;
    let names = Names::of(&[
        ("docs.example.test", &["127.0.0.1"]),
        ("example.test", &["127.0.0.1"]),
        ("ads.test", &["127.0.0.1"]),
        ("notexample.test", &["127.0.0.1"]),
    ]);
    let tool = tool(&names, &[site.address]);
    let port = site.port();
    let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    let allowed = WebFetchSettings { allowed_domains: list(&["Example.test"]), ..WebFetchSettings::default() };
    let blocked = WebFetchSettings { blocked_domains: list(&["ads.test"]), ..WebFetchSettings::default() };
    for (settings, host, path, fetched) in [
        (&allowed, "example.test", "/", true),
        (&allowed, "docs.example.test", "/", true),
        (&allowed, "docs.example.test.", "/", false),
        (&allowed, "notexample.test", "/", false),
        (&allowed, "127.0.0.1", "/", false),
        (&allowed, "example.test", "/to/docs.example.test", true),
        (&allowed, "example.test", "/to/ads.test", false),
        (&blocked, "example.test", "/", true),
        (&blocked, "ads.test", "/", false),
        (&blocked, "ADS.test.", "/", false),
        (&blocked, "example.test", "/to/ads.test", false),
    ] {
        let path = if path == "/" { path.to_owned() } else { format!("{path}:{port}") };
        let (is_error, text) =
            fetch_as(&tool, HostedCtx { web_fetch: settings.clone(), ..ctx() }, &format!("http://{host}:{port}{path}"))
                .await;
        // A name with a dot at its end is the same one; the list of this test doesn't know it.
        let unknown = text.starts_with("url_not_accessible");
        assert_eq!(!is_error, fetched, "{host}{path}: {text}");
        assert!(fetched || unknown || text.starts_with("url_not_allowed"), "{text}");
    }
}

#[tokio::test]
async fn an_agent_may_be_held_to_what_the_conversation_has_shown() {
    let site = Site::of("text/plain", b"hello").await;
    let names = Names::of(&[("site.test", &["127.0.0.1"])]);
    let tool = tool(&names, &[site.address]);
    let at = |path: &str| format!("http://site.test:{}{path}", site.port());
    let shown = vec![format!("{}).", at("/a_(b)")), format!("{}](http://x.test/)", at("/c")), at("/d#part")];
    for (path, fetched) in [
        ("/a_(b)", true),
        ("/a_(b", true),
        ("/d", true),
        ("/d#other", true),
        ("/c", false),
        ("/e", false),
        ("/", false),
    ] {
        let ctx = HostedCtx { shown_urls: Some(shown.clone()), ..ctx() };
        let (is_error, text) = fetch_as(&tool, ctx, &at(path)).await;
        assert_eq!(!is_error, fetched, "{path}: {text}");
        assert!(fetched || text.starts_with("url_not_in_prior_context"), "{text}");
    }
}

#[tokio::test]
async fn sizes_are_bounded_packed_and_unpacked() {
    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(bytes).expect("memory takes it");
        packer.finish().expect("memory takes it")
    }
    let gzip = "content-type: text/plain\r\ncontent-encoding: gzip\r\n";
    let bomb = packed(&vec![b'x'; 8 << 20]);
    let small = packed(b"hello");
    let site = Site::start(move |path| {
        Some(match path {
            "/packed" => answer("200 OK", gzip, &small),
            "/bomb" => answer("200 OK", gzip, &bomb),
            "/torn" => answer("200 OK", gzip, &small[..8]),
            "/other" => answer("200 OK", "content-type: text/plain\r\ncontent-encoding: br\r\n", b"?"),
            "/pdf" => ok("application/pdf", &[b"%PDF-".as_slice(), &[b'x'; 5_000]].concat()),
            // Longer than it says it is, and without an end.
            "/endless" => [b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n".as_slice(), &[b'y'; 50_000]].concat(),
            _ => ok("text/plain", &[b'z'; 3_000]),
        })
    })
    .await;
    let names = Names::of(&[("site.test", &["127.0.0.1"])]);
    let limits = FetchLimits { body_bytes: 1_000_000, ..FetchLimits::default() };
    let large = tool_with(&names, &[site.address], limits);
    let at = |path: &str| format!("http://site.test:{}{path}", site.port());
    assert!(fetch(&large, &at("/packed")).await.1.ends_with("\n\nhello"));
    let (is_error, text) = fetch(&large, &at("/bomb")).await;
    assert!(
        !is_error && text.ends_with("[… cut here, after 100000 of more than 1000000 characters]"),
        "{}",
        &text[text.len() - 200..]
    );
    assert_eq!(code(&large, &at("/torn")).await, "unsupported_content_type");
    assert_eq!(code(&large, &at("/other")).await, "unsupported_content_type");
    let small = tool_with(&names, &[site.address], FetchLimits { body_bytes: 2_000, ..FetchLimits::default() });
    assert_eq!(code(&small, &at("/pdf")).await, "content_too_large");
    for path in ["/long", "/endless"] {
        let (is_error, text) = fetch(&small, &at(path)).await;
        assert!(!is_error && text.ends_with("\n\n[… the page goes on; no more of it was read]"), "{path}: {text}");
        assert!(text.len() < 2_200, "{}", text.len());
    }
    let settings = WebFetchSettings { max_content_tokens: Some(10), ..WebFetchSettings::default() };
    let (_, text) = fetch_as(&large, HostedCtx { web_fetch: settings, ..ctx() }, &at("/long")).await;
    assert!(text.ends_with(&format!("\n\n{}\n\n[… cut here, after 40 of 3000 characters]", "z".repeat(40))), "{text}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let site = Site::start(|_| None).await;
    let names = Names::of(&[("site.test", &["127.0.0.1"])]);
    let limits = FetchLimits { whole: Duration::from_millis(200), ..FetchLimits::default() };
    let tool = tool_with(&names, &[site.address], limits);
    let (is_error, text) = fetch(&tool, &format!("http://site.test:{}/", site.port())).await;
    assert!(is_error && text.starts_with("url_not_accessible: it took longer"), "{text}");
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_not_used() {
    let (site, proxy) = (Site::of("text/plain", b"hello").await, Site::of("text/plain", b"proxied").await);
    // SAFETY: tests run in processes of their own, and nothing else of this one reads the environment meanwhile.
    unsafe {
        for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"] {
            std::env::set_var(name, format!("http://{}", proxy.address));
        }
    }
    let names = Names::of(&[("site.test", &["127.0.0.1"])]);
    let tool = tool(&names, &[site.address]);
    assert!(fetch(&tool, &format!("http://site.test:{}/", site.port())).await.1.ends_with("hello"));
    assert_eq!(proxy.requests(), [] as [String; 0]);
}
