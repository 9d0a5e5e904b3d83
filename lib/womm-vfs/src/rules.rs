//! What Linux refuses: for backends that are not made of its system calls.

use crate::error::{Error, Result};
use crate::node::{Kind, SetAttributes};
use crate::vfs::SetXattr;
use rustix::io::Errno;

/// The most bytes of a symlink's target: PATH_MAX without its NUL.
pub const MOST_TARGET: usize = 4095;
/// The most bytes of an extended attribute's name: XATTR_NAME_MAX without `user.`.
pub const MOST_XATTR_NAME: usize = 250;
/// The most bytes of its value: XATTR_SIZE_MAX.
pub const MOST_XATTR_VALUE: usize = 65536;

/// symlink(2).
///
/// # Errors
/// ENOENT if it is empty, ENAMETOOLONG if it is too long, EINVAL if it holds NUL.
pub fn target(target: &[u8]) -> Result<()> {
    match target {
        [] => Err(Errno::NOENT.into()),
        _ if target.len() > MOST_TARGET => Err(Errno::NAMETOOLONG.into()),
        _ if target.contains(&0) => Err(Errno::INVAL.into()),
        _ => Ok(()),
    }
}

/// xattr(7).
///
/// # Errors
/// EINVAL if it is empty or holds NUL, ERANGE if it is too long.
pub fn xattr_name(name: &[u8]) -> Result<()> {
    match name {
        [] => Err(Errno::INVAL.into()),
        _ if name.len() > MOST_XATTR_NAME => Err(Errno::RANGE.into()),
        _ if name.contains(&0) => Err(Errno::INVAL.into()),
        _ => Ok(()),
    }
}

/// setxattr(2), before it is asked for.
///
/// # Errors
/// As [`xattr_name`]; E2BIG for a value that is too long; EEXIST and ENODATA by `how`.
pub fn set_xattr(name: &[u8], value: &[u8], how: SetXattr, exists: bool) -> Result<()> {
    xattr_name(name)?;
    match how {
        _ if value.len() > MOST_XATTR_VALUE => Err(Errno::TOOBIG.into()),
        SetXattr::Create if exists => Err(Errno::EXIST.into()),
        SetXattr::Replace if !exists => Err(Errno::NODATA.into()),
        _ => Ok(()),
    }
}

/// What may be set on a node of this kind.
///
/// # Errors
/// A size: EISDIR on a folder, EINVAL on a symlink. A mode: EOPNOTSUPP on a symlink.
pub fn set(kind: Kind, set: &SetAttributes) -> Result<()> {
    match kind {
        Kind::Folder if set.size.is_some() => Err(Errno::ISDIR.into()),
        Kind::Symlink if set.size.is_some() => Err(Errno::INVAL.into()),
        Kind::Symlink if set.mode.is_some() => Err(Errno::OPNOTSUPP.into()),
        _ => Ok(()),
    }
}

/// Whether there is content to read and write.
///
/// # Errors
/// EISDIR for a folder, EINVAL for a symlink.
pub fn content(kind: Kind) -> Result<()> {
    match kind {
        Kind::File => Ok(()),
        Kind::Folder => Err(Errno::ISDIR.into()),
        Kind::Symlink => Err(Errno::INVAL.into()),
    }
}

/// open(2) with O_NOFOLLOW.
///
/// # Errors
/// EISDIR for a folder, ELOOP for a symlink.
pub fn open(kind: Kind) -> Result<()> {
    match kind {
        Kind::File => Ok(()),
        Kind::Folder => Err(Errno::ISDIR.into()),
        Kind::Symlink => Err(Errno::LOOP.into()),
    }
}

/// Whether one may be renamed onto the other, another node.
///
/// # Errors
/// ENOTDIR for a folder onto what is none, EISDIR for what is none onto a folder.
pub fn replace(moved: Kind, replaced: Kind) -> Result<()> {
    match (moved == Kind::Folder, replaced == Kind::Folder) {
        (true, false) => Err(Error::Errno(Errno::NOTDIR)),
        (false, true) => Err(Error::Errno(Errno::ISDIR)),
        _ => Ok(()),
    }
}
