//! Byte ranges of one file that are locked. POSIX: an owner's locks replace, split and join each other.

/// A range of bytes, both ends within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first byte.
    pub first: u64,
    /// The last; `u64::MAX` is the end of the file, wherever that comes to be.
    pub last: u64,
}

impl Range {
    /// From offset4 and length4; none if it is empty or beyond what there is (RFC 8881, 18.10.3).
    pub fn new(offset: u64, length: u64) -> Option<Self> {
        match length {
            0 => None,
            u64::MAX => Some(Self { first: offset, last: u64::MAX }),
            _ => Some(Self { first: offset, last: offset.checked_add(length - 1)? }),
        }
    }

    /// As length4.
    pub fn length(&self) -> u64 {
        if self.last == u64::MAX { u64::MAX } else { self.last - self.first + 1 }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    fn touches(&self, other: &Self) -> bool {
        self.first <= other.last.saturating_add(1) && other.first <= self.last.saturating_add(1)
    }
}

/// A locked range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Whose: the number of a lock state.
    pub holder: u64,
    /// What.
    pub range: Range,
    /// Alone, not with other readers.
    pub write: bool,
}

/// All of one file.
#[derive(Debug, Default)]
pub struct Locks(Vec<Held>);

impl Locks {
    /// A lock of somebody else that is in the way.
    pub fn conflict(&self, holder: Option<u64>, range: Range, write: bool) -> Option<Held> {
        let conflicts =
            |held: &&Held| Some(held.holder) != holder && held.range.overlaps(&range) && (write || held.write);
        self.0.iter().find(conflicts).copied()
    }

    /// Locks, after [`Locks::conflict`] said that nothing is in the way.
    pub fn lock(&mut self, holder: u64, range: Range, write: bool) {
        self.unlock(holder, range);
        let mut joined = range;
        self.0.retain(|held| {
            let joins = held.holder == holder && held.write == write && held.range.touches(&range);
            if joins {
                joined.first = joined.first.min(held.range.first);
                joined.last = joined.last.max(held.range.last);
            }
            !joins
        });
        self.0.push(Held { holder, range: joined, write });
    }

    /// Unlocks what the holder has of a range.
    pub fn unlock(&mut self, holder: u64, range: Range) {
        let mut rests = Vec::new();
        self.0.retain(|held| {
            if held.holder != holder || !held.range.overlaps(&range) {
                return true;
            }
            if held.range.first < range.first {
                rests.push(Held { range: Range { first: held.range.first, last: range.first - 1 }, ..*held });
            }
            if held.range.last > range.last {
                rests.push(Held { range: Range { first: range.last + 1, last: held.range.last }, ..*held });
            }
            false
        });
        self.0.append(&mut rests);
    }

    /// Whether to unlock that leaves one range more than there was: what is before it and what is after it.
    pub fn splits(&self, holder: u64, range: Range) -> bool {
        let is_around = |held: &Held| held.range.first < range.first && held.range.last > range.last;
        self.0.iter().any(|held| held.holder == holder && is_around(held))
    }

    /// Unlocks all that the holder has.
    pub fn release(&mut self, holder: u64) {
        self.0.retain(|held| held.holder != holder);
    }

    /// Whether the holder has any.
    pub fn holds(&self, holder: u64) -> bool {
        self.0.iter().any(|held| held.holder == holder)
    }

    /// The number of ranges.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, last: u64) -> Range {
        Range { first, last }
    }

    fn sorted(locks: &Locks) -> Vec<(u64, u64, bool)> {
        let mut all: Vec<_> = locks.0.iter().map(|held| (held.range.first, held.range.last, held.write)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn ranges() {
        assert_eq!(Range::new(5, 0), None);
        assert_eq!(Range::new(5, u64::MAX), Some(range(5, u64::MAX)));
        assert_eq!(Range::new(u64::MAX, 1), Some(range(u64::MAX, u64::MAX)));
        assert_eq!(Range::new(u64::MAX, 2), None);
        assert_eq!(Range::new(1, u64::MAX - 1), Some(range(1, u64::MAX - 1)));
        assert_eq!(range(1, u64::MAX).length(), u64::MAX);
        assert_eq!(range(1, 1).length(), 1);
    }

    #[test]
    fn an_owners_locks_split_and_join() {
        let mut locks = Locks::default();
        locks.lock(1, range(0, 99), false);
        locks.lock(1, range(40, 49), true);
        assert_eq!(sorted(&locks), [(0, 39, false), (40, 49, true), (50, 99, false)]);
        assert!(locks.splits(1, range(1, 38)) && !locks.splits(1, range(0, 38)) && !locks.splits(2, range(1, 38)));
        locks.lock(1, range(40, 49), false);
        assert_eq!(sorted(&locks), [(0, 99, false)]);
        locks.unlock(1, range(10, 19));
        assert_eq!(sorted(&locks), [(0, 9, false), (20, 99, false)]);
        locks.lock(1, range(100, u64::MAX), false);
        assert_eq!(sorted(&locks), [(0, 9, false), (20, u64::MAX, false)]);
        assert_eq!(locks.count(), 2);
        locks.release(1);
        assert!(!locks.holds(1));
    }

    #[test]
    fn readers_share_writers_do_not() {
        let mut locks = Locks::default();
        locks.lock(1, range(0, 9), false);
        assert_eq!(locks.conflict(Some(2), range(0, 9), false), None);
        assert_eq!(locks.conflict(Some(2), range(9, 9), true).map(|held| held.holder), Some(1));
        assert_eq!(locks.conflict(Some(2), range(10, 10), true), None);
        assert_eq!(locks.conflict(Some(1), range(0, 9), true), None);
        locks.lock(1, range(0, 9), true);
        assert!(locks.conflict(None, range(5, 5), false).is_some());
    }

    /// Against a map of bytes.
    #[test]
    fn as_a_map_of_bytes_would() {
        let mut locks = Locks::default();
        let mut bytes = [[0u8; 64]; 3];
        let mut random = 12345u64;
        let mut next = |most: u64| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) % most
        };
        for _ in 0..5000 {
            let (holder, first) = (next(3), next(64));
            let last = first + next(64 - first);
            let write = next(2) == 1;
            let what = range(first, last);
            let expected = (0..3).filter(|other| *other != holder).any(|other| {
                let map = &bytes[other as usize][first as usize..=last as usize];
                map.iter().any(|byte| *byte == 2 || (write && *byte == 1))
            });
            let map = &mut bytes[holder as usize][first as usize..=last as usize];
            if next(3) == 0 {
                locks.unlock(holder, what);
                map.fill(0);
                continue;
            }
            assert_eq!(locks.conflict(Some(holder), what, write).is_some(), expected);
            if !expected {
                locks.lock(holder, what, write);
                map.fill(1 + u8::from(write));
            }
        }
        assert!(locks.count() <= 3 * 64);
    }
}
