//! The files of a session.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::client::{ApiError, Client, session_id};
use crate::failure::{Exit, advised};
use crate::terminal::{bytes, out, plain, say};

/// List, show, remove and rename files of a session
///
/// Paths begin at /workspace unless they begin with a slash. A stopped session's files are there too.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Files {
    Ls(Ls),
    Cat(Cat),
    Rm(Rm),
    Mv(Mv),
}

impl Files {
    pub(super) async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        match self {
            Self::Ls(command) => command.run(client, as_json).await,
            Self::Cat(command) => command.run(client).await,
            Self::Rm(command) => command.run(client, as_json).await,
            Self::Mv(command) => command.run(client, as_json).await,
        }
    }
}

/// List a directory
#[derive(Debug, clap::Args)]
pub(crate) struct Ls {
    /// The session's id, or its first digits
    session: String,
    /// The directory. Default: /workspace
    path: Option<String>,
    /// Also what is in the directories in it
    #[arg(long, short = 'R')]
    recursive: bool,
}

impl Ls {
    async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let id = session_id(client, &self.session).await?;
        let path = self.path.unwrap_or_default();
        let recursive = self.recursive.to_string();
        let query = [("path", path.as_str()), ("recursive", recursive.as_str()), ("limit", "1000")];
        let rows = client.list(&format!("/v1/sessions/{id}/workspace"), &query, usize::MAX, |_| true).await?;
        if as_json {
            out::json(&rows);
            return Ok(Exit::Success);
        }
        for row in &rows {
            out::line(&line(row));
        }
        Ok(Exit::Success)
    }
}

/// `-rw-r--r-- 1.5 KiB 2026-01-01 12:00 name`
fn line(row: &Value) -> String {
    let text = |name: &str| row[name].as_str().unwrap_or_default();
    let kind = match text("type") {
        "directory" => 'd',
        "symlink" => 'l',
        "file" => '-',
        _ => '?',
    };
    let mode = u32::from_str_radix(text("mode"), 8).unwrap_or(0);
    let letters = "rwxrwxrwx".chars().enumerate();
    let mode: String = letters.map(|(at, letter)| if mode >> (8 - at) & 1 == 1 { letter } else { '-' }).collect();
    let size = bytes(row["size"].as_u64().unwrap_or(0));
    let when: String = text("modified_at").replace('T', " ").chars().take(16).collect();
    let target = row["target"].as_str().map_or_else(String::new, |target| format!(" -> {target}"));
    let path = text("path").trim_start_matches("/workspace/").replace(['\n', '\t'], "?");
    plain(&format!("{kind}{mode} {size:>10} {when} {path}{}", target.replace(['\n', '\t'], "?")))
}

/// Print a file
#[derive(Debug, clap::Args)]
pub(crate) struct Cat {
    /// The session's id, or its first digits
    session: String,
    /// The file
    path: String,
}

impl Cat {
    async fn run(self, client: &Client) -> Result<Exit> {
        let id = session_id(client, &self.session).await?;
        let route = format!("/v1/sessions/{id}/workspace/file");
        let mut body = client.download(&route, &[("path", &self.path)]).await?;
        while let Some(piece) = body.chunk().await.context("the connection broke")? {
            out::bytes(&piece);
        }
        Ok(Exit::Success)
    }
}

/// Remove a file or directory
#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    /// The session's id, or its first digits
    session: String,
    /// What to remove
    path: String,
    /// Also a directory with all that is in it
    #[arg(long, short)]
    recursive: bool,
}

impl Rm {
    async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let id = session_id(client, &self.session).await?;
        let recursive = self.recursive.to_string();
        let query = [("path", self.path.as_str()), ("recursive", recursive.as_str())];
        let removed = client.delete_with(&format!("/v1/sessions/{id}/workspace/file"), &query).await?;
        match as_json {
            true => out::json(&removed),
            false => say::success(&plain(&format!("{} removed", self.path))),
        }
        Ok(Exit::Success)
    }
}

/// Give a file or directory another name
#[derive(Debug, clap::Args)]
pub(crate) struct Mv {
    /// The session's id, or its first digits
    session: String,
    /// What it is called
    from: String,
    /// What it is to be called
    to: String,
    /// Replace a file that is called so
    #[arg(long, short)]
    force: bool,
}

impl Mv {
    async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let id = session_id(client, &self.session).await?;
        let order = json!({"from": self.from, "to": self.to, "replace": self.force, "parents": true});
        let moved = client.post_once(&format!("/v1/sessions/{id}/workspace/move"), &order).await?;
        match as_json {
            true => out::json(&moved),
            false => say::success(&plain(&format!("{} is now {}", self.from, self.to))),
        }
        Ok(Exit::Success)
    }
}

/// Copy a file, or a directory with all that is in it, of a session to this machine
#[derive(Debug, clap::Args)]
pub(crate) struct Download {
    /// The session's id, or its first digits
    session: String,
    /// The file or directory. Default: all of /workspace
    #[arg(default_value = "/workspace")]
    path: String,
    /// Where to: a file, or a directory that is there, or - for standard output (of a directory: as tar). Default: here, by its own name
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
}

