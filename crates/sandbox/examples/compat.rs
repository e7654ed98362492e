//! Whether this program works with the sandbox processes of an earlier one: `compat <earlier guest> <this guest>`, run by
//! `scripts/compat`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use tenure_core::id::{ItemId, SessionId};
use tenure_sandbox::{Backend, CallEnd, Native, NativeConfig, Order, Sandbox, Spec, Work};

type Failed = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]
async fn main() -> ExitCode {
    let [earlier, this] =
        match <[PathBuf; 2]>::try_from(std::env::args_os().skip(1).map(PathBuf::from).collect::<Vec<_>>()) {
            Ok(guests) => guests,
            Err(_) => {
                eprintln!("compat: expected two guests: the earlier one's path and this one's");
                return ExitCode::from(2);
            }
        };
    for (what, outcome) in [
        ("a new server takes up a call that runs under an earlier supervisor", newer_server(&earlier, &this).await),
        ("an earlier server makes and ends sandboxes under a new supervisor", newer_supervisor(&earlier, &this).await),
    ] {
        match outcome {
            Ok(()) => println!("compat: {what}: yes"),
            Err(error) => {
                eprintln!("compat: {what}: no: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

async fn newer_server(earlier: &Path, this: &Path) -> Result<(), Failed> {
    let dir = Dir::new()?;
    let running = RunningCall::start(&dir.backend(earlier)).await?;
    let backend = dir.backend(this);
    expect(backend.alive().await? == [session()], "it is seen to be alive")?;
    let opened = backend.open(Spec::new(session())).await?;
    expect(!opened.fresh, "it is attached to")?;
    running.finish(&opened.sandbox).await?;
    opened.sandbox.stop(std::time::Duration::ZERO).await?;
    dir.leave(&backend).await
}

async fn newer_supervisor(earlier: &Path, this: &Path) -> Result<(), Failed> {
    let dir = Dir::new()?;
    let running = RunningCall::start(&dir.backend(this)).await?;
    // It makes a sandbox of its own, runs a call in it, and ends it.
    let report = Command::new(earlier).arg("report").arg(&dir.0).output()?;
    let report = String::from_utf8_lossy(&report.stdout).into_owned();
    let passes = |what: &str| report.lines().any(|line| line.starts_with(&format!("Pass {what}")));
    expect(passes("a sandbox can be made"), &report)?;
    expect(passes("a sandbox can be removed"), &report)?;
    expect(!report.contains("Fail "), &report)?;
    let backend = dir.backend(this);
    let opened = backend.open(Spec::new(session())).await?;
    expect(!opened.fresh, "the others are left alone")?;
    running.finish(&opened.sandbox).await?;
    dir.leave(&backend).await
}

/// A call that was ordered by a server that is gone.
struct RunningCall;

impl RunningCall {
    fn work() -> Work {
        // The pipe keeps it until something is written to it.
        exec("echo ran >> log; mkfifo go; read -n 1 < go; echo done")
    }

    async fn start(backend: &Arc<Native>) -> Result<Self, Failed> {
        let sandbox = Backend::open(&**backend, Spec::new(session())).await?.sandbox;
        run(&sandbox, 1, Work::Shell { command: "kept=5".to_owned(), restart: false }).await?;
        let ordering = tokio::spawn({
            let sandbox = Arc::clone(&sandbox);
            async move { sandbox.run(Order::new(ItemId::from_bits(2), Self::work()), None).await }
        });
        run(&sandbox, 3, exec("until [ -p go ]; do sleep 0.01; done")).await?;
        ordering.abort();
        Ok(Self)
    }

    async fn finish(self, sandbox: &Arc<dyn Sandbox>) -> Result<(), Failed> {
        let released = run(sandbox, 4, exec("echo > go"));
        let mut order = Order::new(ItemId::from_bits(2), Self::work());
        order.asked_at = Some(std::time::SystemTime::now());
        let (released, end) = tokio::join!(released, sandbox.run(order, None));
        released?;
        expect(matches!(&end?, CallEnd::Exited(exit) if exit.stdout == b"done\n"), "its result is taken up")?;
        let kept = Work::Shell { command: "echo $kept; cat log".to_owned(), restart: false };
        let seen = run(sandbox, 5, kept).await?;
        expect(seen == "5\nran\n", &format!("the shell lives and the call ran once: {seen}"))?;
        sandbox.acknowledge(ItemId::from_bits(2)).await?;
        Ok(())
    }
}

struct Dir(PathBuf);

impl Dir {
    fn new() -> Result<Self, Failed> {
        let dir = tempfile::tempdir()?;
        Ok(Self(dir.keep()))
    }

    fn backend(&self, guest: &Path) -> Arc<Native> {
        let mut config = NativeConfig::new(&self.0);
        config.executable = Some(guest.to_owned());
        Arc::new(Native::new(config))
    }

    async fn leave(self, backend: &Arc<Native>) -> Result<(), Failed> {
        backend.destroy(session()).await?;
        backend.shutdown().await?;
        let left = backend.leftovers(&[]).await?;
        let ours = |left: &&tenure_sandbox::Leftover| {
            let text = left.to_string();
            !text.starts_with("cgroup") || text.contains(&tenure_sandbox::native::cgroup_name(&self.0))
        };
        expect(left.iter().all(|left| !ours(&left)), &format!("nothing is left: {left:?}"))?;
        Ok(std::fs::remove_dir_all(&self.0)?)
    }
}

fn session() -> SessionId {
    SessionId::from_bits(1)
}

fn exec(script: &str) -> Work {
    let argv = ["bash", "-c", script].map(str::to_owned).to_vec();
    Work::Exec { argv, env: Vec::new(), cwd: "/workspace".to_owned(), stdin: Vec::new() }
}

async fn run(sandbox: &Arc<dyn Sandbox>, n: u128, work: Work) -> Result<String, Failed> {
    match sandbox.run(Order::new(ItemId::from_bits(n), work), None).await? {
        CallEnd::Exited(exit) => Ok(String::from_utf8_lossy(&exit.stdout).into_owned()),
        CallEnd::Interrupted { reason } => Err(reason.into()),
    }
}

fn expect(holds: bool, what: &str) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(format!("expected that {what}").into()) }
}
