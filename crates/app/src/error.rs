//! The one error of operations, divided by who can act on it.

use claviger_domain::denial::Denial;
use claviger_store::StoreError;

/// Why an operation did not happen. What a caller may see and what only the log may see are different fields.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The caller must correct the request.
    #[error("invalid request: {message}")]
    Invalid {
        /// The part of the request that is wrong.
        field: Option<String>,
        /// What is wrong with it, for the caller.
        message: String,
    },
    /// The caller may not do this; somebody with more access may.
    #[error("forbidden: {message}")]
    Forbidden {
        /// Why, for the caller.
        message: String,
    },
    /// A plan or another limit does not allow it, whoever asks.
    #[error("limit reached: {message}")]
    LimitReached {
        /// Which, for the caller.
        message: String,
    },
    /// The member who is acted for does not exist. Whoever asks is told that it is `what` that does not.
    #[error("the member who is acted for not found")]
    UnknownMember {
        /// What was looked for.
        what: &'static str,
    },
    /// The key that the caller acts with died between verification and the operation.
    #[error("denied: {0}")]
    Denied(Denial),
    /// The admin token that the caller acts with was revoked between its recognition and the operation.
    #[error("the admin token is revoked")]
    NotTheOperator,
    /// There is no such thing, or it is somebody else's.
    #[error("{what} not found")]
    NotFound {
        /// What was looked for.
        what: &'static str,
    },
    /// The state of things does not allow it.
    #[error("conflict: {message}")]
    Conflict {
        /// Why, for the caller.
        message: String,
    },
    /// The thing was changed since the caller last saw it.
    #[error("precondition failed")]
    PreconditionFailed,
    /// The request, by its Idempotency-Key, was answered before. Nothing was done now.
    #[error("already answered")]
    AlreadyAnswered {
        /// The answer, encrypted under a key that the caller's credential gives.
        answer: Vec<u8>,
    },
    /// The Idempotency-Key was used for another request.
    #[error("idempotency key reused")]
    IdempotencyKeyReused,
    /// The key has asked for more at once than wait their turn for one key.
    #[error("too many requests at once")]
    TooManyAtOnce,
    /// The operator must act, or the caller try again.
    #[error("unavailable: {context}")]
    Unavailable {
        /// For the log only.
        context: String,
    },
    /// We must act.
    #[error("internal error: {context}")]
    Internal {
        /// For the log only.
        context: String,
    },
}

impl AppError {
    pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid { field: Some(field.to_owned()), message: message.into() }
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::Forbidden { message: message.into() }
    }

    pub(crate) fn limit_reached(message: impl Into<String>) -> Self {
        Self::LimitReached { message: message.into() }
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::Conflict { message: message.into() }
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database(_) | StoreError::Superseded => Self::Unavailable { context: error.to_string() },
            StoreError::Row { .. } => Self::Internal { context: error.to_string() },
        }
    }
}
