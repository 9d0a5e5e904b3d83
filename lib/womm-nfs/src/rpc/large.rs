//! Memory for large messages, used again: an allocator that gets and gives megabytes between small things keeps many times what is in
//! use, and each page of new memory has to be cleared.

use super::record::MOST_RECORD;
use bytes::Bytes;
use std::sync::{Mutex, PoisonError};

/// Kept while nobody uses them: 8 MiB in all.
const KEPT: usize = 8;

static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A message that is being read.
#[derive(Debug)]
pub(super) struct Large(pub(super) Vec<u8>);

impl Large {
    /// Room for the longest, with nothing in it.
    pub(super) fn new() -> Self {
        let kept = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self(kept.unwrap_or_else(|| Vec::with_capacity(MOST_RECORD)))
    }

    /// What is in it.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        let mut memory = std::mem::take(&mut self.0);
        memory.clear();
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT {
            free.push(memory);
        }
    }
}
