//! The user's terminal, in which setup asks its questions and has its shell. It is /dev/tty: what stdin and stderr are,
//! a log for one, does not matter then.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io::{self, ErrorKind, IsTerminal};
use std::os::fd::OwnedFd;
use tokio::net::unix::pipe;
use womm_cli::Failure;
use womm_tty::Raw;
use womm_wire::frame::Size;

/// The terminal.
pub struct Tty {
    fd: OwnedFd,
    input: pipe::Receiver,
    output: pipe::Sender,
}

/// Its window is gone.
pub fn closed() -> Failure {
    Failure::no("the terminal was closed")
}

fn is_hung_up(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

impl Tty {
    /// Opens it.
    ///
    /// # Errors
    /// Usage (2) if there is none, or if stdin is something else: then it was meant to be read.
    pub fn open() -> Result<Self, Failure> {
        let none = |why: &str| {
            Failure::usage(format!("setup asks questions and opens a shell, and {why}"))
                .help("run it in a terminal, or give --yes and options: see `womm setup --help`")
        };
        if !io::stdin().is_terminal() {
            return Err(none("stdin is no terminal"));
        }
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = rustix::fs::open("/dev/tty", flags, Mode::empty());
        let fd = fd.map_err(|e| none(&format!("/dev/tty can't be opened: {e}")))?;
        // "unchecked": a terminal is no pipe, but polls, reads and writes like one.
        let waited = |e: io::Error| none(&format!("/dev/tty can't be waited for: {e}"));
        let again = || fd.try_clone().map_err(waited);
        let input = pipe::Receiver::from_owned_fd_unchecked(again()?).map_err(waited)?;
        let output = pipe::Sender::from_owned_fd_unchecked(again()?).map_err(waited)?;
        Ok(Self { fd, input, output })
    }

    /// Its size.
    pub fn size(&self) -> Size {
        womm_tty::size(&self.fd)
    }

    /// Passes keys on as they are typed, until the answer is dropped.
    pub fn raw(&self) -> Raw<&OwnedFd> {
        Raw::enter(&self.fd)
    }

    /// Reads what was typed; none once the terminal is gone, or at ^D where lines are read.
    ///
    /// # Errors
    /// Outside (3) if it can't be read.
    pub async fn read(&self) -> Result<Option<Vec<u8>>, Failure> {
        let mut buffer = vec![0; 4096];
        loop {
            self.input.readable().await.map_err(lost)?;
            match self.input.try_read(&mut buffer) {
                Ok(n) => {
                    buffer.truncate(n);
                    return Ok(Some(buffer).filter(|b| !b.is_empty()));
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(e) if is_hung_up(&e) => return Ok(None),
                Err(e) => return Err(lost(e)),
            }
        }
    }

    /// Writes.
    ///
    /// # Errors
    /// Outside (3) if it can't be written to, no (1) if it is closed.
    pub async fn write(&self, text: impl AsRef<[u8]>) -> Result<(), Failure> {
        let mut rest = text.as_ref();
        while !rest.is_empty() {
            self.output.writable().await.map_err(lost)?;
            match self.output.try_write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(e) if is_hung_up(&e) => return Err(closed()),
                Err(e) => return Err(lost(e)),
            }
        }
        Ok(())
    }

    /// Reads a line; none at ^D.
    ///
    /// # Errors
    /// As [`Tty::read`].
    pub async fn line(&self) -> Result<Option<String>, Failure> {
        let mut line = Vec::new();
        // If it is not answered, what is said next has a line of its own.
        let unanswered = Unanswered(self);
        while !line.ends_with(b"\n") {
            match self.read().await? {
                Some(bytes) => line.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
        std::mem::forget(unanswered);
        Ok(Some(String::from_utf8_lossy(&line).trim().to_owned()))
    }
}

fn lost(e: io::Error) -> Failure {
    Failure::outside(format!("use the terminal: {e}"))
}

struct Unanswered<'a>(&'a Tty);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.0.fd, b"\n");
    }
}
