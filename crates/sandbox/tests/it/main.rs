//! Tests of the sandbox as a whole: real processes, real namespaces, real files.

mod conformance;
mod host;
