use std::io;

/// Why a sandbox did not do what was asked. The variants differ in what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Isolation can't be had on this host as it is: the operator must act.
    #[error("isolation can't be had: {cause}; {fix}")]
    Refused {
        /// What stands in the way.
        cause: String,
        /// What the operator can do.
        fix: String,
    },
    /// A limit that was set can't be enforced here: leave it unset, or have the host changed.
    #[error("can't enforce the limit of {what}: {cause}")]
    Unenforceable {
        /// The limit.
        what: &'static str,
        /// What stands in the way.
        cause: String,
    },
    /// The sandbox has ended. Open it again and repeat the order: the journal says whether it runs.
    #[error("the sandbox has ended")]
    Lost,
    /// The order can't be carried out as it is written.
    #[error("{0}")]
    Invalid(String),
    /// Another server has taken over the sandboxes of this directory: this one must not order anything any more.
    #[error("another server (number {by}, this is {ours}) has taken over the sandboxes: stop this one")]
    Superseded {
        /// The other's number.
        by: u64,
        /// This one's number; 0 for one that has not ordered anything yet.
        ours: u64,
    },
    /// The processes that keep the sandboxes are of a version that this one doesn't speak, and too old to be asked to
    /// end when they are idle. Shut down, then go on.
    #[error(
        "the running supervisor speaks versions {theirs_min} to {theirs_max}, this program {ours_min} to {ours_max}: run `tenure down` first"
    )]
    Incompatible {
        /// The oldest version the supervisor speaks.
        theirs_min: u16,
        /// The newest version the supervisor speaks.
        theirs_max: u16,
        /// The oldest version this program speaks.
        ours_min: u16,
        /// The newest version this program speaks.
        ours_max: u16,
    },
    /// Something failed that ought not to: worth a retry, and the operator's attention if it goes on.
    #[error("{doing}")]
    Failed {
        /// What was being done.
        doing: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn failed(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Failed { doing, source }
    }
}
