//! Answers the other end's pings in yamux's place. yamux measures by them how far away the other end is, and gives a stream
//! that is read fast a larger window; but yamux 0.14 stops reading while its answer to one waits to be sent: two ends that
//! both do so, with full buffers in both directions, never go on. Here an answer waits without keeping anything from being read.
//!
//! And takes yamux at its word when it tells the other end that it breaks the protocol: it would go on until that one closes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a yamux frame's header: version, type, flags (2), stream (4), length (4).
const HEADER: usize = 12;
const DATA: u8 = 0;
const PING: u8 = 2;
const GO_AWAY: u8 = 3;
/// The flag of a ping that wants an answer, in the second of the two bytes.
const SYN: u8 = 1;
/// The flag of the answer.
const ACK: u8 = 2;

type Header = [u8; HEADER];

/// Bytes after a header: only data has some; of the other kinds the length says something else.
fn body(header: &Header) -> usize {
    let [_, kind, _, _, _, _, _, _, length @ ..] = *header;
    if kind == DATA { u32::from_be_bytes(length) as usize } else { 0 }
}

/// A wire below yamux.
pub struct Answering<W> {
    wire: W,
    reading: Reading,
    /// Bytes of the frame being written that are still to come from yamux; 0 between two frames.
    writing: usize,
    /// The latest answer that is due, and how much of it was written.
    answer: Option<(Header, usize)>,
    /// GoAway was sent.
    over: bool,
}

/// Where in the stream of frames reading is.
enum Reading {
    /// In a header: what has come of it.
    Header(Header, usize),
    /// A header that is whole, how much of it was passed on.
    Passing(Header, usize),
    /// In a body, of which so many bytes are to come.
    Body(usize),
}

const BEGIN: Reading = Reading::Header([0; HEADER], 0);

impl<W> Answering<W> {
    pub fn new(wire: W) -> Self {
        Self { wire, reading: BEGIN, writing: 0, answer: None, over: false }
    }
}

