//! A byte stream that outlives its wires. [`Link`] is what the layer above reads and writes; [`Keeper`] is its other side,
//! to which wires are given, one after the other: each replays what the one before may have lost.
//!
//! Whoever holds the link notices nothing of a wire that breaks but a pause: when the buffers are full, writes wait, as on a
//! pipe. The wire itself is always read to its end, whether the link is read or not, so a reader that stops is never taken
//! for a wire that broke.

use crate::sequence::{self, HEADER, Incoming, Kind, MOST_DATA, Malformed, Outgoing};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// What both ends agree on when a stream is made; the workstation decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// The most bytes that are kept for replay, and so are under way, in each direction.
    pub window: usize,
    /// How often an idle wire is written to.
    pub interval: Duration,
    /// A wire on which nothing arrives for so long is broken.
    pub deadline: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { window: 1 << 20, interval: Duration::from_secs(5), deadline: Duration::from_secs(20) }
    }
}

impl Config {
    /// Bounds within which a peer may choose: a hostile one gets no more memory, and no busy loop.
    pub fn bounded(self) -> Self {
        Self {
            window: self.window.clamp(4 << 10, 64 << 20),
            interval: self.interval.clamp(Duration::from_millis(10), Duration::from_secs(600)),
            deadline: self.deadline.clamp(Duration::from_millis(50), Duration::from_secs(3600)),
        }
    }
}

struct State {
    outgoing: Outgoing,
    incoming: Incoming,
    config: Config,
    /// Which wire is the present one; what still arrives on those before is not for us.
    wire: u64,
    /// Since when no wire is there; `None` if one is.
    cut: Option<Instant>,
    /// When bytes came last, or a wire.
    heard: Instant,
    /// Why the stream is over for good, if it is.
    over: Option<String>,
    /// Wakes the present wire's writer.
    writer: Arc<Notify>,
    link_reader: Option<Waker>,
    link_writer: Option<Waker>,
}

impl State {
    fn finish(&mut self, why: &str) {
        if self.over.is_none() {
            self.over = Some(why.to_owned());
        }
        self.wake_link();
        self.writer.notify_one();
    }

