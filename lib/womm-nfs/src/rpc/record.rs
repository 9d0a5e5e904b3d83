//! Record marking (RFC 5531, 11): messages in a stream of bytes.

use crate::budget::{Budget, Hold};
use crate::limits::{MOST_MESSAGE, STALLED};
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The header of RPC may come on top of what sessions agree on, bytes.
const MOST_RECORD: usize = MOST_MESSAGE as usize + 1024;
/// Fragments of one message: a client sends one.
const MOST_FRAGMENTS: usize = 1024;
/// Memory is counted as it comes, in steps of so many bytes: what is only announced costs nothing.
const STEP_BYTES: usize = 16 << 10;
/// How often is looked whether a message that makes no progress takes memory which others need.
const LOOK: Duration = Duration::from_secs(1);
/// Then it is given up after so long.
const STALLED_WHEN_SCARCE: Duration = Duration::from_secs(2);
const LAST_FRAGMENT: u32 = 1 << 31;

/// Reads messages.
#[derive(Debug)]
pub struct Records<R> {
    from: R,
    buffer: BytesMut,
    stalled: Duration,
}

/// A message, and the memory that it takes.
#[derive(Debug)]
pub struct Record {
    /// All of it.
    pub message: Bytes,
    /// Counted until dropped.
    pub hold: Hold,
}

impl<R: AsyncRead + Unpin> Records<R> {
    /// Of a stream.
    pub fn new(from: R) -> Self {
        Self { from, buffer: BytesMut::new(), stalled: STALLED }
    }

    /// Whether something of the next message has come.
    pub fn has_more(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next message; none at the end. Waits for one as long as it takes, but not in the middle of one; and for memory.
    ///
    /// # Errors
    /// Of the stream; a message that is too long or stops half-way.
    pub async fn next(&mut self, budget: &Budget) -> io::Result<Option<Record>> {
        if self.buffer.is_empty() && !self.first().await? {
            return Ok(None);
        }
        let mut hold = Hold::default();
        let mut whole = BytesMut::new();
        for _ in 0..MOST_FRAGMENTS {
            let mark = self.mark(budget).await?;
            let length = (mark & !LAST_FRAGMENT) as usize;
            if whole.len() + length > MOST_RECORD {
                return Err(broken("a message that is too long"));
            }
            self.fill(length, &mut hold, budget).await?;
            let fragment = self.buffer.split_to(length);
            if mark & LAST_FRAGMENT == 0 {
                whole.extend_from_slice(&fragment);
                continue;
            }
            let message = if whole.is_empty() {
                fragment
            } else {
                whole.extend_from_slice(&fragment);
                whole
            };
            return Ok(Some(Record { message: message.freeze(), hold }));
        }
        Err(broken("a message of too many fragments"))
    }

    async fn mark(&mut self, budget: &Budget) -> io::Result<u32> {
        while self.buffer.len() < 4 {
            if !self.more(4, budget).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.get_u32())
    }

    async fn fill(&mut self, length: usize, hold: &mut Hold, budget: &Budget) -> io::Result<()> {
        let mut counted = 0;
        loop {
            let came = self.buffer.len().min(length);
            if came == length || came >= counted + STEP_BYTES || counted == 0 {
                hold.add(budget.request(came - counted).await);
                counted = came;
            }
            if came == length {
                return Ok(());
            }
            if !self.more(length - came, budget).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads the beginning of a message, which may be long in coming; false at the end.
    async fn first(&mut self) -> io::Result<bool> {
        self.buffer.reserve(4096);
        Ok(self.from.read_buf(&mut self.buffer).await? > 0)
    }

    /// Reads more of a message; false at the end.
    async fn more(&mut self, wanted: usize, budget: &Budget) -> io::Result<bool> {
        self.buffer.reserve(wanted.max(4096));
        let mut waited = Duration::ZERO;
        loop {
            match tokio::time::timeout(LOOK, self.from.read_buf(&mut self.buffer)).await {
                Ok(count) => return Ok(count? > 0),
                Err(_) => waited += LOOK,
            }
            if waited >= self.stalled || (waited >= STALLED_WHEN_SCARCE && budget.is_scarce()) {
                return Err(broken("a message that stopped half-way"));
            }
        }
    }
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The mark before a message of one fragment.
pub fn mark(length: usize) -> [u8; 4] {
    (u32::try_from(length).unwrap_or(u32::MAX) | LAST_FRAGMENT).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> io::Result<Vec<Bytes>> {
        let budget = Budget::new(64 << 20);
        let mut records = Records::new(bytes);
        let mut all = Vec::new();
        while let Some(record) = records.next(&budget).await? {
            all.push(record.message);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn messages_of_one_fragment_and_of_several() {
        let bytes = [&mark(3)[..], b"abc", &[0, 0, 0, 2], b"de", &[0, 0, 0, 0], &mark(1), b"f", &mark(0)].concat();
        assert_eq!(read(&bytes).await.expect("whole"), [&b"abc"[..], b"def", b""]);
    }

    #[tokio::test]
    async fn broken_ones_are_refused() {
        for bytes in [&mark(3)[..], &[0x80], &[0xff, 0xff, 0xff, 0xff], &[0x80, 0x20, 0, 0]] {
            assert!(read(bytes).await.is_err(), "{bytes:?}");
        }
        assert!(read(&[0; 4 * (MOST_FRAGMENTS + 1)]).await.is_err());
    }

    #[tokio::test]
    async fn what_is_announced_costs_nothing() {
        let budget = Budget::new(64 << 20);
        let before = budget.free();
        let (mut near, far) = tokio::io::duplex(64);
        let mut records = Records::new(far);
        let reading = records.next(&budget);
        tokio::pin!(reading);
        tokio::io::AsyncWriteExt::write_all(&mut near, &mark(1 << 20)).await.expect("there is room");
        let waited = tokio::time::timeout(Duration::from_millis(50), &mut reading).await;
        assert!(waited.is_err() && before - budget.free() <= STEP_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stops_half_way_is_given_up() {
        let budget = Budget::new(64 << 20);
        let (mut near, far) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut near, &mark(8)).await.expect("there is room");
        assert!(Records::new(far).next(&budget).await.is_err());
        assert_eq!(budget.free(), Budget::new(64 << 20).free());
    }
}
