//! Who asks, and until when it makes sense to answer.

use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// One call's. Cloned for the parts of a call.
#[derive(Debug, Clone)]
pub struct Context {
    /// The operation: a retry after a restart of either end has the same, so that it is done once.
    pub operation: OperationId,
    /// After it, [`crate::Error::Again`] is the answer.
    pub deadline: Instant,
    /// The caller has gone; what is under way may stop.
    pub cancelled: CancellationToken,
}

/// {client, number}: unique as long as the client's journal is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OperationId {
    /// Who asks: unique among the clients of one journal.
    pub client: u64,
    /// Its own count.
    pub number: u64,
}

impl Context {
    /// Whether the caller is still there.
    ///
    /// # Errors
    /// [`crate::Error::Again`] if it has gone.
    pub fn go_on(&self) -> crate::Result<()> {
        if self.cancelled.is_cancelled() { Err(crate::Error::Again) } else { Ok(()) }
    }

    /// One that ends after so long.
    pub fn new(operation: OperationId, within: Duration) -> Self {
        Self { operation, deadline: Instant::now() + within, cancelled: CancellationToken::new() }
    }
}
