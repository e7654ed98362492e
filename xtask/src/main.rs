//! The project's own chores: `cargo xtask <chore>`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool prints")]

mod facts;
mod repo;
mod test;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};

use repo::Repo;

const USAGE: &str = "\
usage: cargo xtask <chore>

  tidy             checks sizes, crate walls, words, fixtures, and that generated pages are up to date
  facts [--write]  prints docs/facts.md, or writes it
  test [FILTER]    builds every test, runs each as a process of its own, names the ten slowest
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    let repo = Repo::find()?;
    match arguments {
        ["tidy"] => tidy::run(&repo),
        ["facts"] => {
            print!("{}", facts::page(&repo)?);
            Ok(())
        }
        ["facts", "--write"] => repo.write(facts::PATH, &facts::page(&repo)?),
        ["test"] => test::run(&repo, None),
        ["test", filter] => test::run(&repo, Some(filter)),
        _ => bail!("expected a chore, got `{}`\n\n{USAGE}", arguments.join(" ")),
    }
}
