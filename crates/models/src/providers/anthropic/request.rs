//! A neutral request in the wire form of `POST /v1/messages`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::Value;
use tenure_core::content::{Block, Source};
use tenure_core::model::{Effort, Failure, Message, ModelConfig, Part, Request, Role, Speed};

use super::catalog::{self, Traits};
use crate::providers::{attachment, cannot_show, document_text};

#[derive(Serialize)]
pub(super) struct Body<'r> {
    model: &'r str,
    max_tokens: u32,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inference_geo: Option<&'r str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<[Marked<'r>; 1]>,
    messages: Vec<WireMessage<'r>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Thinking {
    Adaptive { display: &'static str },
    Enabled { budget_tokens: u32 },
}

#[derive(Serialize)]
struct OutputConfig {
    effort: Effort,
}

#[derive(Serialize)]
struct Tool<'r> {
    name: &'r str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'r str,
    input_schema: &'r Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Serialize)]
struct WireMessage<'r> {
    role: WireRole,
    content: Vec<Marked<'r>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum WireRole {
    User,
    Assistant,
    System,
}

impl From<Role> for WireRole {
    fn from(role: Role) -> Self {
        match role {
            Role::User => Self::User,
            Role::Assistant => Self::Assistant,
        }
    }
}

/// A block, perhaps with a mark up to which the provider keeps what it has read.
#[derive(Serialize)]
struct Marked<'r> {
    #[serde(flatten)]
    block: WireBlock<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum CacheControl {
    Ephemeral,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WireBlock<'r> {
    Text {
        text: Cow<'r, str>,
    },
    Image {
        source: WireSource<'r>,
    },
    Document {
        source: WireSource<'r>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'r str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        context: Option<&'r str>,
    },
    SearchResult {
        source: &'r str,
        title: &'r str,
        content: Vec<WireBlock<'r>>,
        citations: Citations,
    },
    Thinking {
        thinking: &'r str,
        signature: &'r str,
    },
    RedactedThinking {
        data: &'r str,
    },
    ToolUse {
        id: String,
        name: &'r str,
        input: &'r Value,
    },
    ToolResult {
        tool_use_id: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<WireBlock<'r>>,
        is_error: bool,
    },
}

#[derive(Serialize)]
struct Citations {
    enabled: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WireSource<'r> {
    Base64 { media_type: &'r str, data: String },
    Url { url: &'r str },
    Text { media_type: &'static str, data: Cow<'r, str> },
}

impl<'r> Body<'r> {
    pub(super) fn new(request: &'r Request) -> Result<Self, Failure> {
        let config = &request.model;
        let traits = Traits::of(&config.id);
        let max_tokens = config.max_tokens.unwrap_or_else(|| traits.default_max_tokens());
        let mut messages = Vec::with_capacity(request.messages.len());
        for message in &request.messages {
            let content = content(request, message)?;
            if !content.is_empty() {
                messages.push(WireMessage { role: message.role.into(), content });
            }
            let instructions = instructions(message);
            if !instructions.is_empty() {
                messages.push(WireMessage { role: WireRole::System, content: instructions });
            }
        }
        let mut body = Self {
            model: &config.id,
            max_tokens,
            stream: true,
            thinking: thinking(config, traits, max_tokens),
            output_config: config.effort.filter(|_| !traits.efforts.is_empty()).map(|effort| OutputConfig { effort }),
            temperature: config.temperature,
            speed: (config.speed == Speed::Fast).then_some("fast"),
            inference_geo: config.inference_geo.as_deref(),
            tools: request.tools.iter().map(tool).collect(),
            system: system(request),
            messages,
        };
        body.mark_for_the_cache();
        Ok(body)
    }

    /// Puts the marks up to which the provider may keep what it has read, of which it allows four: behind the fixed
    /// beginning (tools come before the system prompt), behind this request's end, and behind the last request's end,
    /// since a mark is found again only within twenty blocks and one turn's calls can be more.
    fn mark_for_the_cache(&mut self) {
        let mark = Some(CacheControl::Ephemeral);
        if let Some([system]) = &mut self.system {
            system.cache_control = mark;
        } else if let Some(tool) = self.tools.last_mut() {
            tool.cache_control = mark;
        }
        let users = self.messages.iter_mut().rev().filter(|message| message.role == WireRole::User);
        for block in users.take(2).filter_map(|message| message.content.last_mut()) {
            block.cache_control = mark;
        }
    }
}

/// Thinking is asked for wherever a model decides itself how much, with its text: newer models leave the text out by
/// default. Older ones think only when an effort is set, within a budget. Thinking and a temperature exclude each other.
fn thinking(config: &ModelConfig, traits: Traits, max_tokens: u32) -> Option<Thinking> {
    let cooled = config.temperature.is_some_and(|temperature| temperature != 1.0);
    match traits.thinking {
        catalog::Thinking::Adaptive if cooled && traits.sampling => None,
        catalog::Thinking::Adaptive => Some(Thinking::Adaptive { display: "summarized" }),
        catalog::Thinking::Budget => {
            let budget = match config.effort? {
                Effort::Low => 1_024,
                Effort::Medium => 4_096,
                Effort::High => 16_384,
                Effort::Xhigh | Effort::Max => 24_576,
            };
            // The budget must be at least 1,024 and less than `max_tokens`.
            let budget_tokens = budget.min(max_tokens / 2);
            (budget_tokens >= 1_024 && !cooled).then_some(Thinking::Enabled { budget_tokens })
        }
        catalog::Thinking::No => None,
    }
}

fn tool(tool: &tenure_core::model::ToolSpec) -> Tool<'_> {
    Tool { name: &tool.name, description: &tool.description, input_schema: &tool.input_schema, cache_control: None }
}

fn system(request: &Request) -> Option<[Marked<'_>; 1]> {
    let text = request.system.as_deref().filter(|text| !text.trim().is_empty())?;
    Some([WireBlock::Text { text: text.into() }.into()])
}

/// What whoever runs the agent says within a user's message. The provider takes it only right behind the user's words.
fn instructions(message: &Message) -> Vec<Marked<'_>> {
    let texts = message.parts.iter().filter_map(|part| match part {
        Part::System { text } if !text.trim().is_empty() => Some(WireBlock::Text { text: text.into() }.into()),
        _ => None,
    });
    texts.collect()
}

