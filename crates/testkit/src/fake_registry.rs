use std::collections::HashMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A registry of images on loopback that speaks real HTTP, counts what it is asked for, and misbehaves on order.
#[derive(Debug)]
pub struct FakeRegistry {
    host: String,
    inner: Arc<Mutex<Inner>>,
    serving: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Inner {
    blobs: HashMap<String, Vec<u8>>,
    /// By repository, colon, tag or digest.
    manifests: HashMap<String, Vec<u8>>,
    cuts: HashMap<String, usize>,
    login: Option<String>,
    asked: Vec<String>,
}

/// The files that make up an image.
#[derive(Debug, Clone)]
pub struct ImageFiles {
    /// By their digests: layers, configuration, manifest.
    pub blobs: Vec<(String, Vec<u8>)>,
    /// The digest of the manifest, which is the last of them.
    pub manifest: String,
    /// The digests of the layers.
    pub layers: Vec<String>,
}

impl ImageFiles {
    /// An image for this machine of layers packed by gzip, given as archives; `configuration` is added to its
    /// configuration.
    pub fn of(archives: &[&[u8]], configuration: &Value) -> Self {
        let packed: Vec<Vec<u8>> = archives.iter().map(|archive| gzip(archive)).collect();
        let layers: Vec<(&[u8], Vec<u8>)> = archives.iter().copied().zip(packed).collect();
        Self::packed(&layers, "application/vnd.oci.image.layer.v1.tar+gzip", configuration)
    }

    /// As above, of archives and what they are packed into.
    pub fn packed(layers: &[(&[u8], Vec<u8>)], media_type: &str, configuration: &Value) -> Self {
        let ids: Vec<String> = layers.iter().map(|(archive, _)| digest(archive)).collect();
        let mut whole =
            json!({"architecture": architecture(), "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}});
        for (key, value) in configuration.as_object().into_iter().flatten() {
            whole[key] = value.clone();
        }
        let whole = whole.to_string().into_bytes();
        let described = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described("application/vnd.oci.image.config.v1+json", &whole),
            "layers": layers.iter().map(|(_, bytes)| described(media_type, bytes)).collect::<Vec<_>>(),
        });
        let mut blobs: Vec<(String, Vec<u8>)> =
            layers.iter().map(|(_, bytes)| (digest(bytes), bytes.clone())).collect();
        let layers = blobs.iter().map(|(digest, _)| digest.clone()).collect();
        let manifest = manifest.to_string().into_bytes();
        let named = digest(&manifest);
        blobs.extend([(digest(&whole), whole), (named.clone(), manifest)]);
        Self { blobs, manifest: named, layers }
    }