impl<W: AsyncWrite + Unpin> Answering<W> {
    /// Writes the answer that is due, between two frames of yamux's.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((header, written)) = &mut self.answer
            && (self.writing == 0 || *written > 0)
        {
            match ready!(Pin::new(&mut self.wire).poll_write(cx, &header[*written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => *written += count,
            }
            if *written == HEADER {
                self.answer = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<W: AsyncRead + AsyncWrite + Unpin> AsyncRead for Answering<W> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(Err(io::Error::other("the other end breaks the protocol of streams")));
        }
        loop {
            if let Poll::Ready(Err(e)) = this.poll_answer(cx) {
                return Poll::Ready(Err(e));
            }
            match &mut this.reading {
                Reading::Header(header, filled) => {
                    let mut buffer = ReadBuf::new(&mut header[*filled..]);
                    ready!(Pin::new(&mut this.wire).poll_read(cx, &mut buffer))?;
                    match buffer.filled().len() {
                        0 => return Poll::Ready(Ok(())), // the end; in the middle of a header it is one too
                        count => *filled += count,
                    }
                    if *filled == HEADER {
                        let header = *header;
                        this.reading = this.take(header);
                    }
                }
                Reading::Passing(header, passed) => {
                    let count = into.remaining().min(HEADER - *passed);
                    into.put_slice(&header[*passed..*passed + count]);
                    *passed += count;
                    if *passed == HEADER {
                        let left = body(header);
                        this.reading = if left == 0 { BEGIN } else { Reading::Body(left) };
                    }
                    return Poll::Ready(Ok(()));
                }
                Reading::Body(left) => {
                    let most = into.remaining().min(*left);
                    let mut buffer = ReadBuf::new(into.initialize_unfilled_to(most));
                    ready!(Pin::new(&mut this.wire).poll_read(cx, &mut buffer))?;
                    let count = buffer.filled().len();
                    into.advance(count);
                    *left -= count;
                    if *left == 0 {
                        this.reading = BEGIN;
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl<W> Answering<W> {
    /// A whole header: a ping is for us, all else for yamux.
    fn take(&mut self, header: Header) -> Reading {
        let [version, kind, _, flags, ..] = header;
        if kind != PING || flags & SYN == 0 || version != 0 {
            return Reading::Passing(header, 0);
        }
        let mut answer = header;
        (answer[2], answer[3]) = (0, ACK);
        // One that is half written is finished; a flood of pings gets the last one answered.
        if self.answer.is_none_or(|(_, written)| written == 0) {
            self.answer = Some((answer, 0));
        }
        BEGIN
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Answering<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_answer(cx))?;
        // yamux writes a frame's header by itself.
        let begins = <&Header>::try_from(bytes).ok().filter(|_| self.writing == 0);
        let written = ready!(Pin::new(&mut self.wire).poll_write(cx, bytes))?;
        if let Some(header) = begins {
            self.writing = HEADER + body(header);
            self.over |= header[1] == GO_AWAY;
        }
        self.writing = self.writing.saturating_sub(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(cx))?;
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    fn ping(id: u8) -> Header {
        [0, PING, 0, SYN, 0, 0, 0, 0, 0, 0, 0, id]
    }

    fn pong(id: u8) -> Header {
        [0, PING, 0, ACK, 0, 0, 0, 0, 0, 0, 0, id]
    }

    fn data(length: u8) -> Vec<u8> {
        let mut frame = vec![0, DATA, 0, 0, 0, 0, 0, 1, 0, 0, 0, length];
        frame.resize(HEADER + usize::from(length), PING);
        frame
    }

    #[tokio::test]
    async fn pings_are_answered_and_all_else_passes_whatever_the_pieces() {
        for capacity in [1, 5, 12, 64, 4096] {
            let (near, far) = duplex(capacity);
            let mut near = Answering::new(near);
            // A body that looks like pings, a ping, an answer to one of ours, a window update with a length.
            let update = [0, 1, 0, 0, 0, 0, 0, 1, 0, 4, 0, 0];
            let sent = [&data(200)[..], &ping(7), &pong(9), &data(0), &update, &data(3)].concat();
            let expected = [&data(200)[..], &pong(9), &data(0), &update, &data(3)].concat();
            let (mut far_reader, mut far_writer) = tokio::io::split(far);
            let writer = tokio::spawn(async move { far_writer.write_all(&sent).await });
            let answer = tokio::spawn(async move {
                let mut answer = [0; HEADER];
                far_reader.read_exact(&mut answer).await.map(|_| (answer, far_reader))
            });
            let mut got = vec![0; expected.len()];
            near.read_exact(&mut got).await.expect("whole");
            assert_eq!(got, expected, "capacity {capacity}");
            writer.await.expect("no panic").expect("written");
            // Reading goes on, as yamux does, until the answer is out.
            let mut byte = [0];
            tokio::select! {
                answer = answer => assert_eq!(answer.expect("no panic").expect("whole").0, pong(7), "capacity {capacity}"),
                read = near.read(&mut byte) => panic!("nothing more was sent: {read:?}"),
            }
        }
    }

    #[tokio::test]
    async fn an_answer_waits_for_the_frame_that_is_being_written() {
        let (near, mut far) = duplex(4096);
        let mut near = Answering::new(near);
        let frame = data(20);
        near.write_all(&frame[..HEADER]).await.expect("room");
        near.write_all(&frame[HEADER..20]).await.expect("room");
        far.write_all(&[&ping(1)[..], &data(0)].concat()).await.expect("room");
        let mut header = [0; HEADER];
        near.read_exact(&mut header).await.expect("what is no ping");
        near.write_all(&frame[20..]).await.expect("room");
        near.flush().await.expect("room");
        let mut got = vec![0; frame.len() + HEADER];
        far.read_exact(&mut got).await.expect("whole");
        assert_eq!(got, [&frame[..], &pong(1)].concat());
    }

    #[tokio::test]
    async fn a_flood_of_pings_takes_no_memory_and_keeps_nothing_from_being_read() {
        let (near, mut far) = duplex(64);
        let mut near = Answering::new(near);
        let flood = tokio::spawn(async move {
            for id in 0..200 {
                far.write_all(&ping(id)).await?;
            }
            far.write_all(&data(1)).await.map(|()| far)
        });
        let mut got = [0; HEADER + 1];
        near.read_exact(&mut got).await.expect("nobody reads the answers, and still it comes");
        assert_eq!(got, data(1)[..]);
        flood.await.expect("no panic").expect("all written");
    }
}
