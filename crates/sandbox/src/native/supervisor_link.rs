use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::cgroup_name;
use super::channel::{Channel, nobody_listens};
use crate::Error;
use crate::dispatch::SUPERVISOR;
use crate::supervisor::{CONFIG_VARIABLE, Config, Failure, Started};
use crate::wire::{Greeting, SupervisorAsk, SupervisorTell, VERSION_MAX, VERSION_MIN, decode, encode};

const SOCKET: &str = "supervisor.sock";

/// How often to try to reach a supervisor that another process has just started.
const ATTEMPTS: u32 = 400;
const ATTEMPT_AGAIN: Duration = Duration::from_millis(5);

/// The server's connections to the supervisor. While one is open, the supervisor lives.
#[derive(Debug)]
pub(crate) struct SupervisorLink {
    config: Config,
    executable: PathBuf,
    failpoint: Option<String>,
    idle: Mutex<Vec<Connection>>,
    starting: tokio::sync::Mutex<()>,
}

/// A connection on which nobody waits for an answer.
#[derive(Debug)]
struct Connection {
    channel: Channel,
    greeting: Greeting,
}

impl SupervisorLink {
    pub(crate) fn new(config: Config, executable: PathBuf, failpoint: Option<String>) -> Self {
        Self { config, executable, failpoint, idle: Mutex::default(), starting: tokio::sync::Mutex::default() }
    }

    /// Asks the supervisor, which is started if none runs.
    pub(crate) async fn ask(&self, ask: &SupervisorAsk) -> Result<SupervisorTell, Error> {
        loop {
            if let Some(answer) = self.ask_if_running(ask).await? {
                return Ok(answer);
            }
            self.start().await?;
        }
    }

    /// Asks the supervisor, if one runs.
    pub(crate) async fn ask_if_running(&self, ask: &SupervisorAsk) -> Result<Option<SupervisorTell>, Error> {
        loop {
            let kept = self.idle.lock().expect("no holder panics").pop();
            let was_kept = kept.is_some();
            let connection = match kept {
                Some(connection) => connection,
                None => match self.connect().await? {
                    Some(connection) => connection,
                    None => return Ok(None),
                },
            };
            match exchange(&connection.channel, ask).await {
                Ok(Some(answer)) => {
                    self.idle.lock().expect("no holder panics").push(connection);
                    return Ok(Some(answer));
                }
                // The supervisor that was there has gone since; every question can be asked of the next one.
                Ok(None) if was_kept => {}
                Err(_) if was_kept => {}
                Ok(None) => return Ok(None),
                Err(error) => return Err(Error::failed("asking the sandbox supervisor")(error)),
            }
        }
    }

    /// The supervisor's process, if one runs.
    pub(crate) async fn pid(&self) -> Result<Option<u32>, Error> {
        Ok(self.connect().await?.map(|connection| connection.greeting.pid))
    }

