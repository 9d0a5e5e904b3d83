//! Frames of one job, read from and written to any async byte stream.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use womm_wire::frame::{self, HEADER, Kind};

/// Reads one frame into `frame`, header included; `None` at an end between two frames.
/// Not cancel-safe: a reader that was cancelled has lost its place.
///
/// # Errors
/// If the stream breaks, ends inside a frame, or what comes is no frame.
pub async fn read<R: AsyncRead + Unpin>(reader: &mut R, frame: &mut Vec<u8>) -> io::Result<Option<Kind>> {
    let mut head = [0; HEADER];
    match reader.read(&mut head).await? {
        0 => return Ok(None),
        n => reader.read_exact(&mut head[n..]).await.map(|_| ())?,
    }
    let (kind, length) = frame::header(head).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    frame.clear();
    frame.extend_from_slice(&head);
    frame.resize(HEADER + length, 0);
    reader.read_exact(&mut frame[HEADER..]).await?;
    Ok(Some(kind))
}

/// Writes one frame.
///
/// # Errors
/// If the stream breaks.
pub async fn write<W: AsyncWrite + Unpin>(writer: &mut W, kind: Kind, payload: &[u8]) -> io::Result<()> {
    writer.write_all(&frame::encode(kind, payload)).await?;
    writer.flush().await
}
