//! Content of a file that is open.
//!
//! What the kernel has in memory is read at once; what may wait for the disk goes to a thread that may wait.

use crate::buffers;
use crate::seen::Seen;
use bytes::Bytes;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, fdatasync, fsync, ftruncate, seek as lseek};
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2, pwrite};
use std::io::IoSliceMut;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use womm_vfs::vfs::{Read, Seek, Stable, Statfs};
use womm_vfs::{Error, NodeId, Result};

/// Where loff_t ends.
const MOST_BYTES: u64 = i64::MAX as u64;
/// Writes of so many bytes are copied into the kernel's memory sooner than a thread is woken.
const SMALL_BYTES: usize = 32 << 10;

/// Nodes that can be written to at the same time.
const TURNS: usize = 64;

/// Whose turn it is to write to a node. The kernel lets one at a time write to a file, and those who wait for it there spin.
#[derive(Debug)]
pub struct Turns([Mutex<()>; TURNS]);

impl Default for Turns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Turns {
    fn wait(&self, node: NodeId) -> MutexGuard<'_, ()> {
        self.0[(node.0 % TURNS as u64) as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs what may wait for a disk where it stops nobody.
///
/// # Errors
/// What it says; EIO if it panics.
pub async fn waiting<T: Send + 'static>(what: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(what).await.unwrap_or(Err(Error::Errno(Errno::IO)))
}

/// pread(2), to the end of the file or of what was asked for.
///
/// # Errors
/// What the system calls say.
pub async fn read(file: Arc<OwnedFd>, offset: u64, count: u32) -> Result<Read> {
    let size = size(&file)?;
    let count = size.saturating_sub(offset).min(u64::from(count));
    if count == 0 {
        return Ok(Read { data: Bytes::new(), end: offset >= size });
    }
    let mut buffer = buffers::take(usize::try_from(count).unwrap_or(usize::MAX));
    let had = preadv2(&file, &mut [IoSliceMut::new(buffer.bytes())], offset, ReadWriteFlags::NOWAIT).unwrap_or(0);
    if had as u64 == count {
        return Ok(Read { data: buffer.freeze(had), end: offset + count >= size });
    }
    waiting(move || {
        let had = fill(&file, buffer.bytes(), offset)?;
        Ok(Read { data: buffer.freeze(had), end: (had as u64) < count || offset + count >= size })
    })
    .await
}

fn fill(file: &OwnedFd, data: &mut [u8], offset: u64) -> Result<usize> {
    let mut had = 0;
    while had < data.len() {
        match pread(file, &mut data[had..], offset + had as u64) {
            Ok(0) => break,
            Ok(more) => had += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(had)
}

fn size(file: &OwnedFd) -> Result<u64> {
    Ok(Seen::of(file)?.size)
}

/// pwrite(2) of all, then as durable as that.
///
/// # Errors
/// What the system calls say: EFBIG, ENOSPC, EDQUOT, EIO.
pub async fn write(
    turns: &Arc<Turns>,
    node: NodeId,
    file: Arc<OwnedFd>,
    offset: u64,
    data: Bytes,
    stable: Stable,
) -> Result<()> {
    end_of(offset, data.len() as u64)?;
    if stable == Stable::Unstable && data.len() <= SMALL_BYTES {
        return put(&file, offset, &data);
    }
    let turns = Arc::clone(turns);
    waiting(move || {
        let turn = turns.wait(node);
        put(&file, offset, &data)?;
        drop(turn);
        match stable {
            Stable::Unstable => Ok(()),
            Stable::Data => Ok(fdatasync(&file)?),
            Stable::File => Ok(fsync(&file)?),
        }
    })
    .await
}

fn put(file: &OwnedFd, offset: u64, data: &[u8]) -> Result<()> {
    let mut done = 0;
    while done < data.len() {
        match pwrite(file, &data[done..], offset + done as u64) {
            Ok(0) => return Err(Errno::IO.into()),
            Ok(more) => done += more,
            Err(Errno::INTR) => {}
            Err(Errno::BADF) => return Err(Errno::ACCESS.into()), // open for reading only, because there is no more
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// ftruncate(2).
///
/// # Errors
/// What the system call says.
pub fn resize(file: impl AsFd, size: u64) -> Result<()> {
    end_of(size, 0)?;
    match ftruncate(file, size) {
        Err(Errno::INVAL | Errno::BADF) => Err(Errno::ACCESS.into()),
        done => Ok(done?),
    }
}

/// lseek(2).
///
/// # Errors
/// ENXIO beyond the end, or if there is no more data.
pub fn seek(file: impl AsFd, offset: u64, what: Seek) -> Result<u64> {
    if offset > MOST_BYTES {
        return Err(Errno::NXIO.into());
    }
    let from = match what {
        Seek::Data => SeekFrom::Data(offset),
        Seek::Hole => SeekFrom::Hole(offset),
    };
    Ok(lseek(file, from)?)
}

/// fallocate(2).
///
/// # Errors
/// EINVAL for no bytes, EFBIG beyond what a file holds; what the system call says.
pub fn allocate(file: impl AsFd, offset: u64, length: u64) -> Result<()> {
    change_room(file, FallocateFlags::empty(), offset, length)
}

/// fallocate(2) with PUNCH_HOLE and KEEP_SIZE.
///
/// # Errors
/// Those of [`allocate`].
pub fn deallocate(file: impl AsFd, offset: u64, length: u64) -> Result<()> {
    change_room(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, length)
}

fn change_room(file: impl AsFd, how: FallocateFlags, offset: u64, length: u64) -> Result<()> {
    if length == 0 {
        return Err(Errno::INVAL.into());
    }
    end_of(offset, length)?;
    loop {
        match fallocate(&file, how, offset, length) {
            Err(Errno::INTR) => {}
            Err(Errno::BADF) => return Err(Errno::ACCESS.into()),
            done => return Ok(done?),
        }
    }
}

fn end_of(offset: u64, length: u64) -> Result<u64> {
    offset.checked_add(length).filter(|end| *end <= MOST_BYTES).ok_or(Error::Errno(Errno::FBIG))
}

/// The room of the file system that a folder is on; none if it can't be told.
pub fn room(folder: impl AsFd) -> Statfs {
    let Ok(room) = rustix::fs::fstatvfs(folder) else { return Statfs::default() };
    let bytes = |blocks: u64| blocks.saturating_mul(room.f_frsize);
    Statfs {
        bytes: bytes(room.f_blocks),
        bytes_free: bytes(room.f_bfree),
        bytes_available: bytes(room.f_bavail),
        nodes: room.f_files,
        nodes_free: room.f_ffree,
    }
}
