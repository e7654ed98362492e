//! What a server's refusal means: its status, its error object, when to come back.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;
use tenure_core::model::{Failure, FailureKind};

/// The characters of an answer that a message quotes.
const EXCERPT_CHARS: usize = 200;

/// A failure without a time to come back.
pub(crate) fn failure(kind: FailureKind, message: impl Into<String>) -> Failure {
    Failure { kind, message: message.into(), retry_after: None }
}

/// The beginning of an answer, on one line.
pub(crate) fn excerpt(body: &[u8]) -> String {
    let start = &body[..body.len().min(EXCERPT_CHARS * 4)];
    let text = String::from_utf8_lossy(start);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("`{}…`", &line[..end]),
        None if line.is_empty() => "an empty answer".to_owned(),
        None => format!("`{line}`"),
    }
}

/// An error as servers write it. Anthropic and OpenAI: `{"error": {"type", "message", "code"}}`; vLLM also
/// `{"object": "error", "message", "code"}`; Ollama sometimes `{"error": "text"}`; proxies: a web page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorBody {
    /// For a person.
    pub(crate) message: String,
    /// The type and the code, as words: `overloaded_error`, `insufficient_quota`.
    words: Vec<String>,
    /// The code, where it is an HTTP status.
    status: Option<u16>,
}

impl ErrorBody {
    /// The error in a whole answer of this status.
    pub(crate) fn read(body: &[u8], status: StatusCode) -> Self {
        let error = serde_json::from_slice(body).ok().and_then(|value| Self::find(&value));
        error.unwrap_or_else(|| {
            let reason = status.canonical_reason().unwrap_or("an error");
            Self { message: format!("{reason}: {}", excerpt(body)), ..Self::default() }
        })
    }

    /// The error in a JSON document, if it is one.
    pub(crate) fn find(value: &Value) -> Option<Self> {
        match value.get("error") {
            Some(Value::Null) | None if value.get("object")? == "error" => Self::of(value),
            Some(Value::Null) | None => None,
            Some(error) => Self::of(error),
        }
    }

    /// The error that this object, or text, is.
    pub(crate) fn of(error: &Value) -> Option<Self> {
        if let Some(message) = error.as_str() {
            return Some(Self { message: message.to_owned(), ..Self::default() });
        }
        let words =
            ["type", "code", "status"].into_iter().filter_map(|key| error.get(key)?.as_str().map(str::to_owned));
        let message = error.get("message").and_then(Value::as_str).map(str::to_owned);
        let code = error.get("code").or_else(|| error.get("status"));
        let status = code.and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        let status = status.filter(|status| (400..600).contains(status));
        Some(Self {
            message: message.unwrap_or_else(|| excerpt(error.to_string().as_bytes())),
            words: words.collect(),
            status,
        })
    }

    /// What a caller can do about it. The words come before the status: OpenAI says 429 for an empty account, Anthropic
    /// 400, and in a stream there is no status at all.
    pub(crate) fn kind(&self, status: Option<u16>) -> FailureKind {
        let by_word = self.words.iter().find_map(|word| match word.as_str() {
            "overloaded_error" | "server_overloaded" => Some(FailureKind::Overloaded),
            "insufficient_quota" | "billing_error" | "billing_hard_limit_reached" => Some(FailureKind::Billing),
            "rate_limit_error" | "rate_limit_exceeded" => Some(FailureKind::RateLimited),
            "authentication_error" | "permission_error" | "invalid_api_key" => Some(FailureKind::Authentication),
            "context_length_exceeded" | "exceed_context_size_error" | "request_too_large" => Some(FailureKind::TooLong),
            _ => None,
        });
        if let Some(kind) = by_word {
            return kind;
        }
        if self.message.contains("credit balance is too low") {
            return FailureKind::Billing;
        }
        let is_refusal = status.or(self.status).is_none_or(|status| (400..=500).contains(&status));
        if is_refusal && self.says_too_long() {
            return FailureKind::TooLong;
        }
        if let Some(status) = status.filter(|status| *status >= 300).or(self.status) {
            return by_status(status);
        }
        let rejected = ["invalid_request_error", "not_found_error", "BadRequestError", "NotFoundError"];
        if self.words.iter().any(|word| rejected.contains(&word.as_str())) {
            return FailureKind::Rejected;
        }
        FailureKind::Unavailable
    }

    /// Whether the words are those by which one of the servers says that a conversation is longer than its model takes:
    /// most have no code of their own for it.
    fn says_too_long(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        let phrases = [
            // Anthropic.
            "prompt is too long",
            "exceed context limit",
            // OpenAI, vLLM, OpenRouter.
            "maximum context length",
            "model's context length",
            "context length exceeded",
            // llama.cpp.
            "available context size",
            // LM Studio, Ollama.
            "greater than the context length",
            "exceeds the context length",
            "exceeds context length",
            "exceeded max context length",
            // Gemini.
            "exceeds the maximum number of tokens",
            // Bedrock.
            "input is too long for requested model",
        ];
        phrases.iter().any(|phrase| message.contains(phrase))
    }
}