    /// Has the supervisor end everything and itself, and waits until it has.
    pub(crate) async fn shut_down(&self) -> Result<(), Error> {
        let failed = |error| Error::failed("waiting for the sandbox supervisor to end")(error);
        let pid = self.pid().await?.and_then(|pid| Pid::from_raw(pid as i32));
        let process = match pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
            Some(Ok(process)) => process,
            None | Some(Err(rustix::io::Errno::SRCH)) => return Ok(()),
            Some(Err(error)) => return Err(failed(error.into())),
        };
        self.ask_if_running(&SupervisorAsk::Shutdown).await?;
        self.idle.lock().expect("no holder panics").clear();
        let ended = tokio::task::spawn_blocking(move || {
            let mut process = [PollFd::new(&process, PollFlags::IN)];
            rustix::io::retry_on_intr(|| poll(&mut process, None))
        });
        ended.await.map_err(io::Error::other).and_then(|polled| Ok(polled?)).map(drop).map_err(failed)
    }

    async fn connect(&self) -> Result<Option<Connection>, Error> {
        let failed = |error| Error::failed("connecting to the sandbox supervisor")(error);
        let channel = match Channel::connect(&self.config.dir, SOCKET).await {
            Ok(channel) => channel,
            Err(error) if nobody_listens(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        match exchange(&channel, &SupervisorAsk::Hello(Greeting::ours())).await {
            Ok(Some(SupervisorTell::Hello(greeting))) => match greeting.agree() {
                Some(_) => Ok(Some(Connection { channel, greeting })),
                None => Err(Error::Incompatible {
                    theirs_min: greeting.min,
                    theirs_max: greeting.max,
                    ours_min: VERSION_MIN,
                    ours_max: VERSION_MAX,
                }),
            },
            Ok(Some(_)) => Err(failed(io::Error::other("it did not greet"))),
            // It was just ending.
            Ok(None) | Err(_) => Ok(None),
        }
    }

    async fn start(&self) -> Result<(), Error> {
        let _starting = self.starting.lock().await;
        for _ in 0..ATTEMPTS {
            if let Some(connection) = self.connect().await? {
                self.idle.lock().expect("no holder panics").push(connection);
                return Ok(());
            }
            let (config, executable, failpoint) =
                (self.config.clone(), self.executable.clone(), self.failpoint.clone());
            let started = tokio::task::spawn_blocking(move || spawn(&config, &executable, failpoint.as_deref()));
            match started
                .await
                .map_err(io::Error::other)
                .flatten()
                .map_err(Error::failed("starting the sandbox supervisor"))?
            {
                Started::Ready => {}
                // Of another process, and not yet listening; or one that is just ending.
                Started::Taken => tokio::time::sleep(ATTEMPT_AGAIN).await,
                Started::Failed(failure) => return Err(failure.into()),
            }
        }
        Err(Error::failed("starting the sandbox supervisor")(io::Error::other(
            "another one holds the directory and doesn't answer",
        )))
    }
}

async fn exchange(channel: &Channel, ask: &SupervisorAsk) -> io::Result<Option<SupervisorTell>> {
    channel.send(&encode(ask), &[]).await?;
    match channel.receive().await? {
        Some(packet) => Ok(Some(decode(&packet.bytes)?.0)),
        None => Ok(None),
    }
}

/// Starts a supervisor and waits until it says how that went. It gets nothing of our environment, which may hold keys.
fn spawn(config: &Config, executable: &Path, failpoint: Option<&str>) -> io::Result<Started> {
    let is_new = !config.dir.exists();
    std::fs::create_dir_all(&config.dir)?;
    let log_path = config.dir.join("supervisor.log");
    let log = File::options().append(true).create(true).open(&log_path)?;
    let mut command = Command::new(executable);
    command
        .arg0(SUPERVISOR)
        .arg(cgroup_name(&config.dir))
        .env_clear()
        .env(CONFIG_VARIABLE, serde_json::to_string(config)?)
        .envs(failpoint.map(|failpoint| ("TENURE_FAILPOINT", failpoint)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    let output = command.output()?;
    let started = serde_json::from_slice(&output.stdout);
    if matches!(started, Ok(Started::Failed(_))) && std::fs::metadata(&log_path).is_ok_and(|log| log.len() == 0) {
        let _ = std::fs::remove_file(&log_path);
        // It goes only if nothing else was made in it.
        if is_new {
            let _ = std::fs::remove_dir(&config.dir);
        }
    }
    started.map_err(|_| {
        io::Error::other(format!(
            "{} did not become one ({}): its `main` must begin with `tenure_sandbox::dispatch`",
            executable.display(),
            output.status
        ))
    })
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused { cause, fix } => Self::Refused { cause, fix },
            Failure::Unenforceable { what, cause } => Self::Unenforceable { what: what.name(), cause },
            Failure::Failed { doing, cause } => Self::Failed { doing, source: io::Error::other(cause) },
        }
    }
}
