//! Memory to read into, used again: the kernel need not clear a new megabyte for each read.

use bytes::Bytes;
use std::sync::{Mutex, PoisonError};

/// Smaller ones are made when they are needed.
const LEAST_BYTES: usize = 64 << 10;
/// Larger ones too; nobody asks for more than this at once.
const MOST_BYTES: usize = 1 << 20;
/// Kept while nobody uses them, of the largest size each: 16 MiB in all.
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
    let is_kept = (LEAST_BYTES..=MOST_BYTES).contains(&length);
    let kept = if is_kept { FREE.lock().unwrap_or_else(PoisonError::into_inner).pop() } else { None };
    let fresh = || vec![0; if is_kept { MOST_BYTES } else { length }];
    Buffer { memory: kept.unwrap_or_else(fresh), length }
}

impl Buffer {
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[..self.length]
    }

    /// The first so many bytes.
    pub(crate) fn freeze(mut self, length: usize) -> Bytes {
        self.length = self.length.min(length);
        if self.length < LEAST_BYTES {
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
        if self.memory.len() == MOST_BYTES {
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
        for length in [10, LEAST_BYTES, MOST_BYTES, MOST_BYTES + 1] {
            for byte in 1..4 {
                let mut buffer = take(length);
                buffer.bytes().fill(byte);
                let bytes = buffer.freeze(length - 1);
                assert!(bytes.len() == length - 1 && bytes.iter().all(|is| *is == byte));
            }
        }
        assert!(FREE.lock().unwrap().len() <= KEPT);
    }
}
