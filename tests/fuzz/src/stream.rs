//! `womm_stream`'s multiplexer with a peer that sends anything.

use crate::input::{Input, at_once, now};
use crate::memory::at_most;
use std::task::Poll;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use womm_stream::session::{MOST_STREAMS, Side, start};

thread_local! {
    /// Made once: that costs more than most runs.
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

/// Runs a future on this thread, with all that it starts.
pub fn run<F: Future>(future: F) -> F::Output {
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// Yamux frames in any order, and our side doing its work meanwhile.
pub fn session(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let settings = input.byte();
    let side = if settings & 1 == 0 { Side::Workstation } else { Side::Agent };
    let (takes, reads) = (settings & 2 == 0, settings & 4 == 0);
    // The wire's two buffers; a frame is reserved as its header says, 1 MiB at most; streams that the peer opens with
    // 12 bytes; and bytes that nobody has read yet, each of which may have been a frame.
    let frames = bytes.len() / 2;
    let most = (16 << 10) + (1 << 20) + frames.min(MOST_STREAMS) * 4096 + 128 * bytes.len() + (64 << 10);
    at_most(most, || {
        run(async {
            let (near, mut far) = tokio::io::duplex(8 << 10);
            let (session, mut incoming) = start(near, side);
            let mut streams = Vec::new();
            let mut buffer = [0; 4096];
            while !input.is_empty() {
                let op = input.byte();
                match op & 7 {
                    0..=3 => {
                        let mut frame = vec![0, op & 3, 0, op >> 3];
                        // Few streams, so that their frames meet.
                        let id = input.byte();
                        frame
                            .extend_from_slice(&if id < 16 { id.into() } else { input.number(4) as u32 }.to_be_bytes());
                        let length = input.byte();
                        let body = if op & 3 == 0 { input.take(length.into()) } else { &[] };
                        let said = match length {
                            255 => input.number(4) as u32,
                            length if op & 3 == 0 => u32::from(length).min(body.len() as u32),
                            length => length.into(),
                        };
                        frame.extend_from_slice(&said.to_be_bytes());
                        frame.extend_from_slice(body);
                        // A peer whose bytes are not taken has to wait, and so gets no further.
                        let _ = now(far.write_all(&frame));
                    }
                    4 => {
                        let _ = now(far.write_all(input.bytes()));
                    }
                    5 => {
                        if streams.len() < 16
                            && let Poll::Ready(Ok(stream)) = now(session.open())
                        {
                            streams.push(stream);
                        } else if streams.len() < 16 {
                            // It takes a turn of the multiplexer's.
                            let session = session.clone();
                            let opening = tokio::spawn(async move { session.open().await });
                            turns(8).await;
                            if opening.is_finished()
                                && let Ok(Ok(stream)) = opening.await
                            {
                                streams.push(stream);
                            }
                        }
                    }
                    6 => {
                        let which = usize::from(op >> 3) % streams.len().max(1);
                        if let Some(stream) = streams.get_mut(which) {
                            let _ = now(stream.write_all(&buffer[..input.byte().into()]));
                        }
                    }
                    _ if op & 0x80 == 0 => {
                        let which = usize::from(op >> 3) % streams.len().max(1);
                        if let Some(stream) = streams.get_mut(which) {
                            let _ = now(stream.read(&mut buffer));
                        }
                    }
                    _ if !streams.is_empty() => drop(streams.swap_remove(usize::from(op >> 3) % streams.len())),
                    _ => {}
                }
                turns(2).await;
                if reads {
                    while let Poll::Ready(Ok(1..)) = now(far.read(&mut buffer)) {}
                }
                assert!(side == Side::Agent || incoming.try_recv().is_err(), "only the workstation opens streams");
                while takes && let Ok(stream) = incoming.try_recv() {
                    streams.push(stream);
                }
            }
            drop(far);
            // It notices, though nobody reads the streams, and they end.
            let ended = tokio::spawn(async move {
                session.broken().await;
                session.open().await.is_err()
            });
            turns(64).await;
            assert!(ended.is_finished(), "the wire is gone and the session is not");
            assert!(ended.await.expect("no panic"));
            while let Ok(stream) = incoming.try_recv() {
                streams.push(stream);
            }
            for mut stream in streams {
                while let Ok(1..) = at_once(stream.read(&mut buffer)) {}
            }
        });
    });
}

/// Lets what else runs here go on.
pub async fn turns(count: usize) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::peak;
    use tokio::io::{DuplexStream, duplex};

    /// A data frame of yamux's.
    fn data(flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 0, 0, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
        frame.extend_from_slice(body);
        frame
    }

    const SYN: u8 = 1;

    /// Sends as much as is taken.
    async fn send(far: &mut DuplexStream, mut bytes: &[u8]) {
        for _ in 0..100_000 {
            match now(far.write(bytes)) {
                Poll::Ready(Ok(count)) => bytes = &bytes[count..],
                Poll::Ready(Err(_)) => return,
                Poll::Pending => {}
            }
            if bytes.is_empty() {
                return;
            }
            turns(2).await;
        }
    }

    #[test]
    fn an_agent_that_opens_streams_and_reads_nothing_gets_no_memory() {
        let (_, memory) = peak(|| {
            run(async {
                let (near, mut far) = duplex(1 << 10);
                let (session, incoming) = start(near, Side::Workstation);
                drop(incoming); // as in greeting.rs
                let mut ours = session.open().await.expect("alive");
                let _ = now(ours.write_all(&[1; 64 << 10])); // more than the wire holds, and nobody reads it
                turns(20).await;
                for n in 0..40 {
                    send(&mut far, &data(SYN, 2 + 2 * n, &[7; 256 << 10])).await;
                }
                drop(session);
                turns(8).await;
            });
        });
        assert!(memory < 2 << 20, "{memory} bytes");
    }

    #[test]
    fn one_byte_frames_take_no_more_than_sixty_times_a_window() {
        let (_, memory) = peak(|| {
            run(async {
                let (near, mut far) = duplex(8 << 10);
                let (session, incoming) = start(near, Side::Agent);
                send(&mut far, &data(SYN, 1, b"x")).await;
                let some = data(0, 1, b"x").repeat(500);
                for _ in 0..(256 << 10) / 500 {
                    send(&mut far, &some).await;
                }
                drop((session, incoming));
                turns(8).await;
            });
        });
        // yamux counts bytes and keeps vectors: of 32 bytes each, in a row that grows by doubling.
        assert!(memory < 60 * (256 << 10), "{memory} bytes");
    }
}
