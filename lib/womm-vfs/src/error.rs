//! Why an operation was not done.

use rustix::io::Errno;

/// What an operation comes to.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What the system call of the same name would say.
    #[error("{0}")]
    Errno(Errno),
    /// There is no such node any more, and never will be.
    #[error("the node is gone")]
    Stale,
    /// What is behind the file system can't be reached now, for longer than the deadline.
    #[error("the folder's machine is away")]
    Away,
    /// Not within the deadline; asked again, it may be done.
    #[error("not done in time: ask again")]
    Again,
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Errno(Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}
