//! File descriptors kept for the next call, with a bound.

use crate::hash::ByNumbers;
use rustix::fd::OwnedFd;
use rustix::process::{Resource, getrlimit};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// With no limit, or a very high one.
const MOST: usize = 16384;
/// Even with a very low one.
const LEAST: usize = 16;

/// Kept by all of this program: they share one limit.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// Descriptors by what they are of. Those that were not used for long are let go when there are too many; one that is in use lives
/// until its last user has gone.
#[derive(Debug)]
pub struct Descriptors<K> {
    most: usize,
    most_of_all: usize,
    kept: Mutex<Kept<K>>,
}

#[derive(Debug)]
struct Kept<K> {
    by_key: HashMap<K, (Arc<OwnedFd>, u64), ByNumbers>,
    uses: u64,
}

/// Half of what this program may open; sockets and the rest have the other half.
#[must_use]
pub fn half_of_the_limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    (limit.unwrap_or(usize::MAX) / 2).clamp(LEAST, MOST)
}

impl<K: Eq + Hash + Copy> Descriptors<K> {
    /// Keeps so many at most; all of a program's together keep no more than [`half_of_the_limit`].
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            most_of_all: half_of_the_limit(),
            kept: Mutex::new(Kept { by_key: HashMap::default(), uses: 0 }),
        }
    }

    /// The one of this, if it is kept.
    pub fn get(&self, key: K) -> Option<Arc<OwnedFd>> {
        let mut kept = self.lock();
        kept.uses += 1;
        let now = kept.uses;
        kept.by_key.get_mut(&key).map(|(descriptor, used)| {
            *used = now;
            Arc::clone(descriptor)
        })
    }

    /// Keeps one.
    pub fn put(&self, key: K, descriptor: OwnedFd) -> Arc<OwnedFd> {
        let descriptor = Arc::new(descriptor);
        let mut kept = self.lock();
        kept.uses += 1;
        let now = kept.uses;
        if kept.by_key.insert(key, (Arc::clone(&descriptor), now)).is_none() {
            KEPT.fetch_add(1, Ordering::Relaxed);
        }
        if kept.by_key.len() > self.most || KEPT.load(Ordering::Relaxed) > self.most_of_all {
            kept.drop_older_half();
        }
        descriptor
    }

    /// Lets one go: closing it may take long.
    pub fn forget(&self, key: K) {
        drop(self.take(key));
    }

    /// The same, for the caller to close it.
    pub fn take(&self, key: K) -> Option<Arc<OwnedFd>> {
        let gone = self.lock().by_key.remove(&key);
        if gone.is_some() {
            KEPT.fetch_sub(1, Ordering::Relaxed);
        }
        gone.map(|(descriptor, _)| descriptor)
    }

    fn lock(&self) -> MutexGuard<'_, Kept<K>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Copy> Kept<K> {
    fn drop_older_half(&mut self) {
        let mut uses: Vec<u64> = self.by_key.values().map(|(_, used)| *used).collect();
        let middle = uses.len() / 2;
        let (_, median, _) = uses.select_nth_unstable(middle);
        let (median, before) = (*median, self.by_key.len());
        self.by_key.retain(|_, (_, used)| *used > median);
        KEPT.fetch_sub(before - self.by_key.len(), Ordering::Relaxed);
    }
}

impl<K> Drop for Kept<K> {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.by_key.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn those_that_were_used_last_stay() {
        let descriptors = Descriptors::new(10);
        let null = || OwnedFd::from(File::open("/dev/null").unwrap());
        for key in 0..10 {
            descriptors.put(key, null());
        }
        let held = descriptors.get(0).unwrap();
        descriptors.put(10, null());
        assert!(descriptors.get(0).is_some() && descriptors.get(10).is_some());
        assert!((1..5).all(|key| descriptors.get(key).is_none()));
        descriptors.forget(0);
        assert!(descriptors.get(0).is_none());
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
