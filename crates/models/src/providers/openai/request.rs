//! A neutral request in the wire form of `POST /chat/completions`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::Value;
use tenure_core::content::{Block, Source};
use tenure_core::model::{Effort, Failure, Message, Part, Request, Role, Speed, ToolSpec};

use super::PREFIX;
use crate::providers::{attachment, cannot_show, document_text};

/// Where servers of the same API differ in what they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// OpenAI itself: newer names for old fields, and PDF files.
    OpenAi,
    /// A hosted server that refuses fields it doesn't know.
    Strict,
    /// Ollama, vLLM, llama.cpp, and whoever follows them.
    Open,
}

impl Dialect {
    pub(super) fn of(host: &str) -> Self {
        let strict = ["api.groq.com", "api.mistral.ai", "api.cerebras.ai"];
        match host {
            "api.openai.com" => Self::OpenAi,
            host if host.ends_with(".openai.azure.com") => Self::OpenAi,
            host if strict.contains(&host) => Self::Strict,
            _ => Self::Open,
        }
    }
}

#[derive(Serialize)]
pub(super) struct Body<'r> {
    model: &'r str,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'r>>,
    messages: Vec<WireMessage<'r>>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", content = "function", rename_all = "snake_case")]
enum Tool<'r> {
    Function { name: &'r str, description: &'r str, parameters: &'r Value },
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
enum WireMessage<'r> {
    System {
        content: Cow<'r, str>,
    },
    User {
        content: Content<'r>,
    },
    Assistant {
        content: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reasoning_content: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall<'r>>,
    },
    Tool {
        tool_call_id: String,
        content: String,
    },
}

/// Plain text where nothing else is said: not every server takes a list.
#[derive(Serialize)]
#[serde(untagged)]
enum Content<'r> {
    Text(String),
    Pieces(Vec<Piece<'r>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Piece<'r> {
    Text { text: Cow<'r, str> },
    ImageUrl { image_url: Url<'r> },
    File { file: File<'r> },
}

#[derive(Serialize)]
struct Url<'r> {
    url: Cow<'r, str>,
}

#[derive(Serialize)]
struct File<'r> {
    filename: &'r str,
    file_data: String,
}

#[derive(Serialize)]
struct ToolCall<'r> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'r>,
}

#[derive(Serialize)]
struct Function<'r> {
    name: &'r str,
    arguments: String,
}

impl<'r> Body<'r> {
    pub(super) fn new(request: &'r Request, dialect: Dialect) -> Result<Self, Failure> {
        let config = &request.model;
        let system = request.system.as_deref().filter(|text| !text.trim().is_empty());
        let mut messages: Vec<_> =
            system.map(|content| WireMessage::System { content: content.into() }).into_iter().collect();
        let turn = request.messages.iter().rposition(|message| is_input(message)).unwrap_or(0);
        for (at, message) in request.messages.iter().enumerate() {
            match message.role {
                // Reasoning is sent back within the turn it belongs to, where DeepSeek demands it and others profit.
                Role::Assistant => messages.extend(assistant(message, at > turn && dialect == Dialect::Open)),
                Role::User => user(request, message, dialect, &mut messages)?,
            }
        }
        let (max_tokens, max_completion_tokens) = match dialect {
            Dialect::OpenAi => (None, config.max_tokens),
            Dialect::Strict | Dialect::Open => (config.max_tokens, None),
        };
        Ok(Self {
            model: config.id.strip_prefix(PREFIX).unwrap_or(&config.id),
            stream: true,
            stream_options: StreamOptions { include_usage: true },
            max_tokens,
            max_completion_tokens,
            temperature: config.temperature,
            reasoning_effort: config.effort.map(|effort| reasoning_effort(effort, dialect)),
            service_tier: (config.speed == Speed::Fast).then_some("priority"),
            tools: request.tools.iter().map(tool).collect(),
            messages,
        })
    }
}

/// The hardest levels are OpenAI's alone; elsewhere the hardest is `high`.
fn reasoning_effort(effort: Effort, dialect: Dialect) -> &'static str {
    match effort {
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Xhigh | Effort::Max if dialect == Dialect::OpenAi => "xhigh",
        Effort::Xhigh | Effort::Max => "high",
    }
}