impl Download {
    pub(super) async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let id = session_id(client, &self.session).await?;
        let to_stdout = self.output.as_deref() == Some(Path::new("-"));
        if is_directory(client, &id, &self.path).await? {
            return self.directory(client, &id, to_stdout, as_json).await;
        }
        if to_stdout {
            return Cat { session: self.session, path: self.path }.run(client).await;
        }
        let name = Path::new(&self.path).file_name().filter(|name| *name != "..");
        let name = name.ok_or_else(|| advised(format!("'{}' doesn't end in a name", self.path), "name a file"))?;
        let target = match self.output {
            Some(output) if output.is_dir() => output.join(name),
            Some(output) => output,
            None => PathBuf::from(name),
        };
        let mut body = client.download(&format!("/v1/sessions/{id}/workspace/file"), &[("path", &self.path)]).await?;
        let wrote = |error| anyhow::Error::from(error).context(format!("{} can't be written", target.display()));
        // A file that is there already is replaced only by all of it. A device, a pipe or a link is written to.
        let is_replaced = std::fs::symlink_metadata(&target).map_or(true, |there| there.is_file());
        let beside = is_replaced.then(|| target.with_file_name(format!(".{}.part", name.to_string_lossy())));
        let mut options = std::fs::OpenOptions::new();
        let mut file = match &beside {
            Some(beside) => {
                let _ = std::fs::remove_file(beside);
                options.write(true).create_new(true).open(beside)
            }
            None => options.write(true).truncate(true).create(true).open(&target),
        }
        .map_err(wrote)?;
        let written = async {
            let mut size = 0;
            while let Some(piece) = body.chunk().await.context("the connection broke")? {
                file.write_all(&piece).map_err(wrote)?;
                size += piece.len() as u64;
            }
            if let Some(beside) = &beside {
                std::fs::rename(beside, &target).map_err(wrote)?;
            }
            Ok::<u64, anyhow::Error>(size)
        };
        let written = written.await;
        if let (true, Some(beside)) = (written.is_err(), &beside) {
            let _ = std::fs::remove_file(beside);
        }
        let size = written?;
        match as_json {
            true => out::json(&json!({"path": target, "bytes": size})),
            false => say::success(&plain(&format!("{} ({})", target.display(), bytes(size)))),
        }
        Ok(Exit::Success)
    }
}

impl Download {
    /// A directory comes as an archive, which is unpacked here through no link and into nothing but the target.
    async fn directory(self, client: &Client, id: &str, to_stdout: bool, as_json: bool) -> Result<Exit> {
        let route = format!("/v1/sessions/{id}/workspace/archive");
        let mut body = client.download(&route, &[("path", &self.path)]).await?;
        if to_stdout {
            while let Some(piece) = body.chunk().await.context("the connection broke")? {
                out::bytes(&piece);
            }
            return Ok(Exit::Success);
        }
        let name = Path::new(&self.path).file_name().filter(|name| *name != "..");
        let target = self.output.or_else(|| name.map(PathBuf::from)).unwrap_or_else(|| PathBuf::from("."));
        std::fs::create_dir_all(&target).with_context(|| format!("{} can't be made", target.display()))?;
        let (pieces, taken) = std::sync::mpsc::sync_channel::<std::io::Result<Vec<u8>>>(4);
        let into = target.clone();
        let unpacking = tokio::task::spawn_blocking(move || {
            tenure_tools::guest::unpack_here(&into, Pieces { taken, piece: Vec::new() })
        });
        let (mut size, mut shown, mut whole) = (0, 0, true);
        loop {
            match body.chunk().await {
                Ok(Some(piece)) => {
                    size += piece.len() as u64;
                    if size - shown > PROGRESS_BYTES && std::io::IsTerminal::is_terminal(&std::io::stderr()) {
                        shown = size;
                        say::text(&format!("\r{} …", bytes(size)));
                    }
                    if pieces.send(Ok(piece.to_vec())).is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    whole = false;
                    let _ = pieces.send(Err(std::io::ErrorKind::UnexpectedEof.into()));
                    break;
                }
            }
        }
        drop(pieces);
        if shown > 0 {
            say::text("\r\x1b[K");
        }
        let unpacked = unpacking.await.context("unpacking broke off")?;
        if !whole {
            return Err(advised("the connection broke before all had come; nothing was changed here", "try again"));
        }
        let left_out = unpacked.with_context(|| format!("nothing was unpacked into {}", target.display()))?;
        if left_out > 0 {
            let links = match left_out {
                1 => "1 symbolic link was left out, since it leads out of the directory".to_owned(),
                more => format!("{more} symbolic links were left out, since they lead out of the directory"),
            };
            say::warning(&links);
        }
        match as_json {
            true => out::json(&json!({"path": target, "bytes": size, "links_left_out": left_out})),
            false => say::success(&plain(&format!("{} ({})", target.display(), bytes(size)))),
        }
        Ok(Exit::Success)
    }
}

