//! Many jobs over one byte stream to a pod. Knows bytes, not pods.
//!
//! Layers, from the wire up:
//!
//! | layer | module |
//! |---|---|
//! | a wire: any `AsyncRead + AsyncWrite` that may break at any byte | the caller's |
//! | greeting: who is there, which protocol | [`hello`] |
//! | resumable stream: replay after a break | not yet: its place is between greeting and multiplexer, in [`connect`] and [`accept`] |
//! | multiplexer with flow control per job: yamux | [`session`] |
//! | frames of one job | [`frames`] |

pub mod frames;
pub mod hello;
pub mod session;

use hello::{Hello, HelloError};
use session::{Incoming, Session};
use tokio::io::{AsyncRead, AsyncWrite};

/// The workstation's side: greets the agent and opens streams.
///
/// # Errors
/// If the wire breaks or the agent speaks another protocol. No deadline: the caller's.
pub async fn connect<W>(mut wire: W, ours: &Hello) -> Result<(Hello, Session), HelloError>
where
    W: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let theirs = hello::exchange(&mut wire, ours).await?;
    let (session, _) = session::start(wire, session::Side::Workstation);
    Ok((theirs, session))
}

/// The agent's side: answers the greeting and takes streams.
///
/// # Errors
/// As [`connect`].
pub async fn accept<W>(mut wire: W, ours: &Hello) -> Result<(Hello, Session, Incoming), HelloError>
where
    W: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let theirs = hello::exchange(&mut wire, ours).await?;
    let (session, incoming) = session::start(wire, session::Side::Agent);
    Ok((theirs, session, incoming))
}
