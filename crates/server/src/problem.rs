//! What can be wrong with a request, in terms no front door owns. Each front door prints it in its own envelope.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tenure_core::decide::Refusal;
use tenure_engine::Error;
use tenure_engine::files::{self, Refused, Why};

/// Why a request has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// By what the caller can do.
    pub(crate) kind: Kind,
    /// For a person: what was expected, what came, and what to do.
    pub(crate) message: Cow<'static, str>,
    /// For a program: which of the peer's named causes it is, if it is one.
    pub(crate) code: Option<&'static str>,
}

/// What a caller can do about a [`Problem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Send another request: something in this one is wrong.
    Invalid,
    /// Send a key.
    Unauthenticated,
    /// Come from elsewhere.
    Forbidden,
    /// Name something that exists.
    NotFound,
    /// Nothing: it was there, and is removed for good.
    Gone,
    /// Ask for a part that is there.
    NoSuchPart,
    /// Use another method.
    MethodNotAllowed,
    /// Send the body faster.
    TooSlow,
    /// Read again and decide anew; repeating the same request won't help.
    Conflict,
    /// Repeat the request: what is in the way goes by itself.
    InTheWay,
    /// Send less.
    TooLarge,
    /// Send JSON.
    UnsupportedMediaType,
    /// Wait that long.
    Busy {
        /// How long.
        retry_after: Duration,
    },
    /// Wait until the server has started, or find one that isn't stopping.
    Unavailable,
    /// Tell the operator.
    Internal,
}

impl Kind {
    /// One of each.
    pub(crate) const ALL: [Self; 15] = [
        Self::Invalid,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::Gone,
        Self::NoSuchPart,
        Self::MethodNotAllowed,
        Self::TooSlow,
        Self::Conflict,
        Self::InTheWay,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Busy { retry_after: Duration::ZERO },
        Self::Unavailable,
        Self::Internal,
    ];
}

impl Problem {
    pub(crate) fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), code: None }
    }

    /// Something in the request is wrong. `field` is where: a path such as `events.0.content`, or empty for the whole.
    pub(crate) fn invalid(field: &str, message: impl AsRef<str>) -> Self {
        let message = message.as_ref();
        let code = (field == "metadata" || field.starts_with("metadata.")).then_some("invalid_metadata");
        let message = if field.is_empty() { message.to_owned() } else { format!("{field}: {message}") };
        Self { code, ..Self::new(Kind::Invalid, message) }
    }

    /// The same with the peer's name for its cause.
    pub(crate) fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// A field the peer knows and this server doesn't support yet.
    pub(crate) fn unsupported(field: &str, what: &str) -> Self {
        Self::invalid(field, format!("{what} not supported yet by this server; leave the field out, or send it empty"))
    }

    pub(crate) fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    pub(crate) fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    pub(crate) fn internal() -> Self {
        Self::new(Kind::Internal, "internal error; the server's log has the cause under this request id")
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self.kind {
            Kind::Invalid => StatusCode::BAD_REQUEST,
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Gone => StatusCode::GONE,
            Kind::NoSuchPart => StatusCode::RANGE_NOT_SATISFIABLE,
            Kind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Kind::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Kind::Conflict | Kind::InTheWay => StatusCode::CONFLICT,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Kind::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// How long to wait before a repetition.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self.kind {
            Kind::Busy { retry_after } => Some(retry_after),
            Kind::InTheWay | Kind::Unavailable => Some(Duration::from_secs(1)),
            Kind::Invalid
            | Kind::Unauthenticated
            | Kind::Forbidden
            | Kind::NotFound
            | Kind::Gone
            | Kind::NoSuchPart
            | Kind::MethodNotAllowed
            | Kind::TooSlow
            | Kind::Conflict
            | Kind::TooLarge
            | Kind::UnsupportedMediaType
            | Kind::Internal => None,
        }
    }
}

impl IntoResponse for Problem {
    /// The status and the problem itself; [`crate::guard::finish`] prints the body, since it knows the request's id.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Error> for Problem {
    /// The one place where the engine's errors become answers. A taken idempotency key is answered before
    /// ([`crate::request::idempotency`]); here it can only be a race between two requests with one key.
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound { what, .. } => {
                let code = (what == "environment").then_some("environment_not_found");
                Self { code, ..Self::new(Kind::NotFound, error.to_string()) }
            }
            Error::Archived { what, .. } => {
                let code = (what == "environment").then_some("environment_archived");
                Self { code, ..Self::new(Kind::Invalid, error.to_string()) }
            }
            Error::Refused(refusal) => refusal.into(),
            Error::Invalid { field, message } => Self::invalid(&field, message),
            Error::Conflict { message } => Self::new(Kind::Conflict, message),
            Error::Gone { message } => Self::new(Kind::Gone, message),
            Error::NameTaken { .. } | Error::InUse { .. } => Self::new(Kind::Conflict, error.to_string()),
            Error::KeyTaken(_) => Self::new(Kind::InTheWay, "another request with this idempotency key is under way"),
            Error::NoRoom { .. } => Self::new(Kind::Busy { retry_after: Duration::from_secs(5) }, error.to_string()),
            Error::Busy { retry_after } => Self::new(Kind::Busy { retry_after }, "too much to do; try again"),
            Error::Unavailable { .. } => Self::new(Kind::Unavailable, error.to_string()),
            Error::Internal(source) => {
                tracing::error!(error = %Causes(&*source), "request failed");
                Self::internal()
            }
        }
    }
}

impl From<files::Error> for Problem {
    fn from(error: files::Error) -> Self {
        match error {
            files::Error::Refused(Refused { why, message }) => {
                let kind = match why {
                    Why::NotFound => Kind::NotFound,
                    Why::Invalid => Kind::Invalid,
                    Why::Conflict | Why::NoSpace => Kind::Conflict,
                    Why::Denied => Kind::Forbidden,
                    Why::NoSuchPart => Kind::NoSuchPart,
                };
                Self::new(kind, message)
            }
            files::Error::Sandbox(error) => Error::from(error).into(),
            files::Error::Broken(why) => {
                tracing::warn!(why, "working on a session's files broke off");
                Self::new(Kind::Unavailable, "working on the files broke off in the sandbox; try again")
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::Ended { .. }
            | Refusal::Busy
            | Refusal::NoSuchCall { .. }
            | Refusal::WrongAnswer { .. }
            | Refusal::TooMuchMetadata { .. }
            | Refusal::MisplacedInstructions
            | Refusal::BudgetReached { .. }
            | Refusal::BudgetCreateOnly
            | Refusal::BudgetNotRaised { .. } => Kind::Invalid,
            Refusal::TooManySnapshots => Kind::Invalid,
            Refusal::Stopping | Refusal::FilesBusy => Kind::InTheWay,
            Refusal::CallRunning | Refusal::SnapshotNameTaken { .. } => Kind::Conflict,
            Refusal::NotQueued { .. } | Refusal::NoSuchSnapshot { .. } => Kind::NotFound,
            Refusal::QueueFull => Kind::Busy { retry_after: Duration::from_secs(5) },
        };
        Self::new(kind, refusal.to_string())
    }
}

/// An error and what caused it, on one line.
struct Causes<'e>(&'e (dyn std::error::Error + 'static));

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
