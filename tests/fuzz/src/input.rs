//! Bytes of a fuzzer, read as numbers, pieces and values: never short, as what is missing is zero.

use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A place in the bytes.
#[derive(Clone)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub fn number(&mut self, bytes: usize) -> u64 {
        self.take(bytes).iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    /// Up to so many bytes.
    pub fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Bytes after their length.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = self.byte();
        self.take(length.into())
    }

    pub fn maybe(&mut self) -> Option<Vec<u8>> {
        self.flag().then(|| self.bytes().to_vec())
    }

    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// Cuts bytes into pieces, mostly small ones; how is up to the seed.
pub fn pieces(bytes: &[u8], seed: u64) -> Vec<&[u8]> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let length = if state & 3 == 0 { state >> 8 & 0xfff } else { state >> 8 & 7 };
        let (piece, after) = rest.split_at((length as usize + 1).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// A byte stream that gives these pieces, a piece a read, and then ends. It takes all that is written.
pub struct Pieces<'a> {
    pieces: std::vec::IntoIter<&'a [u8]>,
    piece: &'a [u8],
}

impl<'a> Pieces<'a> {
    pub fn new(bytes: &'a [u8], seed: u64) -> Self {
        Self { pieces: pieces(bytes, seed).into_iter(), piece: &[] }
    }
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if self.piece.is_empty() {
            self.piece = self.pieces.next().unwrap_or_default();
        }
        let (now, later) = self.piece.split_at(self.piece.len().min(buf.remaining()));
        buf.put_slice(now);
        self.piece = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Polls once.
pub fn now<F: Future>(future: F) -> Poll<F::Output> {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    std::pin::pin!(future).poll(&mut cx)
}

/// What a future gives that never has to wait.
#[track_caller]
pub fn at_once<F: Future>(future: F) -> F::Output {
    match now(future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits, for what never comes"),
    }
}
