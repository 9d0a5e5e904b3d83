//! Extended attributes of the user namespace, of files and folders.

use bytes::Bytes;
use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::{XattrFlags, getxattr, listxattr, removexattr, setxattr};
use rustix::io::Errno;
use womm_vfs::rules::{self, MOST_XATTR_VALUE};
use womm_vfs::vfs::SetXattr;
use womm_vfs::{Kind, Result};

const PREFIX: &[u8] = b"user.";
/// XATTR_LIST_MAX.
const MOST_LIST: usize = 65536;

/// The way to what a descriptor is of, for calls that don't take one that was opened with O_PATH.
pub(crate) fn way_to(descriptor: impl AsFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd())
}

fn full(name: &[u8]) -> Result<Vec<u8>> {
    rules::xattr_name(name)?;
    Ok([PREFIX, name].concat())
}

/// One's value.
///
/// # Errors
/// ENODATA if there is none; what getxattr(2) says.
pub fn get(node: impl AsFd, kind: Kind, name: &[u8]) -> Result<Bytes> {
    let name = full(name)?;
    if kind == Kind::Symlink {
        return Err(Errno::NODATA.into());
    }
    let mut value = Vec::with_capacity(MOST_XATTR_VALUE);
    getxattr(way_to(node), &name[..], rustix::buffer::spare_capacity(&mut value))?;
    value.shrink_to_fit();
    Ok(value.into())
}

/// Sets one.
///
/// # Errors
/// EPERM on a symlink; what setxattr(2) says.
pub fn set(node: impl AsFd, kind: Kind, name: &[u8], value: &[u8], how: SetXattr) -> Result<()> {
    if kind == Kind::Symlink {
        return Err(Errno::PERM.into());
    }
    let name = full(name)?;
    if value.len() > MOST_XATTR_VALUE {
        return Err(Errno::TOOBIG.into());
    }
    let flags = match how {
        SetXattr::Either => XattrFlags::empty(),
        SetXattr::Create => XattrFlags::CREATE,
        SetXattr::Replace => XattrFlags::REPLACE,
    };
    Ok(setxattr(way_to(node), &name[..], value, flags)?)
}

/// The names, sorted.
///
/// # Errors
/// What listxattr(2) says.
pub fn list(node: impl AsFd, kind: Kind) -> Result<Vec<Bytes>> {
    if kind == Kind::Symlink {
        return Ok(vec![]);
    }
    let mut list = Vec::with_capacity(MOST_LIST);
    match listxattr(way_to(node), rustix::buffer::spare_capacity(&mut list)) {
        Err(Errno::OPNOTSUPP) => return Ok(vec![]),
        done => done?,
    };
    let names = list.split(|byte| *byte == 0).filter_map(|name| name.strip_prefix(PREFIX));
    let mut names: Vec<_> = names.map(Bytes::copy_from_slice).collect();
    names.sort();
    Ok(names)
}

/// Removes one.
///
/// # Errors
/// EPERM on a symlink, ENODATA if there is none; what removexattr(2) says.
pub fn remove(node: impl AsFd, kind: Kind, name: &[u8]) -> Result<()> {
    if kind == Kind::Symlink {
        return Err(Errno::PERM.into());
    }
    Ok(removexattr(way_to(node), &full(name)?[..])?)
}
