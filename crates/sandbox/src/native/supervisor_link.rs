use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::OnceCell;

use super::channel::{Channel, nobody_listens};
use super::{cgroup_name, epoch};
use crate::Error;
use crate::dispatch::SUPERVISOR;
use crate::supervisor::{CONFIG_VARIABLE, Config, Failure, Started};
use crate::wire::{Greeting, SupervisorAsk, SupervisorTell, Versions, decode, encode};

const SOCKET: &str = "supervisor.sock";

/// How often to try to reach a supervisor that another process has just started.
const ATTEMPTS: u32 = 400;
const ATTEMPT_AGAIN: Duration = Duration::from_millis(5);

/// How often a supervisor may die before it has said anything: of a signal, or because it isn't one at all.
const MOST_DEATHS: u32 = 3;

/// How many supervisors may die of one question.
const MOST_STARTS: u32 = 4;

/// How many connections are kept for later questions.
const MOST_IDLE: usize = 16;

/// The server's connections to the supervisor. While one is open, the supervisor lives.
#[derive(Debug)]
pub(crate) struct SupervisorLink {
    config: Config,
    executable: PathBuf,
    for_tests: ForTests,
    idle: Mutex<Vec<Connection>>,
    starting: tokio::sync::Mutex<()>,
    /// Taken when this server first orders anything.
    epoch: OnceCell<u64>,
    versions: Versions,
}

/// What only test builds heed.
#[derive(Debug, Clone, Default)]
pub(crate) struct ForTests {
    pub(crate) failpoint: Option<String>,
    pub(crate) versions: Option<String>,
}

/// A connection on which nobody waits for an answer.
#[derive(Debug)]
struct Connection {
    channel: Channel,
    greeting: Greeting,
    /// Whether the supervisor knows this server's epoch, and so takes orders.
    may_order: bool,
}

/// What connecting to a supervisor leads to.
#[derive(Debug)]
enum Reached {
    Nobody,
    Ready(Connection),
    /// One of a version that this program doesn't speak.
    Stranger(Connection),
}

/// What came of a question.
#[derive(Debug)]
enum Asked {
    Answered(SupervisorTell),
    Nobody,
    Stranger(Connection),
}

impl SupervisorLink {
    pub(crate) fn new(config: Config, executable: PathBuf, for_tests: ForTests) -> Self {
        let (idle, starting, epoch) = (Mutex::default(), tokio::sync::Mutex::default(), OnceCell::new());
        #[cfg(feature = "failpoints")]
        let versions = for_tests.versions.as_deref().and_then(Versions::parse).unwrap_or(Versions::OURS);
        #[cfg(not(feature = "failpoints"))]
        let versions = Versions::OURS;
        Self { config, executable, for_tests, idle, starting, epoch, versions }
    }

    /// What this server speaks.
    pub(crate) fn versions(&self) -> Versions {
        self.versions
    }

    /// This server's number, once it has ordered anything.
    pub(crate) fn epoch(&self) -> Option<u64> {
        self.epoch.get().copied()
    }

    /// Asks the supervisor, which is started if none runs. One of another version is replaced when it is idle.
    pub(crate) async fn ask(&self, ask: &SupervisorAsk) -> Result<SupervisorTell, Error> {
        let mut starts = 0;
        loop {
            match self.try_ask(ask).await? {
                Asked::Answered(answer) => return Ok(answer),
                Asked::Nobody if starts == MOST_STARTS => {
                    let cause = io::Error::other("it died of it, and so did those that were started in its place");
                    return Err(Error::failed("asking the sandbox supervisor")(cause));
                }
                Asked::Nobody => {
                    starts += 1;
                    self.start().await?;
                }
                Asked::Stranger(stranger) => self.drain(stranger).await?,
            }
        }
    }

    /// Asks the supervisor, if one runs. One of another version has nothing that we could use; if something is to be
    /// ended, it is waited for until it has ended all.
    pub(crate) async fn ask_if_running(&self, ask: &SupervisorAsk) -> Result<Option<SupervisorTell>, Error> {
        match self.try_ask(ask).await? {
            Asked::Answered(answer) => Ok(Some(answer)),
            Asked::Nobody => Ok(None),
            Asked::Stranger(stranger) => {
                if is_order(ask) {
                    self.drain(stranger).await?;
                }
                Ok(None)
            }
        }
    }