    fn wake_link(&mut self) {
        for waker in [self.link_reader.take(), self.link_writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

type Shared = Arc<Mutex<State>>;

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A new stream, without a wire yet.
pub fn stream(config: Config) -> (Keeper, Link) {
    let shared = Arc::new(Mutex::new(State {
        outgoing: Outgoing::new(config.window),
        incoming: Incoming::new(config.window),
        config,
        wire: 0,
        cut: Some(Instant::now()),
        heard: Instant::now(),
        over: None,
        writer: Arc::new(Notify::new()),
        link_reader: None,
        link_writer: None,
    }));
    (Keeper { shared: shared.clone() }, Link { shared })
}

/// The side of a stream to which wires are given.
#[derive(Clone)]
pub struct Keeper {
    shared: Shared,
}

impl Keeper {
    /// Lets go of the present wire, if there is one, for the next: how many bytes have arrived in all is settled by that.
    /// Several wires may be told so at once; the first that is attached counts.
    pub fn let_go(&self) -> Settled {
        let mut state = lock(&self.shared);
        if state.cut.is_none() {
            state.wire += 1;
            state.cut = Some(Instant::now());
            state.writer.notify_one(); // it sees that its wire is the present one no more
        }
        Settled { wire: state.wire, received: state.incoming.received() }
    }

    /// Whether an end that has received so many bytes can be sent what follows. One that spoke before a later wire was in
    /// service can't.
    pub fn can_resume(&self, received: u64) -> bool {
        lock(&self.shared).outgoing.can_resume(received)
    }

    /// Takes a wire over which `settled` was told; the other end has received `received` bytes in all, and holds `window`
    /// at most.
    ///
    /// # Errors
    /// If another wire came between, or the other end can't be the one that the stream was made with: it is over then.
    pub fn attach<W>(&self, wire: W, settled: Settled, received: u64, window: usize) -> Result<Attached<W>, String> {
        let mut state = lock(&self.shared);
        if state.wire != settled.wire {
            return Err("another connection took its place".into());
        }
        if let Some(why) = &state.over {
            return Err(why.clone());
        }
        state.wire += 1;
        state.outgoing.narrow(window);
        if let Err(e) = state.outgoing.resume(received) {
            let why = format!("the other end does not know this stream: {e}");
            state.finish(&why);
            return Err(why);
        }
        state.incoming.resume();
        (state.cut, state.heard) = (None, Instant::now());
        state.writer = Arc::new(Notify::new());
        Ok(Attached { shared: self.shared.clone(), number: state.wire, wire, config: state.config })
    }

    /// To know what became of bytes that are written later.
    pub fn writes(&self) -> Writes {
        Writes { shared: self.shared.clone(), before: 0 }
    }

    /// The stream is over: reads of the link fail with these words, and a wire that is there says so to the other end.
    pub fn finish(&self, why: &str) {
        lock(&self.shared).finish(why);
    }

    /// Why the stream is over, if it is.
    pub fn over(&self) -> Option<String> {
        lock(&self.shared).over.clone()
    }

    /// Whether the other end's reader has all that was written, or the stream is over.
    pub fn has_arrived(&self) -> bool {
        let state = lock(&self.shared);
        state.over.is_some() || state.outgoing.is_empty()
    }

    /// For how long nothing has come from the other end.
    pub fn silent_for(&self) -> Duration {
        lock(&self.shared).heard.elapsed()
    }

    /// For how long there has been no wire; `None` if there is one.
    pub fn without_wire(&self) -> Option<Duration> {
        lock(&self.shared).cut.map(|cut| cut.elapsed())
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("wire", &lock(&self.shared).wire).finish_non_exhaustive()
    }
}

/// What is written to a link from a moment on.
#[derive(Clone)]
pub struct Writes {
    shared: Shared,
    before: u64,
}

impl Writes {
    /// From now on.
    #[must_use]
    pub fn from_now(&self) -> Self {
        Self { shared: self.shared.clone(), before: lock(&self.shared).outgoing.end() }
    }

    /// Whether some of it was sent on a wire: the other end may have it.
    pub fn were_sent(&self) -> bool {
        lock(&self.shared).outgoing.ever_sent() > self.before
    }
}

impl std::fmt::Debug for Writes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writes").field("before", &self.before).finish_non_exhaustive()
    }
}

/// What has arrived, until the next wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    wire: u64,
    /// How many bytes have arrived in all.
    pub received: u64,
}

/// The side of a stream that is read and written. Dropped, the stream is over.
pub struct Link {
    shared: Shared,
}

impl Drop for Link {
    fn drop(&mut self) {
        lock(&self.shared).finish("closed here");
    }
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.shared);
        if state.incoming.is_empty() {
            if let Some(why) = &state.over {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why.clone())));
            }
            state.link_reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = state.incoming.read(into.initialize_unfilled());
        into.advance(count);
        if state.incoming.ack_is_due() {
            state.writer.notify_one();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.shared);
        if let Some(why) = &state.over {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, why.clone())));
        }
        let count = state.outgoing.write(bytes);
        if count == 0 && !bytes.is_empty() {
            state.link_writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.writer.notify_one();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// How a wire's service ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broke {
    /// The wire broke: the stream goes on.
    Wire(String),
    /// It was let go of for another one, over which the other end is being greeted.
    Replaced,
    /// The stream is over.
    Over(String),
}

/// A wire in service.
pub struct Attached<W> {
    shared: Shared,
    number: u64,
    wire: W,
    config: Config,
}

impl<W: AsyncRead + AsyncWrite + Unpin> Attached<W> {
    /// Carries bytes until the wire breaks or the stream is over.
    pub async fn run(self) -> Broke {
        let Self { shared, number, wire, config } = self;
        let (reader, writer) = tokio::io::split(wire);
        let ended = tokio::select! {
            broke = read(&shared, number, config, reader) => broke,
            broke = write(&shared, number, config, writer) => broke,
        };
        let mut state = lock(&shared);
        if state.wire == number {
            state.wire += 1;
            state.cut = Some(Instant::now());
        }
        match (&state.over, ended) {
            (Some(why), _) => Broke::Over(why.clone()),
            (None, ended) => ended,
        }
    }
}

