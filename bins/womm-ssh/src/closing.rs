//! What file systems over a network say at the end: they take a write at once and send it later, so that a quota, a full
//! disk or a server that is gone is an error of fsync(2) or close(2) only. GNU parallel, who holds the file open, asks for
//! neither.

use crate::relay::is_a;
use rustix::fs::{FileType, FsWord, fdatasync, fstatfs};
use std::os::fd::BorrowedFd;

/// As statfs(2) and the kernel's magic.h number them. A local one, which has found room for what it took, is not waited for.
const LATE: [FsWord; 10] = [
    0x6969,      // NFS
    0x517b,      // SMB
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB 2
    0x6573_5546, // FUSE
    0x00c3_6400, // Ceph
    0x5346_414f, // OpenAFS
    0x6b41_4653, // AFS of the kernel
    0x0102_1997, // 9p
    0x0bd0_0bd0, // Lustre
];

/// Waits until what was written is where the file is, if that may be elsewhere.
pub fn check(fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    match is_a(FileType::RegularFile, fd) && fstatfs(fd).is_ok_and(|system| LATE.contains(&system.f_type)) {
        true => fdatasync(fd),
        false => Ok(()),
    }
}
