//! The tool itself: what it takes, and what it gives.

use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use reqwest::Url;
use rustls::ClientConfig;
use serde_json::Value;
use tenure_core::model::ToolSpec;

use super::address::Opened;
use super::fetch::{Refusal, fetch, parse};
use super::page::{Page, page};
use super::resolve::Lookup;
use crate::input::{self, Field, Input, Kind};
use crate::spill::MOST_CHARS;
use crate::{HostedCtx, HostedTool, ToolContent, ToolError, ToolResult};

const NAME: &str = "web_fetch";
const FIELDS: &[Field] = &[Field {
    name: "url",
    kind: Kind::Text,
    required: true,
    description: "The whole address of the page, with https:// or http://.",
}];

/// A token is about so many characters.
const CHARS_PER_TOKEN: usize = 4;

/// How pages are fetched.
#[derive(Debug, Clone)]
pub struct WebFetchConfig {
    /// Addresses of private networks that are reached all the same.
    pub opened: Vec<Opened>,
    /// How TLS connections are made.
    pub tls: ClientConfig,
    /// How names become addresses.
    pub lookup: Arc<dyn Lookup>,
    /// The limits.
    pub limits: FetchLimits,
}

/// Limits of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// How long a connection may take. Default: 10 s.
    pub connect: Duration,
    /// How long all of it may take, redirects included. Default: 30 s.
    pub whole: Duration,
    /// How much of a page is read, packed and unpacked. Default: 10 MiB.
    pub body_bytes: usize,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), whole: Duration::from_secs(30), body_bytes: 10 << 20 }
    }
}

/// The tool.
#[derive(Debug)]
pub struct WebFetch {
    config: WebFetchConfig,
}

impl WebFetch {
    /// The tool, with these choices of the operator's.
    pub fn new(config: WebFetchConfig) -> Self {
        Self { config }
    }

    async fn read(&self, ctx: &HostedCtx, given: &str) -> Result<ToolResult, Refusal> {
        let url = parse(given)?;
        if ctx.shown_urls.as_ref().is_some_and(|shown| !is_shown(&url, shown)) {
            let reason = "this agent may only fetch addresses that the conversation has shown".to_owned();
            return Err(Refusal { code: "url_not_in_prior_context", reason });
        }
        let asked = url.clone();
        let fetching = fetch(&self.config, url, &ctx.web_fetch);
        let fetched = match tokio::time::timeout(self.config.limits.whole, fetching).await {
            Ok(fetched) => fetched?,
            Err(_) => {
                let (code, span) = ("url_not_accessible", self.config.limits.whole.as_secs());
                return Err(Refusal { code, reason: format!("it took longer than {span} s") });
            }
        };
        let url = fetched.url.clone();
        // A large page takes the processor for a while.
        let page = tokio::task::spawn_blocking(move || page(fetched)).await.unwrap_or_else(|_| {
            Err(Refusal { code: "unavailable", reason: "the page can't be put into words".to_owned() })
        })?;
        Ok(told(&asked, &url, page, ctx.web_fetch.max_content_tokens))
    }
}

impl HostedTool for WebFetch {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: NAME.to_owned(),
            description: "Reads a page of the public web: HTML as Markdown, text and JSON as they are, PDF as a document. \
                          Redirects are followed; the answer begins with the address it came from in the end. Nothing is \
                          run, nobody is logged in, and private networks are not reached. Of a long page the beginning."
                .to_owned(),
            input_schema: input::schema(FIELDS),
        }
    }

    fn run(&self, ctx: HostedCtx, input: Value) -> BoxFuture<'_, Result<ToolResult, ToolError>> {
        Box::pin(async move {
            let input = Input::check(NAME, FIELDS, input).map_err(ToolError::Model)?;
            match self.read(&ctx, input.required_text("url")).await {
                Ok(result) => Ok(result),
                Err(Refusal { code, reason }) => Ok(ToolResult::error(format!("{code}: {reason}"))),
            }
        })
    }
}

/// Whether the address is one of these, as they stand in a text: with what may follow them there.
fn is_shown(url: &Url, shown: &[String]) -> bool {
    shown.iter().any(|candidate| {
        let mut text = candidate.as_str();
        loop {
            if parse(text).is_ok_and(|shown| shown == *url) {
                return true;
            }
            match text.strip_suffix(['.', ',', ';', ':', '!', '?', ')', ']', '}', '*', '_', '\'']) {
                Some(shorter) => text = shorter,
                None => return false,
            }
        }
    })
}

/// What the model reads.
fn told(asked: &Url, url: &Url, page: Page, max_tokens: Option<u32>) -> ToolResult {
    let mut head = format!("URL: {url}\n");
    if url != asked {
        head = format!("URL: {url} (redirected from {asked})\n");
    }
    match page {
        Page::Pdf(bytes) => ToolResult {
            content: vec![
                ToolContent::Text(format!("{head}A PDF of {} bytes:", bytes.len())),
                ToolContent::Document { media_type: "application/pdf".to_owned(), bytes },
            ],
            is_error: false,
        },
        Page::Text { title, text, cut } => {
            if let Some(title) = title {
                head += &format!("Title: {title}\n");
            }
            let most = max_tokens.map_or(MOST_CHARS, |tokens| (tokens as usize).saturating_mul(CHARS_PER_TOKEN));
            let most = most.min(MOST_CHARS);
            let end = text.char_indices().nth(most).map(|(at, _)| at);
            let all = text.chars().count();
            let rest = match (end, cut) {
                (None, false) if text.is_empty() => "\n(the page holds no text)".to_owned(),
                (None, false) => format!("\n{text}"),
                (None, true) => format!("\n{text}\n\n[… the page goes on; no more of it was read]"),
                (Some(end), _) => {
                    let more = if cut { "more than " } else { "" };
                    format!("\n{}\n\n[… cut here, after {most} of {more}{all} characters]", &text[..end])
                }
            };
            ToolResult::text(head + &rest)
        }
    }
}