async fn read<R: AsyncRead + Unpin>(shared: &Shared, number: u64, config: Config, mut reader: R) -> Broke {
    let mut buffer = vec![0; MOST_DATA + HEADER];
    let mut filled = 0;
    loop {
        match timeout(config.deadline, reader.read(&mut buffer[filled..])).await {
            Ok(Ok(0)) => return Broke::Wire("the connection was closed".into()),
            Ok(Ok(count)) => filled += count,
            Ok(Err(e)) => return Broke::Wire(e.to_string()),
            Err(_) => return Broke::Wire(format!("nothing came for {:?}", config.deadline)),
        }
        let mut used = 0;
        let mut state = lock(shared);
        if state.wire != number {
            return Broke::Replaced;
        }
        state.heard = Instant::now();
        match take_frames(&mut state, &buffer[..filled], &mut used) {
            Ok(false) => {}
            Ok(true) => {
                state.finish("closed by the other end");
                return Broke::Over("closed by the other end".into());
            }
            Err(e) => {
                let why = format!("the other end breaks the protocol: {e}");
                state.finish(&why);
                return Broke::Over(why);
            }
        }
        drop(state);
        buffer.copy_within(used..filled, 0);
        filled -= used;
    }
}

/// Takes all whole frames; `used` is how many bytes they were. Whether the other end said goodbye.
fn take_frames(state: &mut State, bytes: &[u8], used: &mut usize) -> Result<bool, Malformed> {
    while let Some((head, rest)) = bytes[*used..].split_first_chunk::<HEADER>() {
        let (kind, length, number) = sequence::header(*head)?;
        let Some(payload) = rest.get(..length) else { break };
        match kind {
            // Of a stream that is over here nobody reads any more; our goodbye is on its way.
            Kind::Data if state.over.is_some() => {}
            Kind::Data => {
                state.incoming.take(number, payload)?;
                if let Some(waker) = state.link_reader.take() {
                    waker.wake();
                }
            }
            Kind::Ack => {
                state.outgoing.acknowledge(number)?;
                if state.outgoing.room() > 0
                    && let Some(waker) = state.link_writer.take()
                {
                    waker.wake();
                }
            }
            Kind::Bye => return Ok(true),
        }
        *used += HEADER + length;
    }
    Ok(false)
}

async fn write<W: AsyncWrite + Unpin>(shared: &Shared, number: u64, config: Config, mut writer: W) -> Broke {
    let mut batch = Vec::with_capacity(MOST_DATA + 2 * HEADER);
    let mut idle_since = Instant::now();
    let notify = lock(shared).writer.clone();
    loop {
        batch.clear();
        let mut over = None;
        {
            let mut state = lock(shared);
            if state.wire != number {
                return Broke::Replaced;
            }
            if let Some(why) = &state.over {
                sequence::put_header(&mut batch, Kind::Bye, 0, 0);
                over = Some(why.clone());
            } else {
                if state.incoming.ack_is_due() || idle_since.elapsed() >= config.interval {
                    state.incoming.put_ack(&mut batch);
                }
                state.outgoing.put_next(&mut batch);
            }
        }
        if batch.is_empty() {
            let left = config.interval.saturating_sub(idle_since.elapsed());
            let _ = timeout(left, notify.notified()).await;
            continue;
        }
        idle_since = Instant::now();
        // A wire that takes nothing is found out by the reader: nothing arrives on it either.
        let written = async {
            writer.write_all(&batch).await?;
            writer.flush().await
        };
        match written.await {
            Ok(()) => {}
            Err(e) => return Broke::Wire(e.to_string()),
        }
        if let Some(why) = over {
            let _ = timeout(config.interval, writer.shutdown()).await;
            return Broke::Over(why);
        }
    }
}