/// The blocks of a message. Results come first, as the provider demands, and what it refuses is left out: empty text,
/// and thinking without its signature, which is some other provider's.
fn content<'r>(request: &'r Request, message: &'r Message) -> Result<Vec<Marked<'r>>, Failure> {
    let mut results = Vec::new();
    let mut rest = Vec::new();
    for part in &message.parts {
        match part {
            Part::Content { block } => rest.extend(self::block(request, block)?.map(Marked::from)),
            Part::Thinking { text, signature: Some(signature) } => {
                rest.push(WireBlock::Thinking { thinking: text, signature }.into());
            }
            Part::System { .. } | Part::Thinking { signature: None, .. } => {}
            Part::RedactedThinking { data } => rest.push(WireBlock::RedactedThinking { data }.into()),
            Part::ToolUse { call, name, input } => {
                rest.push(WireBlock::ToolUse { id: call.prefixed(), name, input }.into());
            }
            Part::ToolResult { call, content, is_error } => {
                let blocks: Result<Vec<_>, _> =
                    content.iter().filter_map(|block| self::block(request, block).transpose()).collect();
                let tool_use_id = call.prefixed();
                results.push(WireBlock::ToolResult { tool_use_id, content: blocks?, is_error: *is_error }.into());
            }
        }
    }
    results.append(&mut rest);
    Ok(results)
}

fn block<'r>(request: &'r Request, block: &'r Block) -> Result<Option<WireBlock<'r>>, Failure> {
    Ok(Some(match block {
        Block::Text { text } if text.trim().is_empty() => return Ok(None),
        Block::Text { text } => WireBlock::Text { text: text.into() },
        Block::Image { source } => match source {
            Source::Blob { media_type, blob } => WireBlock::Image { source: base64(request, media_type, blob)? },
            Source::Url { url } => WireBlock::Image { source: WireSource::Url { url } },
            Source::Text { .. } => WireBlock::Text { text: cannot_show("picture", source).into() },
        },
        Block::Document { source, title, context } => {
            let wire_source = match (document_text(request, source)?, source) {
                (Some(data), _) if data.trim().is_empty() => {
                    return Ok(Some(WireBlock::Text { text: "[An empty document.]".into() }));
                }
                (Some(data), _) => WireSource::Text { media_type: "text/plain", data },
                (None, Source::Blob { media_type, blob }) if media_type == "application/pdf" => {
                    base64(request, media_type, blob)?
                }
                (None, Source::Url { url }) => WireSource::Url { url },
                (None, _) => return Ok(Some(WireBlock::Text { text: cannot_show("document", source).into() })),
            };
            WireBlock::Document { source: wire_source, title: title.as_deref(), context: context.as_deref() }
        }
        Block::SearchResult { source, title, content, citations } => {
            let passages = content.iter().filter(|text| !text.trim().is_empty());
            WireBlock::SearchResult {
                source,
                title,
                content: passages.map(|text| WireBlock::Text { text: text.into() }).collect(),
                citations: Citations { enabled: *citations },
            }
        }
    }))
}

fn base64<'r>(
    request: &'r Request,
    media_type: &'r str,
    blob: &'r tenure_core::content::BlobId,
) -> Result<WireSource<'r>, Failure> {
    Ok(WireSource::Base64 { media_type, data: BASE64.encode(attachment(request, blob)?) })
}

impl<'r> From<WireBlock<'r>> for Marked<'r> {
    fn from(block: WireBlock<'r>) -> Self {
        Self { block, cache_control: None }
    }
}
