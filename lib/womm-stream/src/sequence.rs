//! The bookkeeping of a resumable byte stream, without any I/O: which bytes were sent, acknowledged, received, consumed.
//!
//! Each direction is one endless row of bytes, counted from 0. What was written stays in a replay buffer until the other
//! end's reader has consumed it; the buffer's bound is thereby the window, too: a receiver never has to hold more, and so can
//! always read its wire to the end, keepalive included, even if nobody reads the stream itself.

use std::collections::VecDeque;

/// Bytes of a frame's header.
pub const HEADER: usize = 13;
/// The most bytes in one data frame.
pub const MOST_DATA: usize = 64 << 10;

/// What travels on the wire once both ends have greeted each other: kind (1 byte), length of the payload (4 bytes),
/// number (8 bytes), both big endian, then the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Bytes of the stream. Number: how many came before them. The only kind with a payload.
    Data = 1,
    /// Number: how many bytes the reader has consumed. Also what keeps an idle wire alive.
    Ack = 2,
    /// The stream is over for good. Number: 0.
    Bye = 3,
}

/// What no well-behaved peer sends. The stream can't be trusted any more, so it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not a [`Kind`].
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// A length that the kind can't have.
    #[error("a frame of kind {0} with {1} bytes")]
    Length(u8, u32),
    /// Data that is not what comes next.
    #[error("bytes from {got} on, where {due} is due")]
    Gap {
        /// What it says it is.
        got: u64,
        /// What comes next.
        due: u64,
    },
    /// More data than the window allows.
    #[error("{0} bytes more than the window")]
    Flood(u64),
    /// An acknowledgement of bytes that were never sent, or that takes back an earlier one.
    #[error("{got} bytes acknowledged, of {least} to {most}")]
    Ack {
        /// What it says.
        got: u64,
        /// What was acknowledged already.
        least: u64,
        /// What was sent at most.
        most: u64,
    },
}

/// A header that makes sense by itself.
///
/// # Errors
/// If the kind is unknown or can't have that length.
pub fn header(bytes: [u8; HEADER]) -> Result<(Kind, usize, u64), Malformed> {
    let [kind, a, b, c, d, number @ ..] = bytes;
    let length = u32::from_be_bytes([a, b, c, d]);
    let number = u64::from_be_bytes(number);
    let (kind, most) = match kind {
        1 => (Kind::Data, MOST_DATA as u32),
        2 => (Kind::Ack, 0),
        3 => (Kind::Bye, 0),
        _ => return Err(Malformed::Kind(kind)),
    };
    if length > most || (kind == Kind::Data && length == 0) {
        return Err(Malformed::Length(kind as u8, length));
    }
    Ok((kind, length as usize, number))
}

/// Appends a header; the payload is to follow.
pub fn put_header(out: &mut Vec<u8>, kind: Kind, length: usize, number: u64) {
    out.push(kind as u8);
    out.extend_from_slice(&(length as u32).to_be_bytes());
    out.extend_from_slice(&number.to_be_bytes());
}

/// What this end has written and the other end has not consumed yet.
#[derive(Debug)]
pub struct Outgoing {
    bytes: VecDeque<u8>,
    /// The number of the first of `bytes`: all before it were consumed.
    start: u64,
    /// What was sent on the present wire, or arrived by an earlier one.
    sent: u64,
    /// What was sent on any wire.
    ever_sent: u64,
    window: usize,
}

impl Outgoing {
    /// With a bound on what is kept for replay, bytes.
    pub fn new(window: usize) -> Self {
        Self { bytes: VecDeque::new(), start: 0, sent: 0, ever_sent: 0, window }
    }

    /// The other end may hold less than we do.
    pub fn narrow(&mut self, window: usize) {
        self.window = self.window.min(window);
    }

    /// How many bytes [`Self::write`] would take now.
    pub fn room(&self) -> usize {
        self.window.saturating_sub(self.bytes.len())
    }

