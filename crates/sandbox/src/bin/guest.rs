//! An executable that does little but play the sandbox roles, for the tests of this crate.

use std::io::Write;

use tenure_sandbox::{Op, dispatch};

const OPS: &[Op] = &[
    Op { name: "echo", run: echo },
    Op { name: "panic", run: |_, _| panic!("as asked") },
    Op { name: "hog", run: hog },
];

fn main() {
    dispatch(OPS);
    // For the control of the escape suite: the same attempts, made outside of any sandbox.
    if std::env::args().nth(1).as_deref() == Some("probe-here") {
        tenure_sandbox::native::probe_here(&mut std::io::stdout());
    }
}

fn echo(input: &[u8], out: &mut dyn Write) -> i32 {
    match out.write_all(input) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// Takes memory until there is none.
fn hog(_: &[u8], _: &mut dyn Write) -> i32 {
    let mut all = Vec::new();
    loop {
        all.push(vec![1u8; 1 << 20]);
        if all.len() > 1 << 20 {
            return 0;
        }
    }
}
