//! Why a request failed.

use serde_json::Value;

/// Why a request failed, by what the person can do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The server said no.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: String,
        /// The request's id, for the operator.
        request: Option<String>,
    },
    /// It can't be reached, or the connection broke.
    #[error("can't reach the server at {url}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// What it said makes no sense: it is another program, or another version.
    #[error("unexpected answer from the server: {0}")]
    Odd(String),
}

impl ApiError {
    /// The error in the body of an answer, in the envelope of the API if it is one.
    pub(super) fn of_answer(status: u16, request: Option<String>, body: &[u8]) -> Self {
        let said: Option<Value> = serde_json::from_slice(body).ok();
        let message = said.as_ref().and_then(|said| said["error"]["message"].as_str());
        match message {
            Some(message) => Self::Refused { status, message: message.to_owned(), request },
            None => Self::Odd(format!("HTTP {status} without a message")),
        }
    }

    /// Whether the same request may succeed later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..),
            Self::Unreachable { .. } => true,
            Self::Odd(_) => false,
        }
    }

    /// Whether there is no such thing.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// What the person can do, where it doesn't follow from the message.
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::Refused { status: 401, .. } => {
                let with = match std::env::var_os("TENURE_API_KEY").is_some_and(|key| !key.is_empty()) {
                    true => {
                        "the key in TENURE_API_KEY isn't one of this server's; set another, or unset it to use the local root key"
                    }
                    false => "set TENURE_API_KEY to a key of this server; `tenure keys create` makes one where it runs",
                };
                Some(with.to_owned())
            }
            Self::Refused { status: 500.., request: Some(request), .. } => {
                Some(format!("the server's log has the cause under {request}"))
            }
            Self::Refused { .. } => None,
            Self::Unreachable { .. } => {
                Some("`tenure status` says whether the local server runs; TENURE_URL names another".to_owned())
            }
            Self::Odd(_) => {
                Some("is this a Tenure server of the same version? TENURE_URL says where it is looked for".to_owned())
            }
        }
    }
}
