//! Write verifiers (verifier4; RFC 8881, 18.3.3 and 18.32.3): another one tells clients that what they wrote and did not commit may
//! be lost, so that they send it again. A file system has one of its boot. Here a file's changes as well when making it durable
//! fails: the kernel tells once of pages that it could not write, and the next fdatasync(2) succeeds without them. Who asked first
//! gets the error; the others must not take their success for more than it is.

use siphasher::sip::SipHasher13;
use std::collections::HashMap;
use std::hash::Hasher;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use womm_vfs::{Error, NodeId, Result};

/// Files that failed and are told apart; of more, all files' verifiers change at once.
const MOST_FAILED: usize = 4096;

/// Those of an export.
#[derive(Debug, Default)]
pub struct Verifiers {
    known: Mutex<Known>,
    /// An attempt has ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Known {
    /// Times that `failed` was emptied.
    emptied: u64,
    /// How often making a file durable failed.
    failed: HashMap<NodeId, u64>,
    /// Attempts under way.
    under_way: HashMap<NodeId, Vec<u64>>,
    last: u64,
}

impl Known {
    fn failures(&self, node: NodeId) -> (u64, u64) {
        (self.emptied, self.failed.get(&node).copied().unwrap_or(0))
    }
}

/// Making a file durable; nobody learns how it went if it is dropped, so that counts as a failure.
struct Attempt<'a> {
    verifiers: &'a Verifiers,
    node: NodeId,
    number: u64,
    failed: bool,
}

impl Verifiers {
    /// A file's, from that of its file system. WRITE takes it before it writes, COMMIT when it is done: what failed in between is
    /// then told.
    pub fn of(&self, file_system: [u8; 8], node: NodeId) -> [u8; 8] {
        let (emptied, failed) = self.known().failures(node);
        let mut hasher = SipHasher13::new();
        hasher.write(&file_system);
        hasher.write_u64(emptied);
        hasher.write_u64(failed);
        hasher.finish().to_be_bytes()
    }

    /// Makes a file durable. It answers when all attempts that were made at the same time have: one of them may have got the error
    /// that was meant for this one too. The second answer is whether one failed meanwhile.
    ///
    /// # Errors
    /// What it says.
    pub async fn attempt<T>(&self, node: NodeId, what: impl Future<Output = Result<T>>) -> Result<(T, bool)> {
        let before = self.known().failures(node);
        let mut attempt = self.begin(node);
        let result = what.await;
        // The others say nothing of what the disk did.
        attempt.failed = matches!(result, Err(Error::Errno(_)));
        drop(attempt);
        let value = result?;
        self.others(node).await;
        Ok((value, self.known().failures(node) != before))
    }

    fn begin(&self, node: NodeId) -> Attempt<'_> {
        let mut known = self.known();
        known.last += 1;
        let number = known.last;
        known.under_way.entry(node).or_default().push(number);
        Attempt { verifiers: self, node, number, failed: true }
    }

    /// Waits for those that are under way now.
    async fn others(&self, node: NodeId) {
        let newest = self.known().last;
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            let are_older = |numbers: &Vec<u64>| numbers.iter().any(|number| *number <= newest);
            if !self.known().under_way.get(&node).is_some_and(are_older) {
                return;
            }
            ended.await;
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut known = self.verifiers.known();
        if self.failed {
            if known.failed.len() >= MOST_FAILED && !known.failed.contains_key(&self.node) {
                known.failed.clear();
                known.emptied += 1;
            }
            *known.failed.entry(self.node).or_default() += 1;
        }
        if let Some(numbers) = known.under_way.get_mut(&self.node) {
            numbers.retain(|number| *number != self.number);
            if numbers.is_empty() {
                known.under_way.remove(&self.node);
            }
        }
        drop(known);
        self.verifiers.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use std::future::{pending, ready};
    use tokio::sync::oneshot;

    const BOOT: [u8; 8] = [7; 8];
    const FILE: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);
    const FAILED: Result<()> = Err(Error::Errno(Errno::IO));

    #[tokio::test]
    async fn a_failure_changes_it_for_this_file_only() {
        let verifiers = Verifiers::default();
        let (file, other) = (verifiers.of(BOOT, FILE), verifiers.of(BOOT, OTHER));
        assert_ne!(file, verifiers.of([8; 8], FILE), "it is of a boot");
        assert_eq!(verifiers.attempt(FILE, ready(Ok(5))).await, Ok((5, false)));
        for error in [Error::Away, Error::Again, Error::Stale] {
            assert_eq!(verifiers.attempt(FILE, ready(Err::<(), _>(error))).await, Err(error));
        }
        assert_eq!(verifiers.of(BOOT, FILE), file);
        let mut seen = vec![file];
        for _ in 0..3 {
            assert_eq!(verifiers.attempt(FILE, ready(FAILED)).await, Err(Error::Errno(Errno::IO)));
            assert!(!seen.contains(&verifiers.of(BOOT, FILE)));
            seen.push(verifiers.of(BOOT, FILE));
        }
        assert_eq!(verifiers.of(BOOT, OTHER), other);
    }

    #[tokio::test]
    async fn none_comes_back_when_too_many_failed() {
        let verifiers = Verifiers::default();
        let _ = verifiers.attempt(FILE, ready(FAILED)).await;
        let before = (verifiers.of(BOOT, FILE), verifiers.of(BOOT, OTHER));
        for node in 10..10 + MOST_FAILED as u64 {
            let _ = verifiers.attempt(NodeId(node), ready(FAILED)).await;
        }
        assert!(verifiers.known().failed.len() <= MOST_FAILED);
        assert_ne!(verifiers.of(BOOT, FILE), before.0);
        assert_ne!(verifiers.of(BOOT, OTHER), before.1);
    }

    #[tokio::test]
    async fn success_waits_for_those_who_tried_at_the_same_time() {
        let verifiers = Verifiers::default();
        let before = verifiers.of(BOOT, FILE);
        let (fail_tx, fail) = oneshot::channel::<()>();
        let first = verifiers.attempt(FILE, async {
            fail.await.expect("it is told to");
            FAILED
        });
        let second = async {
            let answer = verifiers.attempt(FILE, ready(Ok(()))).await;
            (answer, verifiers.of(BOOT, FILE))
        };
        let later = async {
            tokio::task::yield_now().await;
            // On another file nobody waits.
            assert_eq!(verifiers.attempt(OTHER, ready(Ok(()))).await, Ok(((), false)));
            fail_tx.send(()).expect("it waits for it");
        };
        let (failed, (succeeded, after), ()) = tokio::join!(first, second, later);
        assert_eq!((failed, succeeded), (Err(Error::Errno(Errno::IO)), Ok(((), true))));
        assert_ne!(after, before);
        assert!(verifiers.known().under_way.is_empty());
    }

    #[tokio::test]
    async fn what_nobody_saw_the_end_of_failed() {
        let verifiers = Verifiers::default();
        let before = verifiers.of(BOOT, FILE);
        let lost = verifiers.attempt(FILE, pending::<Result<()>>());
        tokio::select! {
            biased;
            _ = lost => panic!("it has no end"),
            () = ready(()) => {}
        }
        assert_ne!(verifiers.of(BOOT, FILE), before);
        assert_eq!(verifiers.attempt(FILE, ready(Ok(()))).await, Ok(((), false)));
    }
}
