//! Clients of language models behind one trait with one streaming method.
//!
//! [`Models`] routes a model's name to a [`ModelProvider`]: `claude-…` to Anthropic's Messages API, `openai/<model>` to
//! any server of OpenAI's chat completions (OpenAI, Ollama, vLLM, llama.cpp), `script/<name>` to a file that is played
//! back. Requests, replies and failures are the neutral ones of [`tenure_core::model`].
//!
//! Invariant: this crate knows no session, no store and no HTTP server. It never logs a key or what anybody said.

#![warn(missing_docs)]

mod models;
mod provider;
mod secret;
mod table;

mod providers;

mod draft;
mod http;
mod sse;
mod tls;

pub use models::{Endpoint, InvalidSetting, Models, Settings, check, reply_tokens, takes_instructions};
pub use provider::{Event, ModelInfo, ModelProvider};
pub use secret::Secret;
pub use table::{ListPrice, ModelEntry, ModelTable};
pub use tls::{install_tls, tls_config};
