//! A door for `tests/fuzz` into what reads what Docker sends. Built with the feature `fuzz` only.

use super::dial::ExecWire;
use crate::Wire;
use bollard::container::LogOutput;

/// One item of what Docker sends through an exec.
#[derive(Debug, Clone)]
pub enum Sent {
    /// A frame of stdout.
    Stdout(Vec<u8>),
    /// A frame of stderr.
    Stderr(Vec<u8>),
    /// Bytes without a frame.
    Console(Vec<u8>),
    /// A frame of stdin, which Docker does not send.
    Stdin(Vec<u8>),
    /// The connection breaks.
    Broken(String),
}

/// An exec that gives these, then ends.
pub fn exec(sent: Vec<Sent>) -> Box<dyn Wire> {
    let frames = sent.into_iter().map(|item| match item {
        Sent::Stdout(bytes) => Ok(LogOutput::StdOut { message: bytes.into() }),
        Sent::Stderr(bytes) => Ok(LogOutput::StdErr { message: bytes.into() }),
        Sent::Console(bytes) => Ok(LogOutput::Console { message: bytes.into() }),
        Sent::Stdin(bytes) => Ok(LogOutput::StdIn { message: bytes.into() }),
        Sent::Broken(words) => Err(std::io::Error::other(words).into()),
    });
    Box::new(ExecWire::new(Box::pin(futures::stream::iter(frames)), Box::pin(tokio::io::sink())))
}