    /// Takes as much as there is room for; how much.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        self.bytes.extend(&bytes[..count]);
        count
    }

    /// How many bytes were written in all.
    pub fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// How many bytes were sent in all, each counted once: those behind them nobody has seen.
    pub fn ever_sent(&self) -> u64 {
        self.ever_sent
    }

    /// Whether there are bytes that the present wire has not seen.
    pub fn has_unsent(&self) -> bool {
        self.sent < self.end()
    }

    /// Whether the other end has consumed all.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends the next data frame, if there are bytes to send.
    pub fn put_next(&mut self, out: &mut Vec<u8>) -> bool {
        let from = (self.sent - self.start) as usize;
        let count = (self.bytes.len() - from).min(MOST_DATA);
        if count == 0 {
            return false;
        }
        put_header(out, Kind::Data, count, self.sent);
        let (first, second) = self.bytes.as_slices();
        if from < first.len() {
            let here = count.min(first.len() - from);
            out.extend_from_slice(&first[from..from + here]);
            out.extend_from_slice(&second[..count - here]);
        } else {
            out.extend_from_slice(&second[from - first.len()..][..count]);
        }
        self.sent += count as u64;
        self.ever_sent = self.ever_sent.max(self.sent);
        true
    }

    /// The other end's reader has consumed so many bytes in all.
    ///
    /// # Errors
    /// If that can't be.
    pub fn acknowledge(&mut self, consumed: u64) -> Result<(), Malformed> {
        if consumed < self.start || consumed > self.sent {
            return Err(Malformed::Ack { got: consumed, least: self.start, most: self.sent });
        }
        self.bytes.drain(..(consumed - self.start) as usize);
        self.start = consumed;
        Ok(())
    }

    /// Whether an end that has received so many bytes in all can be sent what follows.
    pub fn can_resume(&self, received: u64) -> bool {
        (self.start..=self.end()).contains(&received)
    }

    /// A new wire: the other end has received so many bytes in all, send what follows.
    ///
    /// # Errors
    /// If that can't be: it is not the end that this one spoke to before.
    pub fn resume(&mut self, received: u64) -> Result<(), Malformed> {
        if !self.can_resume(received) {
            return Err(Malformed::Ack { got: received, least: self.start, most: self.end() });
        }
        self.sent = received;
        self.ever_sent = self.ever_sent.max(received);
        Ok(())
    }
}

/// What the other end has sent and this end's reader has not consumed yet.
#[derive(Debug)]
pub struct Incoming {
    bytes: VecDeque<u8>,
    consumed: u64,
    told: u64,
    window: usize,
}

impl Incoming {
    /// With a bound on what is held, bytes; the other end has to know it.
    pub fn new(window: usize) -> Self {
        Self { bytes: VecDeque::new(), consumed: 0, told: 0, window }
    }

    /// How many bytes have arrived in all.
    pub fn received(&self) -> u64 {
        self.consumed + self.bytes.len() as u64
    }

    /// Whether nothing waits for the reader.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes have arrived.
    ///
    /// # Errors
    /// If they are not the next ones, or too many.
    pub fn take(&mut self, from: u64, bytes: &[u8]) -> Result<(), Malformed> {
        if from != self.received() {
            return Err(Malformed::Gap { got: from, due: self.received() });
        }
        let over = (self.bytes.len() + bytes.len()).saturating_sub(self.window);
        if over > 0 {
            return Err(Malformed::Flood(over as u64));
        }
        self.bytes.extend(bytes);
        Ok(())
    }

