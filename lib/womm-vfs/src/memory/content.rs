//! Content of a file, with holes.

use crate::error::{Error, Result};
use crate::vfs::Seek;
use bytes::{Bytes, BytesMut};
use rustix::io::Errno;
use std::collections::BTreeMap;

/// Bytes of one part: what is written anywhere within takes as much.
pub(super) const PART: u64 = 4096;

/// loff_t ends there.
const MOST_BYTES: u64 = i64::MAX as u64;

/// Bytes by number; parts that are missing read as zeros.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    size: u64,
    parts: BTreeMap<u64, Box<[u8]>>,
}

impl Content {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of memory.
    pub(super) fn used(&self) -> u64 {
        self.parts.len() as u64 * PART
    }

    /// Bytes of memory that writing there would add.
    pub(super) fn growth(&self, offset: u64, length: u64) -> Result<u64> {
        let end = end_of(offset, length)?;
        if length == 0 {
            return Ok(0);
        }
        let parts = offset / PART..=(end - 1) / PART;
        let wanted = parts.end() - parts.start() + 1;
        Ok((wanted - self.parts.range(parts).count() as u64) * PART)
    }

    pub(super) fn read(&self, offset: u64, count: u32) -> (Bytes, bool) {
        let end = offset.saturating_add(u64::from(count)).min(self.size);
        if offset >= end {
            return (Bytes::new(), offset >= self.size);
        }
        let mut data = BytesMut::zeroed(usize::try_from(end - offset).unwrap_or(usize::MAX));
        for (number, part) in self.parts.range(offset / PART..=(end - 1) / PART) {
            let (from, to) = (offset.max(number * PART), end.min((number + 1) * PART));
            data[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&part[(from % PART) as usize..(to - number * PART) as usize]);
        }
        (data.freeze(), end == self.size)
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        let end = end_of(offset, data.len() as u64)?;
        let mut at = offset;
        while at < end {
            let number = at / PART;
            let to = end.min((number + 1) * PART);
            let part = self.parts.entry(number).or_insert_with(|| vec![0; PART as usize].into());
            part[(at % PART) as usize..(to - number * PART) as usize]
                .copy_from_slice(&data[(at - offset) as usize..(to - offset) as usize]);
            at = to;
        }
        if !data.is_empty() {
            self.size = self.size.max(end);
        }
        Ok(())
    }

    pub(super) fn resize(&mut self, size: u64) -> Result<()> {
        end_of(size, 0)?;
        if size < self.size {
            self.zero(size, self.size);
            self.parts.split_off(&size.div_ceil(PART));
        }
        self.size = size;
        Ok(())
    }

    pub(super) fn grow(&mut self, offset: u64, length: u64) -> Result<()> {
        self.size = self.size.max(end_of(offset, length)?);
        Ok(())
    }

    pub(super) fn punch(&mut self, offset: u64, length: u64) -> Result<()> {
        let end = end_of(offset, length)?.min(self.size.next_multiple_of(PART));
        self.zero(offset, end);
        let whole = offset.div_ceil(PART)..(end / PART).max(offset.div_ceil(PART));
        self.parts.retain(|number, _| !whole.contains(number));
        Ok(())
    }

    fn zero(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        for (number, part) in self.parts.range_mut(from / PART..=(to - 1) / PART) {
            let (start, end) = (from.max(number * PART), to.min((number + 1) * PART));
            part[(start - number * PART) as usize..(end - number * PART) as usize].fill(0);
        }
    }

    pub(super) fn seek(&self, offset: u64, what: Seek) -> Result<u64> {
        let none = Error::Errno(Errno::NXIO);
        if offset >= self.size {
            return Err(none);
        }
        let found = match what {
            Seek::Data => {
                let (number, _) = self.parts.range(offset / PART..).next().ok_or(none)?;
                offset.max(number * PART)
            }
            Seek::Hole => {
                let mut number = offset / PART;
                while self.parts.contains_key(&number) {
                    number += 1;
                }
                offset.max(number * PART).min(self.size)
            }
        };
        if what == Seek::Data && found >= self.size { Err(none) } else { Ok(found) }
    }
}

fn end_of(offset: u64, length: u64) -> Result<u64> {
    offset.checked_add(length).filter(|end| *end <= MOST_BYTES).ok_or(Error::Errno(Errno::FBIG))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_is_zero_when_it_grows_again() {
        let mut content = Content::default();
        content.write(PART - 2, &[1; 8]).unwrap();
        content.resize(PART - 1).unwrap();
        content.resize(PART + 6).unwrap();
        assert_eq!(content.read(PART - 2, 100), (Bytes::from_static(&[1, 0, 0, 0, 0, 0, 0, 0]), true));
        assert_eq!(content.used(), PART);
    }

    #[test]
    fn holes_are_found_and_made() {
        let mut content = Content::default();
        content.write(3 * PART, b"x").unwrap();
        assert_eq!(content.seek(0, Seek::Data), Ok(3 * PART));
        assert_eq!(content.seek(0, Seek::Hole), Ok(0));
        assert_eq!(content.seek(3 * PART, Seek::Hole), Ok(3 * PART + 1));
        assert_eq!(content.seek(3 * PART + 1, Seek::Data), Err(Error::Errno(Errno::NXIO)));
        content.write(0, &[1; 3 * PART as usize]).unwrap();
        content.punch(10, 2 * PART).unwrap();
        assert_eq!(content.seek(0, Seek::Hole), Ok(PART));
        assert_eq!(content.read(9, 2), (Bytes::from_static(&[1, 0]), false));
        assert_eq!(content.read(2 * PART + 9, 2), (Bytes::from_static(&[0, 1]), false));
        assert_eq!(content.size(), 3 * PART + 1);
    }

    #[test]
    fn far_away_costs_one_part_and_farther_is_refused() {
        let mut content = Content::default();
        content.write(MOST_BYTES - 1, b"x").unwrap();
        assert_eq!(content.used(), PART);
        assert_eq!(content.write(MOST_BYTES, b"x"), Err(Error::Errno(Errno::FBIG)));
        assert_eq!(content.resize(u64::MAX), Err(Error::Errno(Errno::FBIG)));
    }
}
