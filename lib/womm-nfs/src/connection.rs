//! One connection: calls in, replies out, many at once.

use crate::budget::{Budget, Hold};
use crate::compound::{self, Caller};
use crate::limits::{MOST_CALLS_OF_CONNECTION, STALLED};
use crate::rpc::record::{Records, mark};
use crate::rpc::{self, Message, Procedure};
use crate::server::{Server, address};
use crate::xdr::Encoder;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use womm_vfs::Vfs;

/// A reply on its way, and what is counted for it until it is sent.
#[derive(Debug)]
pub struct Reply {
    pieces: VecDeque<Bytes>,
    _hold: Hold,
    _place: OwnedSemaphorePermit,
}

impl Reply {
    fn new(body: Encoder, hold: Hold, place: OwnedSemaphorePermit) -> Self {
        let mut pieces = VecDeque::from([Bytes::copy_from_slice(&mark(body.len()))]);
        pieces.extend(body.into_pieces());
        Self { pieces, _hold: hold, _place: place }
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

/// Serves until the client goes, or sends what is no RPC, or takes nothing any more.
pub async fn serve<V: Vfs>(server: &Server<V>, stream: TcpStream, peer: SocketAddr) {
    // A reply is written at once; a machine that is gone is noticed in the end.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
    let caller = Connection { number: server.next_connection(), peer, budget: server.budget().for_connection() };
    let (from, to) = stream.into_split();
    let (replies_tx, replies_rx) = mpsc::channel(MOST_CALLS_OF_CONNECTION);
    tokio::select! {
        _ = read(server, &caller, Records::new(from), replies_tx) => {}
        _ = write(to, replies_rx) => {}
    }
}

struct Connection {
    number: u64,
    peer: SocketAddr,
    budget: Budget,
}

async fn read<V: Vfs>(
    server: &Server<V>,
    connection: &Connection,
    mut records: Records<tokio::net::tcp::OwnedReadHalf>,
    replies: mpsc::Sender<Reply>,
) -> io::Result<()> {
    let calls = Arc::new(Semaphore::new(MOST_CALLS_OF_CONNECTION));
    loop {
        // A place is given back when its reply was sent: who takes no replies is not read from any more.
        let place = calls.clone().acquire_owned().await.map_err(io::Error::other)?;
        let Some(record) = records.next(&connection.budget).await? else {
            drop(place);
            return half_closed(&calls).await;
        };
        let call = match rpc::read(record.message) {
            Ok(Message::Call(call)) => call,
            Ok(Message::Refuse(bytes)) => {
                let mut body = Encoder::new();
                body.fixed_opaque(&bytes);
                send(&replies, Reply::new(body, Hold::default(), place)).await;
                continue;
            }
            Ok(Message::Ignore) => continue,
            Err(malformed) => return Err(io::Error::other(malformed)),
        };
        let caller = Caller {
            credentials: call.credentials,
            address: address(connection.peer),
            connection: connection.number,
            budget: connection.budget.clone(),
        };
        let Procedure::Compound(arguments) = call.procedure else {
            send(&replies, Reply::new(rpc::success(call.id), Hold::default(), place)).await;
            continue;
        };
        let (server, replies, hold) = (server.clone(), replies.clone(), record.hold);
        // It goes on when the connection ends: what was begun is done, and a retry on another one finds its reply.
        tokio::spawn(async move {
            let (body, reply_hold) = answer(&server, caller, call.id, arguments).await;
            drop(hold);
            send(&replies, Reply::new(body, reply_hold, place)).await;
        });
    }
}

/// The client sends no more: what it has asked for is still answered.
async fn half_closed(calls: &Semaphore) -> io::Result<()> {
    let all = u32::try_from(MOST_CALLS_OF_CONNECTION).unwrap_or(u32::MAX);
    calls.acquire_many(all).await.map(|_| ()).map_err(io::Error::other)
}

async fn answer<V: Vfs>(
    server: &Server<V>,
    caller: Caller,
    id: u32,
    arguments: crate::xdr::Decoder,
) -> (Encoder, Hold) {
    match compound::run(server, &caller, arguments).await {
        Ok((results, hold)) => {
            let mut body = rpc::success(id);
            body.append(results);
            (body, hold)
        }
        Err(_) => {
            let mut body = Encoder::new();
            body.fixed_opaque(&rpc::garbage(id));
            (body, Hold::default())
        }
    }
}

async fn send(replies: &mpsc::Sender<Reply>, reply: Reply) {
    // Nobody is there to take it once the connection has ended.
    let _ = replies.send(reply).await;
}

async fn write(mut to: impl AsyncWrite + Unpin, mut replies: mpsc::Receiver<Reply>) -> io::Result<()> {
    while let Some(mut reply) = replies.recv().await {
        while reply.has_remaining() {
            let written = tokio::time::timeout(STALLED, to.write_buf(&mut reply)).await;
            if written.map_err(io::Error::other)?? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
    }
    Ok(())
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
        let mut reply = Reply::new(body, Hold::default(), place);
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
}
