//! The one place with unsafe code in WOMM: taking over a file descriptor that the shell opened for us (`--while 9`).
//!
//! Reason: a descriptor that comes by number, not by a safe type, can only be owned through `from_raw_fd`; every safe
//! detour (`/proc/self/fd/9`) opens a second one and leaves the first inherited by all our children, which would keep
//! the life pipe open for ever. It is sound because it is done once for a number, early, before threads are started,
//! for a number above 2 that nothing in this program can have opened yet; a number taken twice is refused.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

static TAKEN: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// Owns descriptor `number`, close-on-exec from now on.
///
/// # Errors
/// If it isn't open, is one of 0 to 2, or was taken before.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if number <= 2 || taken.contains(&number) || !is_open(number) {
        return Err(io::Error::other(format!("descriptor {number} is not open for this program")));
    }
    taken.push(number);
    // SAFETY: open (checked), above stdio, inherited (this runs before anything is opened), and owned by nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

fn is_open(number: RawFd) -> bool {
    std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok()
}