fn tool(tool: &ToolSpec) -> Tool<'_> {
    Tool::Function { name: &tool.name, description: &tool.description, parameters: &tool.input_schema }
}

/// Whether a message is what somebody said, not only results of tools.
fn is_input(message: &Message) -> bool {
    message.role == Role::User && message.parts.iter().any(|part| matches!(part, Part::Content { .. }))
}

fn assistant(message: &Message, with_reasoning: bool) -> Option<WireMessage<'_>> {
    let (mut text, mut reasoning, mut tool_calls) = (String::new(), String::new(), Vec::new());
    for part in &message.parts {
        match part {
            Part::Content { block } => text.push_str(block.as_text().unwrap_or_default()),
            Part::Thinking { text, .. } => reasoning.push_str(text),
            Part::ToolUse { call, name, input } => {
                let function = Function { name, arguments: input.to_string() };
                tool_calls.push(ToolCall { id: call.prefixed(), kind: "function", function });
            }
            Part::System { .. } | Part::RedactedThinking { .. } | Part::ToolResult { .. } => {}
        }
    }
    let content = (!text.is_empty()).then_some(text);
    if content.is_none() && tool_calls.is_empty() {
        return None;
    }
    let reasoning_content = (with_reasoning && !reasoning.is_empty()).then_some(reasoning);
    Some(WireMessage::Assistant { content, reasoning_content, tool_calls })
}

/// A user's message: first a message for each result, which must follow the calls at once, then what was said. Results
/// can hold only text here, so their pictures are said by the user, with a word on where they come from.
fn user<'r>(
    request: &'r Request,
    message: &'r Message,
    dialect: Dialect,
    messages: &mut Vec<WireMessage<'r>>,
) -> Result<(), Failure> {
    let (mut said, mut instructions) = (Vec::new(), Vec::new());
    for part in &message.parts {
        match part {
            Part::Content { block } => said.push(piece(request, block, dialect)?),
            Part::System { text } => instructions.extend(Some(text.as_str()).filter(|text| !text.trim().is_empty())),
            Part::ToolResult { call, content, is_error } => {
                let (mut texts, mut pictures) = (Vec::new(), Vec::new());
                for block in content {
                    match piece(request, block, dialect)? {
                        Piece::Text { text } => texts.push(text),
                        picture @ (Piece::ImageUrl { .. } | Piece::File { .. }) => pictures.push(picture),
                    }
                }
                let mut content = texts.join("\n\n");
                if !pictures.is_empty() {
                    texts.push("[See what the user shows next.]".into());
                    content = texts.join("\n\n");
                    let text = format!("Shown by the tool call {}:", call.prefixed()).into();
                    said.push(Piece::Text { text });
                    said.append(&mut pictures);
                }
                if *is_error {
                    content.insert_str(0, "Error: ");
                }
                messages.push(WireMessage::Tool { tool_call_id: call.prefixed(), content });
            }
            Part::Thinking { .. } | Part::RedactedThinking { .. } | Part::ToolUse { .. } => {}
        }
    }
    let texts: Option<Vec<&str>> = said.iter().map(Piece::as_text).collect();
    match texts {
        Some(texts) if texts.iter().all(|text| text.is_empty()) => {}
        Some(texts) => messages.push(WireMessage::User { content: Content::Text(texts.join("\n\n")) }),
        None => messages.push(WireMessage::User { content: Content::Pieces(said) }),
    }
    if !instructions.is_empty() {
        messages.push(WireMessage::System { content: instructions.join("\n\n").into() });
    }
    Ok(())
}

