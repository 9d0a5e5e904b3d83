//! A session's slots: each call is done once, and a retry gets the first reply (RFC 8881, 2.10.6).

use crate::status::Status;
use bytes::Bytes;

/// How a call goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It has not been seen before: it is to be done.
    New,
    /// It was done; this was its reply.
    Replay(Bytes),
    /// It was done; its reply was not to be kept.
    Uncached,
}

#[derive(Debug, Default)]
enum Last {
    #[default]
    None,
    /// It is being done.
    Busy,
    Done(Option<Bytes>),
}

#[derive(Debug, Default)]
struct Slot {
    sequence: u32,
    /// Of the last call, to tell a retry from another call with its number.
    fingerprint: u64,
    last: Last,
}

/// A session's slot table.
#[derive(Debug)]
pub struct Slots(Vec<Slot>);

impl Slots {
    /// As many, none of them used.
    pub fn new(count: u32) -> Self {
        Self((0..count).map(|_| Slot::default()).collect())
    }

    /// The number of slots.
    pub fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Takes a call; one that is new is to be [`Slots::finish`]ed. The second number is of bytes that were kept for the slot
    /// and are kept no more.
    ///
    /// # Errors
    /// BADSLOT; MISORDERED; FALSE_RETRY if the number was that of another call; DELAY while the first is being done.
    pub fn begin(&mut self, slot: u32, sequence: u32, fingerprint: u64) -> Result<(Admission, usize), Status> {
        let slot = self.0.get_mut(slot as usize).ok_or(Status::BadSlot)?;
        if sequence == slot.sequence.wrapping_add(1) {
            if matches!(slot.last, Last::Busy) {
                return Err(Status::Misordered);
            }
            let freed = kept(&slot.last);
            *slot = Slot { sequence, fingerprint, last: Last::Busy };
            return Ok((Admission::New, freed));
        }
        if sequence != slot.sequence {
            return Err(Status::Misordered);
        }
        match &slot.last {
            Last::None => Err(Status::Misordered),
            _ if slot.fingerprint != fingerprint => Err(Status::FalseRetry),
            Last::Busy => Err(Status::Delay),
            Last::Done(Some(reply)) => Ok((Admission::Replay(reply.clone()), 0)),
            Last::Done(None) => Ok((Admission::Uncached, 0)),
        }
    }

    /// The call on the slot was done, with a reply to keep or none.
    pub fn finish(&mut self, slot: u32, reply: Option<Bytes>) {
        if let Some(slot) = self.0.get_mut(slot as usize) {
            slot.last = Last::Done(reply);
        }
    }

    /// Bytes of the reply that is kept for one.
    pub fn kept_of(&self, slot: u32) -> usize {
        self.0.get(slot as usize).map_or(0, |slot| kept(&slot.last))
    }

    /// Bytes of the replies that are kept.
    pub fn kept(&self) -> usize {
        self.0.iter().map(|slot| kept(&slot.last)).sum()
    }
}

fn kept(last: &Last) -> usize {
    match last {
        Last::Done(Some(reply)) => reply.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: Bytes = Bytes::from_static(b"reply");

    #[test]
    fn a_retry_gets_the_first_reply() {
        let mut slots = Slots::new(2);
        assert_eq!(slots.begin(1, 1, 7), Ok((Admission::New, 0)));
        assert_eq!(slots.begin(1, 1, 7), Err(Status::Delay), "it is being done");
        assert_eq!(slots.begin(1, 2, 7), Err(Status::Misordered), "it is being done");
        slots.finish(1, Some(REPLY));
        assert_eq!(slots.begin(1, 1, 7), Ok((Admission::Replay(REPLY), 0)));
        assert_eq!(slots.begin(1, 1, 8), Err(Status::FalseRetry));
        assert_eq!(slots.kept(), 5);
        assert_eq!(slots.begin(1, 2, 7), Ok((Admission::New, 5)));
        slots.finish(1, None);
        assert_eq!(slots.begin(1, 2, 7), Ok((Admission::Uncached, 0)));
    }

    #[test]
    fn what_is_out_of_order_is_refused() {
        let mut slots = Slots::new(1);
        assert_eq!(slots.begin(1, 1, 0), Err(Status::BadSlot));
        for sequence in [0, 2, u32::MAX] {
            assert_eq!(slots.begin(0, sequence, 0), Err(Status::Misordered), "{sequence}");
        }
    }

    #[test]
    fn numbers_go_round() {
        let mut slots = Slots::new(1);
        slots.0[0] = Slot { sequence: u32::MAX, fingerprint: 0, last: Last::Done(None) };
        assert_eq!(slots.begin(0, 0, 0), Ok((Admission::New, 0)));
    }
}
