//! Many jobs over one byte stream to a pod, which outlives the connections that carry it. Knows bytes, not pods.
//!
//! Layers, from the wire up:
//!
//! | layer | module |
//! |---|---|
//! | a wire: any `AsyncRead + AsyncWrite` that may break at any byte | the caller's |
//! | greeting: who is there, which protocol, which stream, how far it has come | [`greeting`] |
//! | resumable stream: what a wire lost is sent again on the next; keepalive | [`resumable`], its bookkeeping in [`sequence`] |
//! | multiplexer with flow control per job: yamux | [`session`], its pings in `pings` |
//! | frames of one job | [`frames`] |

pub mod frames;
pub mod greeting;
mod pings;
pub mod resumable;
pub mod sequence;
pub mod session;
