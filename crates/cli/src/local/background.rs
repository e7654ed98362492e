//! Starting a server in the background.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::data_dir::{DataDir, Served};
use super::server_file::ServerFile;
use crate::failure::advised;
use crate::terminal::say;

/// How long a server that somebody else has just started may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often to look whether it has started.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A log larger than this is set aside before the next start.
const LARGE_LOG_BYTES: u64 = 16 << 20;

/// The server of the directory; if there is none, one is started. However many do this at once, one server comes of it.
pub(crate) fn find_or_start(dir: &DataDir) -> Result<ServerFile> {
    if let Served::Ready(server) = dir.served()? {
        return Ok(server);
    }
    dir.create()?;
    let _only_one_starts = dir.take_start_lock()?;
    let begun = Instant::now();
    loop {
        match dir.served()? {
            Served::Ready(server) => return Ok(server),
            Served::Nobody { .. } => return start(dir),
            Served::Changing { pid } if begun.elapsed() > PATIENCE => {
                return Err(advised(
                    format!("the server of {} (pid {pid}) doesn't get ready", dir.path().display()),
                    format!("its log may say why; `tenure down` ends it ({})", dir.server_log().display()),
                ));
            }
            Served::Changing { .. } => std::thread::sleep(LOOK_AGAIN),
        }
    }
}

fn start(dir: &DataDir) -> Result<ServerFile> {
    let path = dir.server_log();
    if std::fs::metadata(&path).is_ok_and(|log| log.len() > LARGE_LOG_BYTES) {
        let _ = std::fs::rename(&path, path.with_extension("log.1"));
    }
    let log = File::options().append(true).create(true).mode(0o600).open(&path);
    let log = log.map_err(|error| dir.unusable(error, &path))?;
    let log_begins = log.metadata().map_or(0, |log| log.len());

    let program = std::env::current_exe().context("can't tell where this program is")?;
    let mut server = Command::new(program);
    server.arg("up").arg("--background").arg("--data-dir").arg(dir.path());
    server.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut server = server.spawn().context("can't start a server in the background")?;

    // It says one line when it is ready, and closes its standard output when it can't be.
    let mut said = String::new();
    let output = server.stdout.take().map(BufReader::new);
    output
        .map(|mut output| output.read_line(&mut said))
        .transpose()
        .context("can't hear the server that was started")?;
    match serde_json::from_str(&said) {
        Ok(started) => {
            let ServerFile { pid, url, .. } = &started;
            say::line(&say::dim(&format!("Started a server at {url} (pid {pid}; `tenure down` stops it).")));
            Ok(started)
        }
        Err(_) => {
            let ended = server.wait().context("can't wait for the server that was started")?;
            let log = last_lines(&path, log_begins);
            Err(advised(format!("the server didn't start ({ended})"), format!("{log}\nIts log: {}", path.display())))
        }
    }
}

/// The last lines that were logged since the start.
fn last_lines(path: &std::path::Path, begins: u64) -> String {
    let mut text = String::new();
    if let Ok(mut log) = File::open(path) {
        let _ = log.seek(SeekFrom::Start(begins)).and_then(|_| log.read_to_string(&mut text));
    }
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
