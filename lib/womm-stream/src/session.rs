//! The multiplexer: many streams over one, each with flow control of its own (yamux).

use crate::pings::Answering;
use futures::future::poll_fn;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use yamux::{Config, Connection, Mode};

/// One job's byte stream. Dropped before its end, the other side sees a reset.
pub type Stream = Compat<yamux::Stream>;

/// The most jobs at once over one wire.
pub const MOST_STREAMS: usize = 4096;

/// The most bytes by which the windows of a wire's streams grow beyond yamux's 256 KiB each. A stream that is read fast gets
/// more of it: over a wire of 50 ms, 256 KiB at a time are 5 MiB/s.
const MOST_GROWTH: usize = 4 << 20;

/// Which end this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Opens streams.
    Workstation,
    /// Takes streams.
    Agent,
}

/// A handle to the multiplexer. It runs, in a task of its own, until what carries it breaks or the last handle is dropped.
#[derive(Debug, Clone)]
pub struct Session {
    requests_tx: mpsc::Sender<oneshot::Sender<Stream>>,
    ended_rx: watch::Receiver<Option<String>>,
}

/// Streams that the other side opened.
pub type Incoming = mpsc::UnboundedReceiver<Stream>;

/// The wire broke, or the other side closed it: why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

impl Session {
    /// Opens a stream. Nothing is sent before the first write.
    ///
    /// # Errors
    /// If the wire is broken.
    pub async fn open(&self) -> Result<Stream, Broken> {
        let (stream_tx, stream_rx) = oneshot::channel();
        if self.requests_tx.send(stream_tx).await.is_ok()
            && let Ok(stream) = stream_rx.await
        {
            return Ok(stream);
        }
        Err(self.broken().await)
    }

    /// Waits for the end and says why.
    pub async fn broken(&self) -> Broken {
        self.ended().wait().await
    }

    /// To hear of the end without being a handle.
    pub fn ended(&self) -> Ended {
        Ended(self.ended_rx.clone())
    }
}

/// Hears of a session's end, and does not keep it from it.
#[derive(Debug, Clone)]
pub struct Ended(watch::Receiver<Option<String>>);

impl Ended {
    /// Waits for the end and says why.
    pub async fn wait(&mut self) -> Broken {
        match self.0.wait_for(Option::is_some).await {
            Ok(why) => Broken(why.clone().unwrap_or_default()),
            Err(_) => Broken("the connection was dropped".into()),
        }
    }
}

/// What carried it knows best why it ended.
fn words(error: &yamux::ConnectionError) -> String {
    match error {
        yamux::ConnectionError::Io(e) => e.to_string(),
        other => other.to_string(),
    }
}

/// Starts the multiplexer on what carries it: a [`crate::resumable::Link`], or in tests anything.
pub fn start<W>(wire: W, side: Side) -> (Session, Incoming)
where
    W: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut config = Config::default();
    // Not more streams than the room is for, before there is room for less.
    config.set_max_connection_receive_window(Some(MOST_STREAMS * yamux::DEFAULT_CREDIT as usize + MOST_GROWTH));
    config.set_max_num_streams(MOST_STREAMS);
    let mode = if side == Side::Workstation { Mode::Client } else { Mode::Server };
    let connection = Connection::new(Answering::new(wire).compat(), config, mode);
    let (requests_tx, requests_rx) = mpsc::channel(64);
    let (incoming_tx, incoming_rx) = mpsc::unbounded_channel(); // bounded by MOST_STREAMS
    let (ended_tx, ended_rx) = watch::channel(None);
    tokio::spawn(async move {
        let why = drive(connection, side, requests_rx, &incoming_tx).await;
        drop(incoming_tx);
        let _ = ended_tx.send(Some(why));
    });
    (Session { requests_tx, ended_rx }, incoming_rx)
}