fn piece<'r>(request: &'r Request, block: &'r Block, dialect: Dialect) -> Result<Piece<'r>, Failure> {
    Ok(match block {
        Block::Text { text } => Piece::Text { text: text.into() },
        Block::Image { source } => match source {
            Source::Blob { media_type, blob } => {
                let url = data_url(media_type, attachment(request, blob)?).into();
                Piece::ImageUrl { image_url: Url { url } }
            }
            Source::Url { url } => Piece::ImageUrl { image_url: Url { url: url.into() } },
            Source::Text { .. } => Piece::Text { text: cannot_show("picture", source).into() },
        },
        Block::Document { source, title, context } => match (document_text(request, source)?, source) {
            (Some(text), _) => Piece::Text { text: document(title.as_deref(), context.as_deref(), &text).into() },
            (None, Source::Blob { media_type, blob })
                if media_type == "application/pdf" && dialect == Dialect::OpenAi =>
            {
                let file_data = data_url(media_type, attachment(request, blob)?);
                Piece::File { file: File { filename: title.as_deref().unwrap_or("document.pdf"), file_data } }
            }
            (None, _) => Piece::Text { text: cannot_show("document", source).into() },
        },
        Block::SearchResult { source, title, content, citations: _ } => {
            let passages = content.join("\n\n");
            Piece::Text { text: format!("Search result: {title}\nSource: {source}\n\n{passages}").into() }
        }
    })
}

fn document(title: Option<&str>, context: Option<&str>, text: &str) -> String {
    let title = title.map(|title| format!("Document: {title}\n")).unwrap_or_default();
    let context = context.map(|context| format!("Context: {context}\n")).unwrap_or_default();
    let gap = if title.is_empty() && context.is_empty() { "" } else { "\n" };
    format!("{title}{context}{gap}{text}")
}

fn data_url(media_type: &str, bytes: &[u8]) -> String {
    format!("data:{media_type};base64,{}", BASE64.encode(bytes))
}

impl Piece<'_> {
    fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text { text } => Some(text),
            Self::ImageUrl { .. } | Self::File { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Body, Dialect};
    use serde_json::{Value, json};
    use std::sync::Arc;
    use tenure_core::content::Block;
    use tenure_core::id::ItemId;
    use tenure_core::model::{Effort, Message, ModelConfig, Part, Request, Role, Speed};

    #[test]
    fn hosts_tell_dialects() {
        assert_eq!(Dialect::of("api.openai.com"), Dialect::OpenAi);
        assert_eq!(Dialect::of("mine.openai.azure.com"), Dialect::OpenAi);
        assert_eq!(Dialect::of("api.groq.com"), Dialect::Strict);
        assert_eq!(Dialect::of("localhost"), Dialect::Open);
    }

    #[test]
    fn dialects_differ_in_the_limits_name_the_hardest_effort_and_reasoning() {
        let call = ItemId::from_bits(1);
        let thinking = Part::Thinking { text: "Hm.".to_owned(), signature: None };
        let tool_use = Part::ToolUse { call, name: "ls".to_owned(), input: json!({}) };
        let messages = vec![
            Message { role: Role::User, parts: vec![Part::Content { block: Block::text("Hi") }] },
            Message { role: Role::Assistant, parts: vec![thinking, tool_use] },
        ];
        let request = Request {
            model: ModelConfig {
                max_tokens: Some(10),
                effort: Some(Effort::Max),
                speed: Speed::Fast,
                ..ModelConfig::named("openai/gpt-5.2")
            },
            system: None,
            messages: messages.into_iter().map(Arc::new).collect(),
            tools: Vec::new(),
            attachments: Default::default(),
        };
        let told = |dialect| {
            let body = serde_json::to_value(Body::new(&request, dialect).expect("a body")).expect("JSON");
            let reasoning = body["messages"][1].get("reasoning_content").is_some();
            assert_eq!((&body["model"], &body["service_tier"]), (&json!("gpt-5.2"), &json!("priority")));
            (
                body["max_tokens"].clone(),
                body["max_completion_tokens"].clone(),
                body["reasoning_effort"].clone(),
                reasoning,
            )
        };
        assert_eq!(told(Dialect::OpenAi), (Value::Null, json!(10), json!("xhigh"), false));
        assert_eq!(told(Dialect::Strict), (json!(10), Value::Null, json!("high"), false));
        assert_eq!(told(Dialect::Open), (json!(10), Value::Null, json!("high"), true));
    }
}
