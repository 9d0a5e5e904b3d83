//! What the disk says of a node.

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp, statx};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use womm_vfs::node::PERMISSIONS;
use womm_vfs::{Kind, Result};

/// Bytes of what stx_blocks counts.
const BLOCK: u64 = 512;

/// What makes a node of the disk the same as before: its number may be given to another once it is gone, but not with the same birth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// st_dev.
    pub device: u64,
    /// st_ino.
    pub inode: u64,
    /// Its birth in nanoseconds, 0 where that is unknown.
    pub born: u64,
}

/// What statx(2) says.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Which it is.
    pub identity: Identity,
    /// None: a device, FIFO or socket, which are not shown.
    pub kind: Option<Kind>,
    /// All twelve bits.
    pub mode: u32,
    /// st_nlink.
    pub links: u32,
    /// Bytes.
    pub size: u64,
    /// Bytes of the disk.
    pub used: u64,
    /// atime.
    pub accessed: SystemTime,
    /// mtime.
    pub modified: SystemTime,
    /// ctime.
    pub changed: SystemTime,
    /// btime.
    pub created: Option<SystemTime>,
}

impl Seen {
    /// Looks at what is open.
    ///
    /// # Errors
    /// What statx(2) says.
    pub fn of(descriptor: impl AsFd) -> Result<Self> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
        Ok(Self::from(statx(descriptor, c"", flags, wanted())?))
    }

    /// Looks at a name in a folder; a symlink is not followed.
    ///
    /// # Errors
    /// What statx(2) says.
    pub fn at(folder: impl AsFd, name: &[u8]) -> Result<Self> {
        Ok(Self::from(statx(folder, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, wanted())?))
    }

    /// ctime in nanoseconds.
    #[must_use]
    pub fn change(&self) -> u64 {
        nanoseconds(self.changed)
    }

    /// The permission bits that are shown.
    #[must_use]
    pub fn permissions(&self) -> u32 {
        if self.kind == Some(Kind::Symlink) { 0o777 } else { self.mode & PERMISSIONS }
    }
}

/// Since 1970; 0 before it.
#[must_use]
pub fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn wanted() -> StatxFlags {
    StatxFlags::BASIC_STATS | StatxFlags::BTIME
}

fn time(stamp: StatxTimestamp) -> SystemTime {
    let fraction = Duration::from_nanos(u64::from(stamp.tv_nsec));
    let seconds = Duration::from_secs(stamp.tv_sec.unsigned_abs());
    let whole = if stamp.tv_sec < 0 { UNIX_EPOCH.checked_sub(seconds) } else { UNIX_EPOCH.checked_add(seconds) };
    whole.and_then(|whole| whole.checked_add(fraction)).unwrap_or(UNIX_EPOCH)
}

impl From<Statx> for Seen {
    fn from(stat: Statx) -> Self {
        let kind = match FileType::from_raw_mode(u32::from(stat.stx_mode)) {
            FileType::RegularFile => Some(Kind::File),
            FileType::Directory => Some(Kind::Folder),
            FileType::Symlink => Some(Kind::Symlink),
            _ => None,
        };
        let has_birth = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
        let created = has_birth.then(|| time(stat.stx_btime));
        Self {
            identity: Identity {
                device: u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor),
                inode: stat.stx_ino,
                born: created.map_or(0, nanoseconds),
            },
            kind,
            mode: u32::from(stat.stx_mode) & 0o7777,
            links: stat.stx_nlink,
            size: stat.stx_size,
            used: stat.stx_blocks.saturating_mul(BLOCK),
            accessed: time(stat.stx_atime),
            modified: time(stat.stx_mtime),
            changed: time(stat.stx_ctime),
            created,
        }
    }
}
