//! One connection: calls in, replies out, many at once.

use crate::budget::{Budget, Hold};
use crate::compound::{self, Caller};
use crate::fault::caught;
use crate::limits::{CALL_BYTES, LOOK, MOST_CALLS_OF_CONNECTION, STALLED, STALLED_WHEN_SCARCE};
use crate::rpc::record::{Record, Records, mark};
use crate::rpc::{self, Message, Procedure};
use crate::server::{Server, address};
use crate::xdr::Encoder;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use womm_vfs::Vfs;

/// A reply on its way, and what is counted for it until it is sent.
#[derive(Debug)]
pub struct Reply {
    pieces: VecDeque<Bytes>,
    _holds: [Hold; 2],
    _place: OwnedSemaphorePermit,
}

impl Reply {
    fn new(body: Encoder, holds: [Hold; 2], place: OwnedSemaphorePermit) -> Self {
        let mut pieces = VecDeque::from([Bytes::copy_from_slice(&mark(body.len()))]);
        pieces.extend(body.into_pieces());
        Self { pieces, _holds: holds, _place: place }
    }
}

/// Pieces are sent as they are, together.
impl Buf for Reply {
    fn remaining(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| &piece[..])
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.pieces);
        filled.map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }
}

/// What all calls of a connection share.
struct Connection<V> {
    server: Server<V>,
    number: u64,
    address: IpAddr,
    budget: Budget,
    /// A reply is written whole before the next one, by whoever made it.
    to: Mutex<OwnedWriteHalf>,
    /// The client takes nothing any more.
    broken: CancellationToken,
}

/// Serves until the client goes, or sends what is no RPC, or takes nothing any more.
pub async fn serve<V: Vfs>(server: &Server<V>, stream: TcpStream, peer: SocketAddr) {
    // A reply is written at once; a machine that is gone is noticed in the end.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
    let (from, to) = stream.into_split();
    let connection = Arc::new(Connection {
        server: server.clone(),
        number: server.next_connection(),
        address: address(peer),
        budget: server.budget().for_connection(),
        to: Mutex::new(to),
        broken: CancellationToken::new(),
    });
    tokio::select! {
        _ = read(&connection, Records::new(from)) => {}
        () = connection.broken.cancelled() => {}
    }
    // What is answered from now on is dropped.
    connection.broken.cancel();
}

async fn read<V: Vfs>(connection: &Arc<Connection<V>>, mut records: Records<OwnedReadHalf>) -> io::Result<()> {
    let calls = Arc::new(Semaphore::new(MOST_CALLS_OF_CONNECTION));
    loop {
        // A place is given back when its reply was sent: who takes no replies is not read from any more.
        let place = calls.clone().acquire_owned().await.map_err(io::Error::other)?;
        let Some(record) = records.next(&connection.budget).await? else {
            drop(place);
            return half_closed(&calls).await;
        };
        // What panics outside of an operation has no answer: the client asks again over another connection.
        let own = connection.clone();
        let mut answering = Box::pin(async move { caught(pin!(own.answer(record, place))).await });
        // A call by itself is mostly done at once, in this task: to wake another one would take longer. Of several, each has its
        // own. One goes on when the connection ends: what was begun is done, and a retry over another one finds its reply.
        let alone = !records.has_more() && calls.available_permits() + 1 == MOST_CALLS_OF_CONNECTION;
        if alone {
            match poll_fn(|cx| Poll::Ready(answering.as_mut().poll(cx))).await {
                Poll::Ready(result) => {
                    result.map_err(io::Error::other)??;
                    continue;
                }
                Poll::Pending => {}
            }
        }
        let broken = connection.broken.clone();
        tokio::spawn(async move {
            if !matches!(answering.await, Ok(Ok(()))) {
                broken.cancel();
            }
        });
    }
}

/// The client sends no more: what it has asked for is still answered.
async fn half_closed(calls: &Semaphore) -> io::Result<()> {
    let all = u32::try_from(MOST_CALLS_OF_CONNECTION).unwrap_or(u32::MAX);
    calls.acquire_many(all).await.map(|_| ()).map_err(io::Error::other)
}

impl<V: Vfs> Connection<V> {
    /// Answers a message. An error ends the connection.
    async fn answer(self: Arc<Self>, mut record: Record, place: OwnedSemaphorePermit) -> io::Result<()> {
        let call = match rpc::read(record.message) {
            Ok(Message::Call(call)) => call,
            Ok(Message::Refuse(bytes)) => return self.send(plain(&bytes), [record.hold, Hold::default()], place).await,
            Ok(Message::Ignore) => return Ok(()),
            Err(malformed) => return Err(io::Error::other(malformed)),
        };
        let Procedure::Compound(arguments) = call.procedure else {
            return self.send(rpc::success(call.id), [record.hold, Hold::default()], place).await;
        };
        let caller = Caller {
            credentials: call.credentials,
            address: self.address,
            connection: self.number,
            budget: self.budget.clone(),
        };
        let (body, hold) = match compound::run(&self.server, &caller, arguments).await {
            Ok((results, hold)) => {
                let mut body = rpc::success(call.id);
                body.append(results);
                (body, hold)
            }
            Err(_) => (plain(&rpc::garbage(call.id)), Hold::default()),
        };
        // What it asked for is done with.
        record.hold.shrink(CALL_BYTES);
        self.send(body, [record.hold, hold], place).await
    }

    async fn send(&self, body: Encoder, holds: [Hold; 2], place: OwnedSemaphorePermit) -> io::Result<()> {
        let mut reply = Reply::new(body, holds, place);
        let mut to = self.to.lock().await;
        while reply.has_remaining() {
            if self.broken.is_cancelled() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if self.write(&mut to, &mut reply).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Writes what the other end takes, if it takes anything; what nobody takes may be memory that others need.
    async fn write(&self, to: &mut OwnedWriteHalf, reply: &mut Reply) -> io::Result<usize> {
        let mut waited = Duration::ZERO;
        loop {
            if let Ok(written) = tokio::time::timeout(LOOK, to.write_buf(reply)).await {
                return written;
            }
            waited += LOOK;
            if waited >= STALLED || (waited >= STALLED_WHEN_SCARCE && self.budget.is_scarce()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

fn plain(bytes: &[u8]) -> Encoder {
    let mut body = Encoder::new();
    body.fixed_opaque(bytes);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_are_sent_in_order() {
        let mut body = Encoder::new();
        body.u32(1).opaque_bytes(Bytes::from(vec![7; 10_000])).u32(2);
        let calls = Arc::new(Semaphore::new(1));
        let place = calls.acquire_owned().await.expect("it is open");
        let expected = [&mark(body.len())[..], &body.clone().into_bytes()].concat();
        let mut reply = Reply::new(body, Default::default(), place);
        assert_eq!(reply.remaining(), expected.len());
        let mut slices = [IoSlice::new(&[]); 8];
        assert!(reply.chunks_vectored(&mut slices) >= 3);
        let mut sent = Vec::new();
        while reply.has_remaining() {
            let count = reply.chunk().len().min(333);
            sent.extend_from_slice(&reply.chunk()[..count]);
            reply.advance(count);
        }
        assert_eq!(sent, expected);
    }

    fn bytes_of_future<A, B, C, F: Future>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_call_takes_no_more_than_is_counted() {
        let future = bytes_of_future(Connection::<womm_vfs::memory::MemoryVfs>::answer);
        // The rest is for its reply.
        assert!(future <= CALL_BYTES / 2, "{future} bytes");
    }
}