    /// Writes it as a directory in the OCI image layout.
    pub fn write_layout(&self, dir: &Path) -> io::Result<()> {
        let blobs = dir.join("blobs/sha256");
        std::fs::create_dir_all(&blobs)?;
        for (digest, bytes) in &self.blobs {
            std::fs::write(blobs.join(digest.trim_start_matches("sha256:")), bytes)?;
        }
        let size = self.blobs.last().map_or(0, |(_, bytes)| bytes.len());
        let manifest =
            json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": self.manifest, "size": size});
        std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#)?;
        std::fs::write(dir.join("index.json"), json!({"schemaVersion": 2, "manifests": [manifest]}).to_string())
    }
}

impl FakeRegistry {
    /// Starts one with nothing in it.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let host = listener.local_addr().expect("an address").to_string();
        let inner: Arc<Mutex<Inner>> = Arc::default();
        let shared = inner.clone();
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let shared = shared.clone();
                tokio::spawn(async move { drop(serve(socket, &shared).await) });
            }
        });
        Self { host, inner, serving }
    }

    /// Its name, as references have it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The whole name of a tag, such as `team/image:1`.
    pub fn reference(&self, tag: &str) -> String {
        format!("{}/{tag}", self.host)
    }

    /// Takes an image, under a name such as `team/image:1`.
    pub fn push(&self, tag: &str, image: &ImageFiles) {
        let mut inner = lock(&self.inner);
        let repository = tag.rsplit_once(':').map_or(tag, |(repository, _)| repository).to_owned();
        for (digest, bytes) in &image.blobs {
            if *digest == image.manifest {
                inner.manifests.insert(tag.to_owned(), bytes.clone());
                inner.manifests.insert(format!("{repository}:{digest}"), bytes.clone());
            } else {
                inner.blobs.insert(digest.clone(), bytes.clone());
            }
        }
    }

    /// Gives this as the manifest of a tag or digest, whatever it is.
    pub fn put_manifest(&self, tag: &str, bytes: &[u8]) {
        lock(&self.inner).manifests.insert(tag.to_owned(), bytes.to_vec());
    }

    /// Gives this as the blob of a digest, whatever its own is.
    pub fn put_blob(&self, digest: &str, bytes: &[u8]) {
        lock(&self.inner).blobs.insert(digest.to_owned(), bytes.to_vec());
    }

    /// Breaks the connection the next time that this blob is asked for, after so many bytes.
    pub fn cut(&self, digest: &str, after: usize) {
        lock(&self.inner).cuts.insert(digest.to_owned(), after);
    }

    /// Answers nobody else from here on.
    pub fn require(&self, user: &str, password: &str) {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        lock(&self.inner).login = Some(format!("Basic {pair}"));
    }

    /// How often a path with this end has been asked for.
    pub fn asked(&self, end: &str) -> usize {
        lock(&self.inner).asked.iter().filter(|path| path.ends_with(end)).count()
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(socket: TcpStream, inner: &Mutex<Inner>) -> io::Result<()> {
    let mut socket = BufReader::new(socket);
    loop {
        let (mut first, mut headers) = (String::new(), HashMap::new());
        if socket.read_line(&mut first).await? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            socket.read_line(&mut line).await?;
            let Some((name, value)) = line.trim().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let answer = lock(inner).answer(path, &headers);
        socket.write_all(answer.head.as_bytes()).await?;
        if method != "HEAD" {
            socket.write_all(&answer.body).await?;
        }
        if answer.cut {
            return socket.shutdown().await;
        }
    }
}

struct Answer {
    head: String,
    body: Vec<u8>,
    /// Whether the connection ends here, though more was promised.
    cut: bool,
}

impl Inner {
    fn answer(&mut self, path: &str, headers: &HashMap<String, String>) -> Answer {
        self.asked.push(path.to_owned());
        if self.login.is_some() && headers.get("authorization") != self.login.as_ref() {
            let head = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic realm=\"x\"\r\ncontent-length: 0\r\n\r\n"
                .to_owned();
            return Answer { head, body: Vec::new(), cut: false };
        }
        if path == "/v2/" {
            return Answer::new("200 OK", "", b"{}");
        }
        let path = path.trim_start_matches("/v2/");
        if let Some((repository, tag)) = path.split_once("/manifests/")
            && let Some(manifest) = self.manifests.get(&format!("{repository}:{tag}"))
        {
            return Answer::new("200 OK", "content-type: application/vnd.oci.image.manifest.v1+json\r\n", manifest);
        }
        if let Some((_, digest)) = path.split_once("/blobs/")
            && let Some(blob) = self.blobs.get(digest)
        {
            let from =
                headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
            let mut answer = match from {
                Some(from) if from <= blob.len() => Answer::new("206 Partial Content", "", &blob[from..]),
                Some(_) | None => Answer::new("200 OK", "", blob),
            };
            if let Some(after) = self.cuts.remove(digest) {
                answer.body.truncate(after);
                answer.cut = true;
            }
            return answer;
        }
        Answer::new("404 Not Found", "", br#"{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "unknown"}]}"#)
    }
}

impl Answer {
    fn new(status: &str, headers: &str, body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len());
        Self { head, body: body.to_vec(), cut: false }
    }
}

fn lock(inner: &Mutex<Inner>) -> std::sync::MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).expect("it is written to memory");
    packer.finish().expect("it is written to memory")
}
