//! A hash of a few numbers, for maps whose keys come from the disk and from us: nobody can choose them so that they meet.

use std::hash::{BuildHasherDefault, Hasher};

/// For keys that are made of numbers.
pub(crate) type ByNumbers = BuildHasherDefault<Numbers>;

/// Odd, and as many ones as zeros: 2^64 by the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Numbers(u64);

impl Hasher for Numbers {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut number = [0; 8];
            number[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(number));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number) * u128::from(FACTOR);
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seen::Identity;
    use std::collections::HashSet;
    use std::hash::BuildHasher;
    use womm_vfs::NodeId;

    /// hashbrown takes the lowest bits for the place and the highest seven to compare.
    fn spread(hashes: &[u64]) {
        let places: HashSet<u64> = hashes.iter().map(|hash| hash % (1 << 16)).collect();
        assert!(places.len() > hashes.len() * 3 / 4, "{} places for {}", places.len(), hashes.len());
        let tags: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        assert_eq!(tags.len(), 128);
    }

    #[test]
    fn numbers_in_a_row_are_spread() {
        let hash = ByNumbers::default();
        let ids: Vec<u64> = (0..1 << 14).map(|id| hash.hash_one(NodeId(id))).collect();
        spread(&ids);
        // Inodes in a row, made in ticks of 4 ms.
        let identity = |at: u64| Identity {
            device: 0,
            inode: 131_073 + at,
            born: 1_790_000_000_004_000_000 + at / 50 * 4_000_000,
        };
        let identities: Vec<u64> = (0..1 << 14).map(|at| hash.hash_one(identity(at))).collect();
        spread(&identities);
        assert_ne!(hash.hash_one([1u8; 9]), hash.hash_one([1u8; 10]));
    }
}
