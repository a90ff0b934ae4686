//! What can go wrong when the engine is told something.

/// The news could not be taken in. The engine says no to everything from then on, until it is loaded again.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum ApplyError {
    /// A change came before the snapshot.
    #[error("the engine was not loaded before its first change")]
    NotLoaded,
    /// The snapshot is older than what the engine already knows; taking it would undo revocations.
    #[error("the snapshot is older than what the engine already knows")]
    Stale,
    /// More of something than the engine can number.
    #[error("the engine holds no more {0}")]
    Full(&'static str),
}
