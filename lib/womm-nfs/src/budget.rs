//! One bound for the memory of calls and replies on the way, of the whole server and of each connection. Half is for calls, half
//! for replies: so neither waits for the other.

use crate::limits::{MOST_MESSAGE, WAIT_FOR_REST, WAIT_FOR_TURN};
use crate::status::Status;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is counted is a multiple of it, bytes.
const UNIT_BYTES: usize = 1024;
/// One connection has at most so large a part of the whole.
const PART_OF_CONNECTION: usize = 16;

/// How much may be in memory: the server's, or a connection's part of it.
#[derive(Debug, Clone)]
pub struct Budget {
    requests: Pool,
    replies: Pool,
}

#[derive(Debug, Clone)]
struct Pool {
    whole: Arc<Semaphore>,
    part: Option<Arc<Semaphore>>,
    /// The most that is taken at once.
    most: usize,
    whole_units: usize,
}

/// Memory that is counted, until dropped.
#[derive(Debug, Default)]
pub struct Hold(Vec<OwnedSemaphorePermit>);

impl Hold {
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lets go of all but so many bytes.
    pub fn shrink(&mut self, bytes: usize) {
        for permit in &mut self.0 {
            if let Some(kept) = permit.split(permit.num_permits().min(bytes.div_ceil(UNIT_BYTES))) {
                *permit = kept;
            }
        }
    }

    /// Both.
    pub fn add(&mut self, other: Self) {
        for permit in other.0 {
            let same = self.0.iter_mut().find(|own| Arc::ptr_eq(own.semaphore(), permit.semaphore()));
            match same {
                Some(own) => own.merge(permit),
                None => self.0.push(permit),
            }
        }
    }
}

impl Budget {
    /// So many bytes in all, at least those of a few messages.
    pub fn new(bytes: usize) -> Self {
        let half = (bytes / 2).max(4 * MOST_MESSAGE as usize) / UNIT_BYTES;
        Self { requests: Pool::new(half), replies: Pool::new(half) }
    }

    /// A connection's part.
    pub fn for_connection(&self) -> Self {
        Self { requests: self.requests.part(), replies: self.replies.part() }
    }

    /// Waits until a call has so many bytes.
    pub async fn request(&self, bytes: usize) -> Hold {
        self.requests.take(bytes).await
    }

    /// So many more for one that has some: not for long if it is others who have all of it.
    pub async fn more_request(&self, bytes: usize) -> Option<Hold> {
        self.requests.take_within(bytes, WAIT_FOR_REST).await
    }

    /// So many bytes for a reply.
    ///
    /// # Errors
    /// DELAY if there are none for a while.
    pub async fn reply(&self, bytes: usize) -> Result<Hold, Status> {
        let taken = tokio::time::timeout(WAIT_FOR_TURN, self.replies.take(bytes)).await;
        taken.map_err(|_| Status::Delay)
    }

    /// Whether calls or replies have taken nearly all that there is for them.
    pub fn is_scarce(&self) -> bool {
        self.requests.is_scarce() || self.replies.is_scarce()
    }

    /// Bytes that no call has taken.
    pub fn free(&self) -> usize {
        self.requests.whole.available_permits() * UNIT_BYTES
    }
}

impl Pool {
    fn new(units: usize) -> Self {
        let most = units.min(Semaphore::MAX_PERMITS);
        Self { whole: Arc::new(Semaphore::new(most)), part: None, most, whole_units: most }
    }

    fn part(&self) -> Self {
        let most = (self.most / PART_OF_CONNECTION).max(2 * MOST_MESSAGE as usize / UNIT_BYTES).min(self.most);
        Self { whole: self.whole.clone(), part: Some(Arc::new(Semaphore::new(most))), most, ..self.clone() }
    }

    /// A message of the largest size would have to wait, or soon has to.
    fn is_scarce(&self) -> bool {
        let little = (self.whole_units / 8).max(MOST_MESSAGE as usize / UNIT_BYTES);
        self.whole.available_permits() < little
    }

    fn units(&self, bytes: usize) -> u32 {
        let units = bytes.div_ceil(UNIT_BYTES).clamp(1, self.most);
        u32::try_from(units).unwrap_or(u32::MAX)
    }

    /// Its own part is waited for as long as it takes: what it waits for there are its own calls.
    async fn take_within(&self, bytes: usize, most: Duration) -> Option<Hold> {
        let units = self.units(bytes);
        let mut hold = Hold::default();
        if let Some(part) = self.part.clone() {
            hold.0.extend(part.acquire_many_owned(units).await.ok());
        }
        let whole = tokio::time::timeout(most, self.whole.clone().acquire_many_owned(units)).await.ok()?;
        hold.0.extend(whole.ok());
        Some(hold)
    }

    async fn take(&self, bytes: usize) -> Hold {
        let units = self.units(bytes);
        let mut hold = Hold::default();
        for pool in self.part.iter().chain([&self.whole]) {
            // They are never closed.
            if let Ok(permit) = pool.clone().acquire_many_owned(units).await {
                hold.0.push(permit);
            }
        }
        hold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_connection_does_not_get_all_of_it() {
        let budget = Budget::new(256 << 20);
        let (greedy, other) = (budget.for_connection(), budget.for_connection());
        let mut held = Vec::new();
        let refused = loop {
            match greedy.reply(1 << 20).await {
                Ok(hold) => held.push(hold),
                Err(status) => break status,
            }
        };
        assert_eq!((refused, held.len()), (Status::Delay, 8));
        assert!(other.reply(1 << 20).await.is_ok());
        held.clear();
        assert!(greedy.reply(1 << 20).await.is_ok(), "what is dropped is free again");
    }

    #[tokio::test]
    async fn a_part_of_it_may_be_kept() {
        let budget = Budget::new(256 << 20);
        let before = budget.free();
        let mut hold = budget.for_connection().request(1 << 20).await;
        hold.shrink(8 << 10);
        assert_eq!(before - budget.free(), 8 << 10);
        hold.shrink(1 << 20);
        assert_eq!(before - budget.free(), 8 << 10, "it does not grow");
        drop(hold);
        assert_eq!(before, budget.free());
    }

    #[tokio::test(start_paused = true)]
    async fn all_connections_have_no_more_than_the_whole() {
        let budget = Budget::new(32 << 20);
        let mut held = Vec::new();
        for _ in 0..100 {
            if let Ok(hold) = budget.for_connection().reply(1 << 20).await {
                held.push(hold);
            }
        }
        assert_eq!(held.len(), 16);
    }
}