    async fn try_ask(&self, ask: &SupervisorAsk) -> Result<Asked, Error> {
        let failed = |error| Error::failed("asking the sandbox supervisor")(error);
        loop {
            let kept = self.idle.lock().expect("no holder panics").pop();
            let was_kept = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => match self.connect(is_order(ask)).await? {
                    Reached::Ready(connection) => connection,
                    Reached::Nobody => return Ok(Asked::Nobody),
                    Reached::Stranger(stranger) => return Ok(Asked::Stranger(stranger)),
                },
            };
            let spoken = self.versions.agree(connection.greeting).unwrap_or(0);
            if spoken < ask.since() {
                let cause = format!(
                    "the running supervisor is of an earlier version ({spoken}) that doesn't know this: it ends when no sandbox is \
                     needed any more, or with `tenure down`"
                );
                return Err(failed(io::Error::other(cause)));
            }
            let answer = match self.ask_on(&mut connection, ask).await {
                // The supervisor that was there has gone since; every question can be asked of the next one.
                Ok(None) | Err(_) if was_kept => continue,
                answer => answer.map_err(failed)?,
            };
            match answer {
                Some(SupervisorTell::Superseded { epoch }) => return Err(self.superseded(epoch)),
                Some(answer) => {
                    let mut idle = self.idle.lock().expect("no holder panics");
                    if idle.len() < MOST_IDLE {
                        idle.push(connection);
                    }
                    return Ok(Asked::Answered(answer));
                }
                None => return Ok(Asked::Nobody),
            }
        }
    }

    async fn ask_on(&self, connection: &mut Connection, ask: &SupervisorAsk) -> io::Result<Option<SupervisorTell>> {
        if is_order(ask) && !connection.may_order {
            match exchange(&connection.channel, &SupervisorAsk::Hello(self.greeting(true).await?)).await? {
                Some(SupervisorTell::Hello(_)) => connection.may_order = true,
                other => return Ok(other),
            }
        }
        exchange(&connection.channel, ask).await
    }

    fn superseded(&self, by: u64) -> Error {
        Error::Superseded { by, ours: self.epoch().unwrap_or(0) }
    }

    /// The supervisor's process, if one runs.
    pub(crate) async fn pid(&self) -> Result<Option<u32>, Error> {
        Ok(match self.connect(false).await? {
            Reached::Nobody => None,
            Reached::Ready(connection) | Reached::Stranger(connection) => Some(connection.greeting.pid),
        })
    }

    /// Has the supervisor, of whichever version, end everything and itself, and waits until it has.
    pub(crate) async fn shut_down(&self) -> Result<(), Error> {
        let failed = |error| Error::failed("waiting for the sandbox supervisor to end")(error);
        let connection = match self.connect(false).await? {
            Reached::Nobody => return Ok(()),
            Reached::Ready(connection) | Reached::Stranger(connection) => connection,
        };
        let pid = Pid::from_raw(connection.greeting.pid as i32);
        let process = match pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
            Some(Ok(process)) => process,
            None | Some(Err(rustix::io::Errno::SRCH)) => return Ok(()),
            Some(Err(error)) => return Err(failed(error.into())),
        };
        // If it doesn't hear this, it is just ending.
        let _ = connection.channel.send(&encode(&SupervisorAsk::Shutdown), &[]).await;
        self.idle.lock().expect("no holder panics").clear();
        let ended = tokio::task::spawn_blocking(move || {
            let mut process = [PollFd::new(&process, PollFlags::IN)];
            rustix::io::retry_on_intr(|| poll(&mut process, None))
        });
        ended.await.map_err(io::Error::other).and_then(|polled| Ok(polled?)).map(drop).map_err(failed)
    }

    async fn connect(&self, to_order: bool) -> Result<Reached, Error> {
        let failed = |error| Error::failed("connecting to the sandbox supervisor")(error);
        let channel = match Channel::connect(&self.config.dir, SOCKET).await {
            Ok(channel) => channel,
            Err(error) if nobody_listens(&error) => return Ok(Reached::Nobody),
            Err(error) => return Err(failed(error)),
        };
        let ours = self.greeting(to_order).await.map_err(failed)?;
        match exchange(&channel, &SupervisorAsk::Hello(ours)).await {
            Ok(Some(SupervisorTell::Hello(greeting))) => {
                let connection = Connection { channel, greeting, may_order: ours.epoch.is_some() };
                Ok(match self.versions.agree(greeting) {
                    Some(_) => Reached::Ready(connection),
                    None => Reached::Stranger(connection),
                })
            }
            Ok(Some(SupervisorTell::Superseded { epoch })) => Err(self.superseded(epoch)),
            Ok(Some(_)) => Err(failed(io::Error::other("it did not greet"))),
            // It was just ending.
            Ok(None) | Err(_) => Ok(Reached::Nobody),
        }
    }

    /// The directory must be there.
    async fn greeting(&self, to_order: bool) -> io::Result<Greeting> {
        let epoch = match to_order {
            true => Some(*self.epoch.get_or_try_init(|| self.take_epoch()).await?),
            false => None,
        };
        Ok(Greeting { epoch, ..self.versions.greeting() })
    }

    async fn take_epoch(&self) -> io::Result<u64> {
        let dir = self.config.dir.clone();
        tokio::task::spawn_blocking(move || epoch::raise(&dir)).await.map_err(io::Error::other)?
    }

    async fn start(&self) -> Result<(), Error> {
        let _starting = self.starting.lock().await;
        let mut deaths = 0;
        for _ in 0..ATTEMPTS {
            match self.connect(true).await? {
                Reached::Ready(connection) => {
                    self.idle.lock().expect("no holder panics").push(connection);
                    return Ok(());
                }
                Reached::Stranger(stranger) => self.drain(stranger).await?,
                Reached::Nobody => {}
            }
            let (config, executable, for_tests) =
                (self.config.clone(), self.executable.clone(), self.for_tests.clone());
            let started = tokio::task::spawn_blocking(move || spawn(&config, &executable, &for_tests));
            match started
                .await
                .map_err(io::Error::other)
                .flatten()
                .map_err(Error::failed("starting the sandbox supervisor"))?
            {
                Started::Ready => {}
                Started::Died if deaths < MOST_DEATHS => deaths += 1,
                Started::Died => {
                    let executable = self.executable.display();
                    let cause = format!(
                        "{executable} did not become one: its `main` must begin with `tenure_sandbox::dispatch`"
                    );
                    return Err(Error::failed("starting the sandbox supervisor")(io::Error::other(cause)));
                }
                // Of another process, and not yet listening; or one that is just ending.
                Started::Taken => tokio::time::sleep(ATTEMPT_AGAIN).await,
                Started::Failed(failure) => return Err(failure.into()),
            }
        }
        Err(Error::failed("starting the sandbox supervisor")(io::Error::other(
            "another one holds the directory and doesn't answer",
        )))
    }

    /// Has a supervisor whose version we don't speak end each sandbox once no call runs in it, and waits until it is gone. Its
    /// calls come to their ends, and their journals say so.
    async fn drain(&self, Connection { channel, greeting, .. }: Connection) -> Result<(), Error> {
        let Versions { min: ours_min, max: ours_max } = self.versions;
        if greeting.max < FIRST_TO_DRAIN {
            let (theirs_min, theirs_max) = (greeting.min, greeting.max);
            return Err(Error::Incompatible { theirs_min, theirs_max, ours_min, ours_max });
        }
        tracing::warn!(
            supervisor = greeting.pid,
            "the running sandboxes are of another version of Tenure: each ends when its call has ended, then new ones are made"
        );
        if channel.send(&encode(&SupervisorAsk::Drain), &[]).await.is_ok() {
            while let Ok(Some(_)) = channel.receive().await {}
        }
        Ok(())
    }
}

