//! System calls that never leave a folder.
//!
//! Each takes a folder that is open and one name in it. openat2(2) refuses symlinks, whoever has put them there and whenever, so that
//! what is reached is always below the folder that was opened first.

use crate::xattr::way_to;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, chmod as chmod_path, openat2,
    utimensat,
};
use rustix::io::Errno;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use womm_vfs::node::{SetAttributes, SetTime};
use womm_vfs::{Error, Result};

fn resolve() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

/// The folder that all else is below. Its own path may lead over symlinks: who names it means it.
///
/// # Errors
/// What open(2) says.
pub fn root(path: &Path) -> std::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// A way to a node, of whatever kind: for statx(2), and for folders what all else starts from.
///
/// # Errors
/// What openat2(2) says; ELOOP can't be: a symlink itself is opened.
pub fn anchor(folder: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    open(folder, name, OFlags::PATH, Mode::empty())
}

/// A folder for reading its names.
///
/// # Errors
/// What openat2(2) says.
pub fn listable(folder: impl AsFd) -> Result<OwnedFd> {
    open(folder, b".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// openat2(2). A FIFO is not waited for.
///
/// # Errors
/// What it says.
pub fn open(folder: impl AsFd, name: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    let always = OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let content = if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NONBLOCK | OFlags::NOCTTY };
    loop {
        match openat2(&folder, name, flags | always | content, mode, resolve()) {
            Err(Errno::AGAIN | Errno::INTR) => {} // something else was renamed meanwhile: openat2(2)
            opened => return Ok(opened?),
        }
    }
}

/// chmod(2) of what is open, also with O_PATH.
///
/// # Errors
/// What it says.
pub fn chmod(node: impl AsFd, mode: u32) -> Result<()> {
    Ok(chmod_path(way_to(node), Mode::from_raw_mode(mode))?)
}

/// utimensat(2) of what is open, also with O_PATH.
///
/// # Errors
/// What it says; EINVAL for a time that it can't hold.
pub fn set_times(node: impl AsFd, set: &SetAttributes) -> Result<()> {
    if set.accessed.is_none() && set.modified.is_none() {
        return Ok(());
    }
    let times = Timestamps { last_access: timespec(set.accessed)?, last_modification: timespec(set.modified)? };
    Ok(utimensat(node, c"", &times, AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW)?)
}

fn timespec(time: Option<SetTime>) -> Result<Timespec> {
    Ok(match time {
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Some(SetTime::Now) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        Some(SetTime::To(time)) => since_1970(time).ok_or(Error::Errno(Errno::INVAL))?,
    })
}

fn since_1970(time: SystemTime) -> Option<Timespec> {
    let (seconds, fraction) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()).ok()?, after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let whole = i64::try_from(before.as_secs()).ok()?.checked_neg()?;
            match before.subsec_nanos() {
                0 => (whole, 0),
                fraction => (whole.checked_sub(1)?, 1_000_000_000 - fraction),
            }
        }
    };
    Some(Timespec { tv_sec: seconds, tv_nsec: i64::from(fraction) })
}
