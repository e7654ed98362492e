//! Runs `tenure-escape`, the program that tries to get out, inside of sandboxes, and prints what came of each attempt.
//!
//! Each attempt must fail. So that this means something, each is also made in sandboxes that lack fences: it must get out
//! of one that lacks all that are named for it, and of none that has but one of them.
//!
//!   tenure-escape-suite            Tenure's own sandboxes; ends with 1 unless no attempt got out and every control did.
//!                                  Run by an ordinary user, they are an ordinary user's
//!   tenure-escape-suite given 1234 100000
//!                                  the same of the ordinary user 1234, whose subordinate ids begin with 100000; as root
//!   tenure-escape-suite bwrap      for comparison, where it is installed
//!   tenure-escape-suite runc       likewise
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool prints")]

mod case;
mod native;
mod peers;
mod stage;
mod table;

use std::process::ExitCode;

use anyhow::Result;

use crate::case::Whose;

fn main() -> ExitCode {
    tenure_sandbox::dispatch(&[]);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|number| number.parse().ok());
    let what = match (arguments.first().map_or("native", String::as_str), number(1), number(2)) {
        ("given", Some(user), Some(first)) => {
            case::Given { user, first }.settle();
            "native".to_owned()
        }
        (what, _, _) => what.to_owned(),
    };
    let ended = stage::on_a_stage_of_our_own(move || match run(&what) {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(error) => {
            eprintln!("tenure-escape-suite: {error:#}");
            1
        }
    });
    ended.unwrap_or_else(|error| {
        eprintln!("tenure-escape-suite: a place for it can't be made: {error}");
        ExitCode::FAILURE
    })
}

fn run(what: &str) -> Result<bool> {
    let (cases, whose) = (case::all()?, case::whose());
    let stage = stage::Stage::set()?;
    let rows = match what {
        "native" => native::run(&cases, &stage)?,
        "bwrap" | "runc" if matches!(whose, Whose::Root) => peers::run(what, &cases, &stage)?,
        "bwrap" | "runc" => anyhow::bail!("{what} is compared as root"),
        other => anyhow::bail!("expected `bwrap`, `runc`, `given` with two numbers or nothing, got `{other}`"),
    };
    let who = match whose {
        Whose::Root => "",
        Whose::One => ", as an ordinary user",
        Whose::Given(_) => ", as an ordinary user with subordinate ids",
    };
    Ok(table::print(what, who, &cases, &rows))
}
