//! What can go wrong with an engine, each with its exit code and remedy in one match.

use std::time::Duration;
use womm_cli::Failure;
use womm_wire::record::NoTask;

/// Why an engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine does not answer.
    #[error("{engine} can't be reached: {reason}")]
    Unreachable {
        /// "Docker at unix:///var/run/docker.sock", "the cluster at https://…".
        engine: String,
        /// The system's words.
        reason: String,
        /// What to do.
        help: String,
    },
    /// It answers that we may not.
    #[error("{deed} is forbidden: {reason}")]
    Forbidden {
        /// Verb and object: "create deployments in namespace \"team\"".
        deed: String,
        /// The engine's words.
        reason: String,
        /// What to do.
        help: String,
    },
    /// The credentials are wrong or have expired.
    #[error("{engine} does not accept the credentials: {reason}")]
    Unauthorized {
        /// Which engine.
        engine: String,
        /// The engine's words.
        reason: String,
        /// What to do.
        help: String,
    },
    /// Something that has to exist does not: an image, a namespace, a context.
    #[error("{what} does not exist{}", on.as_ref().map(|on| format!(" {on}")).unwrap_or_default())]
    Missing {
        /// `image "x"`.
        what: String,
        /// Where: `on the local Docker engine`.
        on: Option<String>,
        /// What to do.
        help: String,
    },
    /// The request makes no sense: more CPUs than there are, a share that this engine does not have.
    #[error("{message}")]
    Invalid {
        /// What.
        message: String,
        /// What to do.
        help: String,
    },
    /// The engine refused or failed otherwise.
    #[error("{deed}: {reason}")]
    Refused {
        /// The failed deed.
        deed: String,
        /// The engine's words.
        reason: String,
    },
    /// It took too long.
    #[error("{deed}: nothing after {} s", after.as_secs())]
    Timeout {
        /// The deed.
        deed: String,
        /// The deadline.
        after: Duration,
    },
}

impl From<NoTask> for Error {
    fn from(missing: NoTask) -> Self {
        Self::Invalid { message: missing.to_string(), help: NoTask::HELP.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Unreachable { help, .. }
            | Error::Forbidden { help, .. }
            | Error::Unauthorized { help, .. }
            | Error::Missing { help, .. } => Failure::outside(message).help(help),
            Error::Invalid { help, .. } => Failure::usage(message).help(help),
            Error::Refused { .. } => Failure::outside(message),
            Error::Timeout { .. } => Failure::timeout(message),
        }
    }
}
