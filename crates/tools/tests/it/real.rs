//! The tools in the real sandbox.
