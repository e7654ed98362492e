//! A program that tries to get out of the sandbox it runs in, for the tests of this crate.
//!
//! It does nothing that outlasts it: what it opens is not written to, and what it acts upon was made for the purpose by the
//! suite that runs it (`tenure-escape-suite`).
//!
//!   tenure-escape list              every case with its probes, as JSON
//!   tenure-escape try PROBE INPUT   makes one attempt and says as JSON what came of it

mod calls;
mod case;
mod cases;
mod devices;
mod foreign;
mod kernel;
mod mounts;
mod namespaces;
mod network;
mod processes;

use std::io::Write;

use case::{Input, Outcome};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let said = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["list"] => serde_json::to_string(cases::CASES),
        ["try", name, input] => serde_json::to_string(&attempt(name, input)),
        ["listen", port] => network::listen(port),
        ["linger", _] => processes::linger(),
        ["whoami"] => devices::whoami(),
        other => {
            let _ = writeln!(std::io::stderr(), "expected `list` or `try PROBE INPUT`, got {other:?}");
            std::process::exit(2);
        }
    };
    let _ = writeln!(std::io::stdout(), "{}", said.expect("it can be said as JSON"));
}

fn attempt(name: &str, input: &str) -> Outcome {
    let input: Input = match serde_json::from_str(input) {
        Ok(input) => input,
        Err(error) => return Outcome::Broken(format!("the input can't be read: {error}")),
    };
    let mut probes = cases::CASES.iter().flat_map(|case| case.probes);
    match probes.find(|probe| probe.name == name) {
        Some(probe) => (probe.run)(&input),
        None => Outcome::Broken(format!("no probe is called {name}")),
    }
}