/// Whether this is for the server that has the directory alone; others only look, or end everything.
fn is_order(ask: &SupervisorAsk) -> bool {
    match ask {
        SupervisorAsk::Open { .. }
        | SupervisorAsk::End { .. }
        | SupervisorAsk::Snapshot { .. }
        | SupervisorAsk::Fork { .. }
        | SupervisorAsk::Rewind { .. }
        | SupervisorAsk::Forget { .. }
        | SupervisorAsk::Limit { .. }
        | SupervisorAsk::Build { .. } => true,
        SupervisorAsk::Hello(_)
        | SupervisorAsk::Alive
        | SupervisorAsk::Usage { .. }
        | SupervisorAsk::Shutdown
        | SupervisorAsk::Drain
        | SupervisorAsk::Tidy => false,
    }
}

/// The first version that understands [`SupervisorAsk::Drain`].
const FIRST_TO_DRAIN: u16 = 2;

async fn exchange(channel: &Channel, ask: &SupervisorAsk) -> io::Result<Option<SupervisorTell>> {
    channel.send(&encode(ask), &[]).await?;
    match channel.receive().await? {
        Some(packet) => Ok(Some(decode(&packet.bytes)?.0)),
        None => Ok(None),
    }
}

/// Starts a supervisor and waits until it says how that went. It gets nothing of our environment, which may hold keys.
fn spawn(config: &Config, executable: &Path, for_tests: &ForTests) -> io::Result<Started> {
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
        .envs(for_tests.failpoint.iter().map(|failpoint| ("TENURE_FAILPOINT", failpoint)))
        .envs(for_tests.versions.iter().map(|versions| ("TENURE_SANDBOX_VERSIONS", versions)))
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
    Ok(started.unwrap_or(Started::Died))
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused { cause, fix } => Self::Refused { cause, fix },
            Failure::Unenforceable { what, cause } => Self::Unenforceable { what: what.name(), cause },
            Failure::Failed { doing, cause } => Self::Failed { doing, source: io::Error::other(cause) },
            Failure::Invalid { why } => Self::Invalid(why),
        }
    }
}
