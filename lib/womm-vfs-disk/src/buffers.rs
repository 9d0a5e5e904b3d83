//! Memory to read into, used again: the kernel need not clear a new megabyte for each read.

use bytes::Bytes;
use std::sync::{Mutex, PoisonError};

/// How large those are that are kept; nobody asks for more than this at once. What asks for half of it or less gets memory of its
/// own, so that no more is held than was asked for, by twice.
const KEPT_BYTES: usize = 1 << 20;
/// Kept while nobody uses them: 16 MiB in all.
const KEPT: usize = 16;

static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Memory of which the first bytes are asked for.
#[derive(Debug)]
pub(crate) struct Buffer {
    memory: Vec<u8>,
    length: usize,
}

/// So many bytes, of whatever was there.
pub(crate) fn take(length: usize) -> Buffer {
    if length <= KEPT_BYTES / 2 || length > KEPT_BYTES {
        return Buffer { memory: vec![0; length], length };
    }
    let kept = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    Buffer { memory: kept.unwrap_or_else(|| vec![0; KEPT_BYTES]), length }
}

impl Buffer {
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[..self.length]
    }

    /// The first so many bytes.
    pub(crate) fn freeze(mut self, length: usize) -> Bytes {
        self.length = self.length.min(length);
        if self.length <= self.memory.len() / 2 {
            return Bytes::copy_from_slice(&self.memory[..self.length]); // a few bytes don't hold a megabyte
        }
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.memory.len() == KEPT_BYTES {
            let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
            if free.len() < KEPT {
                free.push(std::mem::take(&mut self.memory));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_is_not_seen() {
        for length in [10, KEPT_BYTES / 2, KEPT_BYTES / 2 + 1, KEPT_BYTES, KEPT_BYTES + 1] {
            for byte in 1..4 {
                let mut buffer = take(length);
                buffer.bytes().fill(byte);
                let bytes = buffer.freeze(length - 1);
                assert!(bytes.len() == length - 1 && bytes.iter().all(|is| *is == byte));
            }
        }
        assert!(FREE.lock().unwrap().len() <= KEPT);
    }

    #[test]
    fn no_more_is_held_than_twice_what_was_read() {
        for length in [1, 4096, 64 << 10, KEPT_BYTES / 2, KEPT_BYTES / 2 + 1, KEPT_BYTES] {
            assert!(take(length).memory.len() <= 2 * length, "{length}");
        }
        assert_eq!(take(KEPT_BYTES).freeze(10).len(), 10);
    }
}