/// After how many bytes a person is told how much has come.
const PROGRESS_BYTES: u64 = 8 << 20;

/// What comes, for somebody who waits for it.
struct Pieces {
    taken: std::sync::mpsc::Receiver<std::io::Result<Vec<u8>>>,
    piece: Vec<u8>,
}

impl std::io::Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.piece.is_empty() {
            self.piece = self.taken.recv().unwrap_or_else(|_| Ok(Vec::new()))?;
        }
        let length = self.piece.as_slice().read(into)?;
        self.piece.drain(..length);
        Ok(length)
    }
}

async fn is_directory(client: &Client, id: &str, path: &str) -> Result<bool> {
    let query = [("path", path), ("limit", "1")];
    let listed = client.get(&format!("/v1/sessions/{id}/workspace"), &query).await;
    match listed {
        Ok(_) => Ok(true),
        Err(error) => match error.downcast_ref::<ApiError>() {
            // It is there, and is something else.
            Some(ApiError::Refused { status: 409, .. }) => Ok(false),
            Some(_) | None => Err(error),
        },
    }
}

/// Copy a file, or a directory with all that is in it, of this machine to a session
#[derive(Debug, clap::Args)]
pub(crate) struct Upload {
    /// The session's id, or its first digits
    session: String,
    /// The file or directory on this machine
    local: PathBuf,
    /// What it is to be called there; its directories are made. Default: its own name, or for a directory what is in it goes to
    /// /workspace
    remote: Option<String>,
}

impl Upload {
    pub(super) async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let id = session_id(client, &self.session).await?;
        let read = |error| anyhow::Error::from(error).context(format!("{} can't be read", self.local.display()));
        // To open a FIFO is to wait for whoever writes to it.
        let metadata = tokio::fs::metadata(&self.local).await.map_err(read)?;
        if metadata.is_dir() {
            return self.directory(client, &id, as_json).await;
        }
        if !metadata.is_file() {
            return Err(advised(format!("{} is no regular file", self.local.display()), "name a file or a directory"));
        }
        let file = tokio::fs::File::open(&self.local).await.map_err(read)?;
        let name = self.local.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let remote = match self.remote {
            Some(remote) if remote.ends_with('/') => format!("{remote}{name}"),
            Some(remote) => remote,
            None => name,
        };
        let mode = format!("{:o}", std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777);
        let query = [("path", remote.as_str()), ("parents", "true"), ("mode", mode.as_str())];
        let route = format!("/v1/sessions/{id}/workspace/file");
        let written = client.upload(&route, &query, file, metadata.len()).await?;
        match as_json {
            true => out::json(&written),
            false => {
                let size = bytes(written["file"]["size"].as_u64().unwrap_or(0));
                say::success(&plain(&format!("{} ({size})", written["file"]["path"].as_str().unwrap_or(&remote))));
            }
        }
        Ok(Exit::Success)
    }
}

impl Upload {
    /// A directory goes as an archive.
    async fn directory(self, client: &Client, id: &str, as_json: bool) -> Result<Exit> {
        let remote = self.remote.unwrap_or_default();
        let (written, pieces) = tokio::sync::mpsc::channel(4);
        let local = self.local.clone();
        let packing = tokio::task::spawn_blocking(move || {
            let mut builder = tar::Builder::new(std::io::BufWriter::with_capacity(1 << 16, Channel(written)));
            builder.follow_symlinks(false);
            let packed = builder.append_dir_all("", &local);
            if let Err(error) = &packed {
                // Before it ends the archive by itself.
                builder.get_mut().get_mut().break_off(error.kind());
            }
            packed.and_then(|()| std::io::Write::flush(&mut builder.into_inner()?))
        });
        let query = [("path", remote.as_str()), ("parents", "true")];
        let sent = client.upload_pieces(&format!("/v1/sessions/{id}/workspace/archive"), &query, pieces).await;
        match (packing.await.context("packing broke off")?, sent) {
            // What went wrong here is why the server got less than all.
            (Err(error), _) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                let wrong = anyhow::Error::from(error).context(format!("{} can't be read", self.local.display()));
                return Err(wrong.context("nothing was uploaded"));
            }
            (_, Err(error)) => return Err(error),
            (_, Ok(written)) => match as_json {
                true => out::json(&written),
                false => say::success(&plain(written["file"]["path"].as_str().unwrap_or(&remote))),
            },
        }
        Ok(Exit::Success)
    }
}

/// What is packed, on its way.
struct Channel(tokio::sync::mpsc::Sender<std::io::Result<Vec<u8>>>);

impl Channel {
    /// What was sent isn't all, and there will be no more.
    fn break_off(&self, why: std::io::ErrorKind) {
        let _ = self.0.blocking_send(Err(why.into()));
    }
}

impl std::io::Write for Channel {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let sent = self.0.blocking_send(Ok(bytes.to_vec()));
        sent.map(|()| bytes.len()).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