    /// Moves bytes to the reader; how many.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.bytes.len());
        let (first, second) = self.bytes.as_slices();
        let here = count.min(first.len());
        into[..here].copy_from_slice(&first[..here]);
        into[here..count].copy_from_slice(&second[..count - here]);
        self.bytes.drain(..count);
        self.consumed += count as u64;
        count
    }

    /// Whether the other end should hear of what was consumed: it may wait for room.
    pub fn ack_is_due(&self) -> bool {
        self.consumed - self.told >= (self.window as u64 / 4).max(1)
    }

    /// Appends an acknowledgement.
    pub fn put_ack(&mut self, out: &mut Vec<u8>) {
        self.told = self.consumed;
        put_header(out, Kind::Ack, 0, self.consumed);
    }

    /// A new wire: what the old one was told may never have arrived.
    pub fn resume(&mut self) {
        self.told = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frames in `bytes`.
    fn frames(mut bytes: &[u8]) -> Vec<(Kind, u64, Vec<u8>)> {
        let mut frames = Vec::new();
        while let Some((head, rest)) = bytes.split_first_chunk::<HEADER>() {
            let (kind, length, number) = header(*head).expect("our own");
            frames.push((kind, number, rest[..length].to_vec()));
            bytes = &rest[length..];
        }
        frames
    }

    #[test]
    fn what_is_written_is_sent_once_and_again_on_a_new_wire() {
        let mut outgoing = Outgoing::new(10);
        assert_eq!(outgoing.write(b"hello, world"), 10);
        assert_eq!((outgoing.room(), outgoing.write(b"x")), (0, 0));
        let mut wire = Vec::new();
        assert!(outgoing.put_next(&mut wire) && !outgoing.put_next(&mut wire));
        assert_eq!(frames(&wire), [(Kind::Data, 0, b"hello, wor".to_vec())]);
        outgoing.acknowledge(4).expect("was sent");
        assert_eq!(outgoing.write(b"ld, again"), 4);
        outgoing.resume(6).expect("was sent");
        wire.clear();
        assert!(outgoing.put_next(&mut wire));
        assert_eq!(frames(&wire), [(Kind::Data, 6, b" world, ".to_vec())]);
    }

    #[test]
    fn what_no_wire_ever_took_is_known() {
        let mut outgoing = Outgoing::new(100);
        outgoing.write(b"hello");
        outgoing.put_next(&mut Vec::new());
        outgoing.resume(2).expect("the wire lost three");
        outgoing.write(b"never sent");
        assert_eq!((outgoing.ever_sent(), outgoing.end()), (5, 15));
        outgoing.put_next(&mut Vec::new());
        assert_eq!(outgoing.ever_sent(), 15);
    }

    #[test]
    fn an_end_that_never_was_the_other_end_is_told_apart() {
        let mut outgoing = Outgoing::new(10);
        outgoing.write(b"0123456789");
        outgoing.put_next(&mut Vec::new());
        outgoing.acknowledge(5).expect("was sent");
        assert!(outgoing.resume(4).is_err(), "those bytes are gone");
        assert!(outgoing.resume(11).is_err(), "those bytes never were");
        assert!(outgoing.acknowledge(4).is_err());
        outgoing.resume(7).expect("was sent");
        assert!(outgoing.acknowledge(8).is_err(), "not sent on this wire, so not received");
    }

    #[test]
    fn only_the_next_bytes_are_taken_and_no_more_than_the_window() {
        let mut incoming = Incoming::new(8);
        incoming.take(0, b"abc").expect("the next");
        assert_eq!(incoming.take(2, b"x"), Err(Malformed::Gap { got: 2, due: 3 }));
        assert_eq!(incoming.take(3, b"defghi"), Err(Malformed::Flood(1)));
        incoming.take(3, b"defgh").expect("fits");
        let mut buffer = [0; 5];
        assert_eq!((incoming.read(&mut buffer), &buffer), (5, b"abcde"));
        assert!(incoming.ack_is_due());
        let mut wire = Vec::new();
        incoming.put_ack(&mut wire);
        assert_eq!(frames(&wire), [(Kind::Ack, 5, vec![])]);
        assert!(!incoming.ack_is_due());
        assert_eq!(incoming.received(), 8);
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let of = |kind: u8, length: u32| {
            let mut bytes = [0; HEADER];
            bytes[0] = kind;
            bytes[1..5].copy_from_slice(&length.to_be_bytes());
            header(bytes)
        };
        assert_eq!(of(0, 0), Err(Malformed::Kind(0)));
        assert_eq!(of(1, 0), Err(Malformed::Length(1, 0)));
        assert_eq!(of(1, MOST_DATA as u32 + 1), Err(Malformed::Length(1, MOST_DATA as u32 + 1)));
        assert_eq!(of(2, 1), Err(Malformed::Length(2, 1)));
        assert_eq!(of(3, 0), Ok((Kind::Bye, 0, 0)));
    }
}
