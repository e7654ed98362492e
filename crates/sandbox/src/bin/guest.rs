//! An executable that does nothing but play the sandbox roles, for the tests of this crate.

fn main() {
    tenure_sandbox::dispatch(&[]);
}