fn by_status(status: u16) -> FailureKind {
    match status {
        401 | 403 => FailureKind::Authentication,
        402 => FailureKind::Billing,
        413 => FailureKind::TooLong,
        429 => FailureKind::RateLimited,
        503 | 529 => FailureKind::Overloaded,
        408 | 409 | 425 => FailureKind::Unavailable,
        300..=499 => FailureKind::Rejected,
        _ => FailureKind::Unavailable,
    }
}

/// How long the server asks to wait: `retry-after-ms`, or `retry-after` in seconds or as a date (RFC 9110 §10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    if let Some(milliseconds) = text("retry-after-ms").and_then(number) {
        return Duration::try_from_secs_f64(milliseconds / 1000.0).ok();
    }
    let wait = text(RETRY_AFTER.as_str())?;
    if let Some(seconds) = number(wait) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(wait).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::{ErrorBody, excerpt, retry_after};
    use jiff::Timestamp;
    use reqwest::StatusCode;
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
    use std::time::Duration;
    use tenure_core::model::FailureKind::{
        Authentication, Billing, Overloaded, RateLimited, Rejected, TooLong, Unavailable,
    };

    #[test]
    fn statuses_and_words_say_what_a_caller_can_do() {
        let cases = [
            (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Overloaded),
            (503, r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#, Overloaded),
            (429, r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#, RateLimited),
            (
                429,
                r#"{"error":{"message":"no money","type":"insufficient_quota","code":"insufficient_quota"}}"#,
                Billing,
            ),
            (400, r#"{"error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#, Billing),
            (400, r#"{"object":"error","message":"too long","type":"BadRequestError","code":400}"#, Rejected),
            (404, r#"{"error":"model 'x' not found"}"#, Rejected),
            (413, "<html>too large</html>", TooLong),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 207791 tokens > 200000 maximum"}}"#,
                TooLong,
            ),
            (
                400,
                r#"{"error":{"type":"invalid_request_error","message":"input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000"}}"#,
                TooLong,
            ),
            (
                413,
                r#"{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#,
                TooLong,
            ),
            (
                400,
                r#"{"error":{"message":"Please reduce the length","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
                TooLong,
            ),
            (
                400,
                r#"{"object":"error","message":"This model's maximum context length is 6048 tokens. However, you requested 6616 tokens","type":"BadRequestError","code":400}"#,
                TooLong,
            ),
            (
                400,
                r#"{"error":{"message":"You passed 1015 input tokens and requested 10 output tokens. However, the model's context length is only 1024 tokens","type":"BadRequestError","code":400}}"#,
                TooLong,
            ),
            (
                500,
                r#"{"error":{"code":500,"message":"the request exceeds the available context size. try increasing the context size","type":"exceed_context_size_error"}}"#,
                TooLong,
            ),
            (503, r#"{"error":{"message":"maximum context length is being changed"}}"#, Overloaded),
            (401, r#"{"error":{"message":"who?","code":"invalid_api_key"}}"#, Authentication),
            (402, "", Billing),
            (307, "", Rejected),
            (500, "{", Unavailable),
            (502, "<html>Bad Gateway</html>", Unavailable),
        ];
        for (status, body, expected) in cases {
            let status = StatusCode::from_u16(status).expect("a status");
            let error = ErrorBody::read(body.as_bytes(), status);
            assert_eq!(error.kind(Some(status.as_u16())), expected, "{status} {body}");
            assert!(!error.message.is_empty());
        }
    }

    #[test]
    fn retry_after_reads_seconds_milliseconds_and_dates() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().expect("a time");
        let read = |name: &'static str, value: &str| {
            let value = HeaderValue::from_str(value).expect("a value");
            retry_after(&HeaderMap::from_iter([(HeaderName::from_static(name), value)]), now)
        };
        assert_eq!(read("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(read("retry-after", " 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(read("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(read("retry-after", "Sat, 21 Nov 2026 10:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("retry-after", "Sat, 21 Nov 2026 09:00:00 GMT"), Some(Duration::ZERO));
        for nonsense in ["soon", "-1", "NaN", "inf", "1e400", ""] {
            assert_eq!(read("retry-after", nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn excerpts_are_one_short_line() {
        assert_eq!(excerpt(b"<html>\n  <b>502</b>\n"), "`<html> <b>502</b>`");
        assert_eq!(excerpt(b""), "an empty answer");
        assert_eq!(excerpt(&[b'x'; 1000]).chars().count(), 203);
    }
}
