//! The life of a run: a helper started with `--while 9` lives as long as descriptor 9, the read end of a pipe, has
//! writers: `womm` and the supervisor of GNU parallel. Neither hands it to jobs, so a daemon that a job leaves behind
//! does not keep the run alive; whichever way the writers die, SIGKILL included, the kernel closes the pipe.
//!
//! A helper has a session of its own, so that ^C, a closed terminal and a signal to `womm`'s process group don't reach
//! it: it is what cleans up after them.

use crate::Failure;
use std::os::fd::{OwnedFd, RawFd};

/// The read end of the life pipe.
#[derive(Debug)]
pub struct Life(OwnedFd);

impl Life {
    /// Takes over the descriptor that `--while` names, and leaves the caller's session.
    /// Call it first thing in `main`, before threads are started.
    ///
    /// # Errors
    /// Usage (2) if it isn't open.
    pub fn join(number: RawFd) -> Result<Self, Failure> {
        let life = Self::inherit(number)?;
        // Fails only for the leader of a process group, who is then nobody's background job: a helper run by hand.
        let _ = rustix::process::setsid();
        Ok(life)
    }

    /// The same without leaving the session.
    ///
    /// # Errors
    /// Usage (2) if the descriptor isn't open.
    pub fn inherit(number: RawFd) -> Result<Self, Failure> {
        let fd = crate::inherited::take(number)
            .map_err(|e| Failure::usage(format!("--while {number}: {e}")).help("give the read end of the life pipe"))?;
        rustix::io::ioctl_fionbio(&fd, true)
            .map_err(|e| Failure::usage(format!("--while {number}: {e}")).help("give the read end of a pipe"))?;
        Ok(Self(fd))
    }

    /// Whether the run is over.
    pub fn is_over(&self) -> bool {
        let mut byte = [0; 64];
        loop {
            match rustix::io::read(&self.0, &mut byte) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Waits until the run is over. Cancel-safe.
    ///
    /// # Errors
    /// If the descriptor can't be watched: it is none of a pipe.
    pub async fn over(&self) -> Result<(), Failure> {
        let watched = self
            .0
            .try_clone()
            .and_then(tokio::net::unix::pipe::Receiver::from_owned_fd)
            .map_err(|e| Failure::usage(format!("--while: watch the life pipe: {e}")))?;
        loop {
            watched.readable().await.map_err(|e| Failure::outside(format!("watch the life pipe: {e}")))?;
            match watched.try_read(&mut [0; 64]) {
                Ok(0) => return Ok(()),
                Ok(_) => {} // whoever writes to it still lives
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(Failure::outside(format!("watch the life pipe: {e}"))),
            }
        }
    }

    /// A second descriptor of it, close-on-exec, to hand to a child.
    ///
    /// # Errors
    /// If no descriptor is free.
    pub fn try_clone(&self) -> std::io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

/// Keeps the write end `number` of a life pipe open until dropped, without handing it to children.
///
/// # Errors
/// Usage (2) if it isn't open.
pub fn hold(number: RawFd) -> Result<OwnedFd, Failure> {
    crate::inherited::take(number).map_err(|e| Failure::usage(format!("--life {number}: {e}")))
}

/// Waits until the run is over, or for ever if there is none (no `--while`).
///
/// # Errors
/// As [`Life::over`].
pub async fn over(life: Option<&Life>) -> Result<(), Failure> {
    match life {
        Some(life) => life.over().await,
        None => std::future::pending().await,
    }
}
