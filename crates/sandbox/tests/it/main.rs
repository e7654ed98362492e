//! Tests of the sandbox as a whole: real processes, real namespaces, real files.

mod bombs;
mod conformance;
mod crash;
mod disk;
mod escape;
mod fences;
mod files;
mod given;
mod histories;
mod host;
mod kills;
mod launch;
mod limits;
mod packages;
mod pool;
mod record;
mod refusal;
mod roots;
mod servers;
mod shelf;
mod shell;
mod snapshots;
mod tree;
mod upkeep;