async fn drive<W>(
    mut connection: Connection<Compat<W>>,
    side: Side,
    mut requests_rx: mpsc::Receiver<oneshot::Sender<Stream>>,
    incoming_tx: &mpsc::UnboundedSender<Stream>,
) -> String
where
    W: AsyncRead + AsyncWrite + Unpin,
{
    let mut asked: Option<oneshot::Sender<Stream>> = None;
    poll_fn(|cx| {
        loop {
            if asked.is_none() {
                match requests_rx.poll_recv(cx) {
                    Poll::Ready(Some(request)) => asked = Some(request),
                    // Dropped, not closed in order: the pod may be gone and the wire stuck, and then streams would
                    // wait for an answer for ever.
                    Poll::Ready(None) => {
                        return Poll::Ready(match connection.poll_next_inbound(cx) {
                            Poll::Ready(Some(Err(e))) => words(&e), // it had ended before
                            _ => "closed here".to_owned(),
                        });
                    }
                    Poll::Pending => {}
                }
            }
            if asked.is_some() {
                match connection.poll_new_outbound(cx) {
                    Poll::Ready(Ok(stream)) => {
                        if let Some(request) = asked.take() {
                            let _ = request.send(stream.compat()); // whoever asked may have given up
                        }
                        continue;
                    }
                    Poll::Ready(Err(e)) => return Poll::Ready(words(&e)),
                    Poll::Pending => {}
                }
            }
            match connection.poll_next_inbound(cx) {
                // It would be dropped, but what it may send is kept: no agent of ours does that.
                Poll::Ready(Some(Ok(_))) if side == Side::Workstation => {
                    return Poll::Ready("the other end opened a stream, which only this one does".to_owned());
                }
                Poll::Ready(Some(Ok(stream))) => {
                    let _ = incoming_tx.send(stream.compat()); // nobody takes streams: dropped, so reset
                }
                Poll::Ready(Some(Err(e))) => return Poll::Ready(words(&e)),
                Poll::Ready(None) => return Poll::Ready("closed by the other end".to_owned()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn pair() -> ((Session, Incoming), (Session, Incoming)) {
        let (near, far) = tokio::io::duplex(64 << 10);
        (start(near, Side::Workstation), start(far, Side::Agent))
    }

    #[tokio::test]
    async fn one_stream_that_nobody_reads_stalls_no_other() {
        let ((near, _a), (_far, mut incoming)) = pair();
        let mut stuck = near.open().await.expect("alive");
        let filler = tokio::spawn(async move {
            let _ = stuck.write_all(&vec![0; 8 << 20]).await;
        });
        let _unread = incoming.recv().await.expect("opened by its first write");
        let mut other = near.open().await.expect("alive");
        other.write_all(b"ping").await.expect("alive");
        let mut theirs = incoming.recv().await.expect("opened");
        let mut got = [0; 4];
        theirs.read_exact(&mut got).await.expect("passes the stuck one");
        assert_eq!(&got, b"ping");
        assert!(!filler.is_finished());
    }

    #[tokio::test]
    async fn a_peer_that_breaks_the_protocol_is_left() {
        for (what, frame) in [
            ("data for no stream of its own", [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]),
            ("a stream that the agent opens", [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0]),
            ("another version", [1; 12]),
        ] {
            let (near, mut far) = tokio::io::duplex(1 << 10);
            let (session, _incoming) = start(near, Side::Workstation);
            far.write_all(&frame).await.expect("room");
            let ended = tokio::time::timeout(std::time::Duration::from_secs(5), session.broken()).await;
            assert!(ended.is_ok(), "{what}: and it stays"); // `far` does not close
        }
    }

    #[tokio::test]
    async fn a_broken_wire_ends_streams_and_session() {
        let (near, far) = tokio::io::duplex(1 << 10);
        let (session, _incoming) = start(near, Side::Workstation);
        let mut stream = session.open().await.expect("alive");
        stream.write_all(b"x").await.expect("alive");
        drop(far);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        session.broken().await;
        assert!(session.open().await.is_err());
    }

    #[tokio::test]
    async fn the_last_handle_takes_the_streams_with_it_even_on_a_stuck_wire() {
        let (near, _far) = tokio::io::duplex(1 << 10); // nobody reads at the other end
        let (session, incoming) = start(near, Side::Workstation);
        let mut stream = session.open().await.expect("alive");
        stream.write_all(&[0; 8 << 10]).await.expect("within the window");
        drop((session, incoming));
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await; // ends, which is all that it has to
    }

    #[tokio::test]
    async fn a_dropped_stream_is_noticed_by_the_other_side() {
        let ((near, _a), (_far, mut incoming)) = pair();
        let mut stream = near.open().await.expect("alive");
        stream.write_all(b"x").await.expect("alive");
        let mut theirs = incoming.recv().await.expect("opened");
        drop(stream);
        let mut rest = Vec::new();
        let _ = theirs.read_to_end(&mut rest).await;
        assert_eq!(rest, b"x");
    }
}
