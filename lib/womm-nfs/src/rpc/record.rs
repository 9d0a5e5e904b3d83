//! Record marking (RFC 5531, 11): messages in a stream of bytes.

use super::large::Large;
use crate::budget::{Budget, Hold};
use crate::limits::{CALL_BYTES, LOOK, MOST_MESSAGE, STALLED, STALLED_WHEN_SCARCE};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The header of RPC may come on top of what sessions agree on, bytes.
pub(super) const MOST_RECORD: usize = MOST_MESSAGE as usize + 1024;
/// Fragments of one message: a client sends one.
const MOST_FRAGMENTS: usize = 1024;
/// Memory is counted before it is read into: first so much, then the rest. What is only announced costs next to nothing.
const STEP_BYTES: usize = 16 << 10;
/// Messages from here have memory of their own, which is used again: it holds less than twice as much.
const LARGE_BYTES: usize = MOST_RECORD / 2;
/// More than was counted may come, so that many short messages do at once.
const READ_BYTES: usize = 4096;
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
            if length > LARGE_BYTES && mark & LAST_FRAGMENT != 0 && whole.is_empty() {
                return Ok(Some(Record { message: self.large(length, &mut hold, budget).await?, hold }));
            }
            self.fill(length, &mut hold, budget).await?;
            let fragment = self.buffer.split_to(length);
            if length >= STEP_BYTES {
                self.let_go();
            }
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
        let mut counted = None;
        loop {
            let came = self.buffer.len().min(length);
            if counted.is_none_or(|counted| came >= counted && counted < length) {
                let next = if came < STEP_BYTES { STEP_BYTES.min(length) } else { length };
                take(next - counted.unwrap_or(0), hold, budget).await?;
                counted = Some(next);
            }
            if came == length {
                return Ok(());
            }
            self.buffer.reserve(length - came);
            if !self.more(counted.unwrap_or(length) - came, budget).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// A long message, without its mark.
    async fn large(&mut self, length: usize, hold: &mut Hold, budget: &Budget) -> io::Result<Bytes> {
        self.fill(STEP_BYTES, hold, budget).await?;
        take(length - STEP_BYTES, hold, budget).await?;
        let mut message = Large::new();
        let came = self.buffer.len().min(length);
        message.0.extend_from_slice(&self.buffer.split_to(came));
        self.let_go();
        while message.0.len() < length {
            let most = length - message.0.len();
            if !more(&mut self.from, &mut message.0, most, self.stalled, budget).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(message.freeze())
    }

    /// What has come of the next message does not hold the memory of this one.
    fn let_go(&mut self) {
        self.buffer = BytesMut::from(&self.buffer[..]);
    }

    /// Reads the beginning of a message, which may be long in coming; false at the end.
    async fn first(&mut self) -> io::Result<bool> {
        self.buffer.reserve(READ_BYTES);
        Ok(self.from.read_buf(&mut self.buffer).await? > 0)
    }

    /// Reads more of a message; false at the end.
    async fn more(&mut self, wanted: usize, budget: &Budget) -> io::Result<bool> {
        let most = wanted.max(READ_BYTES);
        self.buffer.reserve(most);
        more(&mut self.from, &mut self.buffer, most, self.stalled, budget).await
    }
}

/// Reads at most so much more of a message; false at the end.
async fn more(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut impl BufMut,
    most: usize,
    stalled: Duration,
    budget: &Budget,
) -> io::Result<bool> {
    let mut waited = Duration::ZERO;
    loop {
        let mut part = (&mut *from).take(most as u64);
        match tokio::time::timeout(LOOK, part.read_buf(to)).await {
            Ok(count) => return Ok(count? > 0),
            Err(_) => waited += LOOK,
        }
        if waited >= stalled || (waited >= STALLED_WHEN_SCARCE && budget.is_scarce()) {
            return Err(broken("a message that stopped half-way"));
        }
    }
}

/// Takes memory, and with the first bytes of a message that of the call.
async fn take(bytes: usize, hold: &mut Hold, budget: &Budget) -> io::Result<()> {
    if hold.is_empty() {
        hold.add(budget.request(CALL_BYTES + bytes).await);
        return Ok(());
    }
    let more = budget.more_request(bytes).await;
    hold.add(more.ok_or_else(|| broken("a message that there is no memory for"))?);
    Ok(())
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
    async fn long_messages_between_short_ones() {
        let lengths = [5, STEP_BYTES, 128 << 10, LARGE_BYTES, LARGE_BYTES + 1, 7, MOST_RECORD, MOST_RECORD, 9];
        let messages: Vec<_> = (1..).zip(lengths).map(|(byte, length)| vec![byte; length]).collect();
        let bytes: Vec<_> = messages.iter().map(|message| [&mark(message.len())[..], message].concat()).collect();
        // All at once, and in pieces.
        assert!(read(&bytes.concat()).await.expect("whole") == messages);
        let (mut near, far) = tokio::io::duplex(1000);
        let writing =
            tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut near, &bytes.concat()).await });
        let (budget, mut records) = (Budget::new(64 << 20), Records::new(far));
        let before = budget.free();
        for message in messages {
            let record = records.next(&budget).await.expect("whole").expect("one more");
            assert!(record.message == message && before - budget.free() >= message.len());
        }
        writing.await.expect("it ends").expect("all is taken");
        assert_eq!(before, budget.free());
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
        assert!(waited.is_err() && before - budget.free() <= STEP_BYTES + CALL_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stops_half_way_is_given_up() {
        let budget = Budget::new(64 << 20);
        let (mut near, far) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut near, &mark(8)).await.expect("there is room");
        assert!(Records::new(far).next(&budget).await.is_err());
        assert_eq!(budget.free(), Budget::new(64 << 20).free());
    }

    /// So many messages of 1 MiB at once, of which each comes little by little: how many are read.
    async fn read_of(count: usize) -> usize {
        let budget = Budget::new(0); // as much as four of them
        let before = budget.free();
        let message = Bytes::from([&mark(1 << 20)[..], &[0; 1 << 20]].concat());
        let mut readers = tokio::task::JoinSet::new();
        for _ in 0..count {
            let (mut near, far) = tokio::io::duplex(STEP_BYTES);
            let (budget, message) = (budget.for_connection(), message.clone());
            tokio::spawn(async move {
                let _it_may_be_given_up = tokio::io::AsyncWriteExt::write_all(&mut near, &message).await;
            });
            readers.spawn(async move { Records::new(far).next(&budget).await.is_ok() });
        }
        let all = tokio::time::timeout(Duration::from_secs(600), readers.join_all()).await.expect("they end");
        assert_eq!(budget.free(), before);
        all.into_iter().filter(|is_read| *is_read).count()
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_are_read_one_after_another() {
        assert_eq!(read_of(100).await, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn beginnings_that_fill_all_memory_do_not_wait_for_each_other_forever() {
        assert!(read_of(300).await > 0);
    }
}
