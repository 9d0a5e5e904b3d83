//! Attributes as NFS has them (RFC 8881, 5; RFC 7862, 12; RFC 8276, 8.2).

use crate::exports::Owner;
use crate::handle;
use crate::limits::{MOST_MESSAGE, MOST_TRANSFER};
use crate::status::Status;
use crate::wire::{Bitmap, decode_time, encode_time};
use crate::xdr::{Decoder, Encoder};
use bytes::Bytes;
use std::time::Duration;
use womm_vfs::node::{MOST_NAME, PERMISSIONS, SetTime};
use womm_vfs::vfs::Statfs;
use womm_vfs::{Attributes, Kind, SetAttributes};

const SUPPORTED_ATTRS: u32 = 0;
const TYPE: u32 = 1;
const FH_EXPIRE_TYPE: u32 = 2;
/// change.
pub const CHANGE: u32 = 3;
/// size.
pub const SIZE: u32 = 4;
const LINK_SUPPORT: u32 = 5;
const SYMLINK_SUPPORT: u32 = 6;
const NAMED_ATTR: u32 = 7;
const FSID: u32 = 8;
const UNIQUE_HANDLES: u32 = 9;
const LEASE_TIME: u32 = 10;
/// rdattr_error.
pub const RDATTR_ERROR: u32 = 11;
const CANSETTIME: u32 = 15;
const CASE_INSENSITIVE: u32 = 16;
const CASE_PRESERVING: u32 = 17;
const CHOWN_RESTRICTED: u32 = 18;
const FILEHANDLE: u32 = 19;
const FILEID: u32 = 20;
const FILES_AVAIL: u32 = 21;
const FILES_FREE: u32 = 22;
const FILES_TOTAL: u32 = 23;
const HOMOGENEOUS: u32 = 26;
const MAXFILESIZE: u32 = 27;
const MAXLINK: u32 = 28;
const MAXNAME: u32 = 29;
const MAXREAD: u32 = 30;
const MAXWRITE: u32 = 31;
/// mode.
pub const MODE: u32 = 33;
const NO_TRUNC: u32 = 34;
const NUMLINKS: u32 = 35;
const OWNER: u32 = 36;
const OWNER_GROUP: u32 = 37;
const RAWDEV: u32 = 41;
const SPACE_AVAIL: u32 = 42;
const SPACE_FREE: u32 = 43;
const SPACE_TOTAL: u32 = 44;
const SPACE_USED: u32 = 45;
const TIME_ACCESS: u32 = 47;
const TIME_ACCESS_SET: u32 = 48;
const TIME_CREATE: u32 = 50;
const TIME_DELTA: u32 = 51;
const TIME_METADATA: u32 = 52;
const TIME_MODIFY: u32 = 53;
const TIME_MODIFY_SET: u32 = 54;
const MOUNTED_ON_FILEID: u32 = 55;
const SUPPATTR_EXCLCREAT: u32 = 75;
const CHANGE_ATTR_TYPE: u32 = 79;
const XATTR_SUPPORT: u32 = 82;

/// All that we have.
pub const SUPPORTED: Bitmap = Bitmap::of(&[
    SUPPORTED_ATTRS,
    TYPE,
    FH_EXPIRE_TYPE,
    CHANGE,
    SIZE,
    LINK_SUPPORT,
    SYMLINK_SUPPORT,
    NAMED_ATTR,
    FSID,
    UNIQUE_HANDLES,
    LEASE_TIME,
    RDATTR_ERROR,
    CANSETTIME,
    CASE_INSENSITIVE,
    CASE_PRESERVING,
    CHOWN_RESTRICTED,
    FILEHANDLE,
    FILEID,
    FILES_AVAIL,
    FILES_FREE,
    FILES_TOTAL,
    HOMOGENEOUS,
    MAXFILESIZE,
    MAXLINK,
    MAXNAME,
    MAXREAD,
    MAXWRITE,
    MODE,
    NO_TRUNC,
    NUMLINKS,
    OWNER,
    OWNER_GROUP,
    RAWDEV,
    SPACE_AVAIL,
    SPACE_FREE,
    SPACE_TOTAL,
    SPACE_USED,
    TIME_ACCESS,
    TIME_ACCESS_SET,
    TIME_CREATE,
    TIME_DELTA,
    TIME_METADATA,
    TIME_MODIFY,
    TIME_MODIFY_SET,
    MOUNTED_ON_FILEID,
    SUPPATTR_EXCLCREAT,
    CHANGE_ATTR_TYPE,
    XATTR_SUPPORT,
]);

/// Those of RFC 7862 and 8276, which a client of minor version 1 does not know.
const OF_MINOR_2: Bitmap = Bitmap::of(&[CHANGE_ATTR_TYPE, XATTR_SUPPORT]);

/// Those that can be set. Of what owns a file, to what it is.
const SETTABLE: Bitmap = Bitmap::of(&[SIZE, MODE, OWNER, OWNER_GROUP, TIME_ACCESS_SET, TIME_MODIFY_SET]);

/// Those that can only be set.
const WRITE_ONLY: Bitmap = Bitmap::of(&[TIME_ACCESS_SET, TIME_MODIFY_SET]);

const OF_STATFS: Bitmap = Bitmap::of(&[FILES_AVAIL, FILES_FREE, FILES_TOTAL, SPACE_AVAIL, SPACE_FREE, SPACE_TOTAL]);

/// All that a client of this minor version is told of.
pub const fn supported(minor: u32) -> Bitmap {
    if minor >= 2 { SUPPORTED } else { SUPPORTED.without(&OF_MINOR_2) }
}

/// Whether room is asked for, which a file system is to be asked for in turn.
pub fn want_statfs(asked: &Bitmap) -> bool {
    !asked.and(&OF_STATFS).is_empty()
}

/// Whether the file handle is asked for, which takes a while to make.
pub fn want_handle(asked: &Bitmap) -> bool {
    asked.has(FILEHANDLE)
}

/// What is known of a node and where it is.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its own.
    pub attributes: &'a Attributes,
    /// Its file handle, if [`want_handle`].
    pub handle: Option<[u8; handle::LENGTH]>,
    /// The number of its file system: fsid's major one.
    pub filesystem: u64,
    /// If it is the root of one, the folder that it covers.
    pub mounted_on: Option<u64>,
    /// Of its file system; only if [`want_statfs`].
    pub room: Statfs,
    /// Of the server.
    pub lease: Duration,
    /// Who owns it.
    pub owner: Owner,
    /// The minor version.
    pub minor: u32,
}

/// Writes fattr4 with what is asked for and there is.
pub fn encode(asked: &Bitmap, subject: &Subject<'_>, to: &mut Encoder) {
    let mut there = asked.and(&supported(subject.minor)).without(&WRITE_ONLY);
    if subject.attributes.created.is_none() {
        there.remove(TIME_CREATE);
    }
    there.encode(to);
    to.opaque_of(|to| there.iter().for_each(|number| one(number, subject, to)));
}

fn one(number: u32, subject: &Subject<'_>, to: &mut Encoder) {
    let Subject { attributes, room, .. } = subject;
    match number {
        SUPPORTED_ATTRS => supported(subject.minor).encode(to),
        TYPE => {
            to.u32(kind(attributes.kind));
        }
        CHANGE => {
            to.u64(attributes.change);
        }
        SIZE => {
            to.u64(attributes.size);
        }
        FSID => {
            to.u64(subject.filesystem).u64(0);
        }
        LEASE_TIME => {
            to.u32(u32::try_from(subject.lease.as_secs()).unwrap_or(u32::MAX).max(1));
        }
        // FH4_PERSISTENT; no error; no devices.
        FH_EXPIRE_TYPE | RDATTR_ERROR => {
            to.u32(0);
        }
        RAWDEV => {
            to.u32(0).u32(0);
        }
        LINK_SUPPORT | SYMLINK_SUPPORT | UNIQUE_HANDLES | CANSETTIME | CASE_PRESERVING | CHOWN_RESTRICTED
        | HOMOGENEOUS | NO_TRUNC => {
            to.bool(true);
        }
        XATTR_SUPPORT => {
            to.bool(subject.filesystem != crate::exports::PSEUDO);
        }
        NAMED_ATTR | CASE_INSENSITIVE => {
            to.bool(false);
        }
        FILEHANDLE => {
            to.opaque(subject.handle.as_ref().map_or(&[], |handle| &handle[..]));
        }
        FILEID => {
            to.u64(attributes.id.0);
        }
        MOUNTED_ON_FILEID => {
            to.u64(subject.mounted_on.unwrap_or(attributes.id.0));
        }
        FILES_AVAIL | FILES_FREE => {
            to.u64(room.nodes_free);
        }
        FILES_TOTAL => {
            to.u64(room.nodes);
        }
        SPACE_AVAIL => {
            to.u64(room.bytes_available);
        }
        SPACE_FREE => {
            to.u64(room.bytes_free);
        }
        SPACE_TOTAL => {
            to.u64(room.bytes);
        }
        SPACE_USED => {
            to.u64(attributes.used);
        }
        MAXFILESIZE => {
            to.u64(i64::MAX as u64);
        }
        // What ext4 has.
        MAXLINK => {
            to.u32(65000);
        }
        MAXNAME => {
            to.count(MOST_NAME);
        }
        MAXREAD | MAXWRITE => {
            to.u64(MOST_TRANSFER.min(MOST_MESSAGE).into());
        }
        MODE => {
            to.u32(attributes.mode & PERMISSIONS);
        }
        NUMLINKS => {
            to.u32(attributes.links);
        }
        OWNER => {
            decimal(subject.owner.user, to);
        }
        OWNER_GROUP => {
            decimal(subject.owner.group, to);
        }
        TIME_ACCESS => encode_time(attributes.accessed, to),
        TIME_METADATA => encode_time(attributes.changed, to),
        TIME_MODIFY => encode_time(attributes.modified, to),
        TIME_CREATE => encode_time(attributes.created.unwrap_or(attributes.changed), to),
        TIME_DELTA => {
            to.i64(0).u32(1);
        }
        SUPPATTR_EXCLCREAT => SETTABLE.encode(to),
        // NFS4_CHANGE_TYPE_IS_MONOTONIC_INCR (RFC 7862, 12.2.3)
        CHANGE_ATTR_TYPE => {
            to.u32(0);
        }
        _ => {}
    }
}

/// A number as text.
fn decimal(number: u32, to: &mut Encoder) {
    const MOST_DIGITS: usize = 10;
    let (mut digits, mut first, mut rest) = ([b'0'; MOST_DIGITS], MOST_DIGITS, number);
    while rest > 0 || first == MOST_DIGITS {
        first -= 1;
        digits[first] += (rest % 10) as u8;
        rest /= 10;
    }
    to.opaque(&digits[first..]);
}

/// nfs_ftype4.
pub fn kind(kind: Kind) -> u32 {
    match kind {
        Kind::File => 1,
        Kind::Folder => 2,
        Kind::Symlink => 5,
    }
}

/// fattr4 as it came, for VERIFY.
///
/// # Errors
/// BADXDR.
pub fn decode_raw(from: &mut Decoder) -> Result<(Bitmap, Bytes), Status> {
    Ok((Bitmap::decode(from)?, from.opaque(MOST_MESSAGE as usize)?))
}

/// Whether the attributes of VERIFY or NVERIFY can be compared.
///
/// # Errors
/// ATTRNOTSUPP; INVAL for those that can only be set, and rdattr_error (RFC 8881, 18.30.3).
pub fn check_comparable(asked: &Bitmap, minor: u32) -> Result<(), Status> {
    if !asked.and(&WRITE_ONLY).is_empty() || asked.has(RDATTR_ERROR) {
        return Err(Status::Invalid);
    }
    if asked.within(&supported(minor)) { Ok(()) } else { Err(Status::AttributeNotSupported) }
}

/// What is to be set.
#[derive(Debug, Default, Clone)]
pub struct Wanted {
    /// For the file system.
    pub set: SetAttributes,
    /// All that was asked for.
    pub asked: Bitmap,
}

/// Reads what is to be set.
///
/// # Errors
/// BADXDR; ATTRNOTSUPP; INVAL for what can't be set; PERM for an owner other than the one that all is of.
pub fn decode(from: &mut Decoder, owner: Owner) -> Result<Wanted, Status> {
    let (asked, values) = decode_raw(from)?;
    if !asked.within(&SUPPORTED) {
        return Err(Status::AttributeNotSupported);
    }
    if !asked.within(&SETTABLE) {
        return Err(Status::Invalid);
    }
    let mut values = Decoder::new(values);
    let mut set = SetAttributes::default();
    for number in asked.iter() {
        match number {
            SIZE => set.size = Some(values.u64()?),
            MODE => {
                let mode = values.u32()?;
                if mode & !0o7777 != 0 {
                    return Err(Status::Invalid);
                }
                set.mode = Some(mode & PERMISSIONS);
            }
            OWNER => check_owner(&values.opaque(1024)?, owner.user)?,
            OWNER_GROUP => check_owner(&values.opaque(1024)?, owner.group)?,
            TIME_ACCESS_SET => set.accessed = Some(time(&mut values)?),
            _ => set.modified = Some(time(&mut values)?),
        }
    }
    values.end()?;
    if set.size.is_some_and(|size| i64::try_from(size).is_err()) {
        return Err(Status::FileTooBig);
    }
    Ok(Wanted { set, asked })
}

fn time(values: &mut Decoder) -> Result<SetTime, Status> {
    match values.u32()? {
        0 => Ok(SetTime::Now),
        1 => decode_time(values)?.map(SetTime::To).ok_or(Status::Invalid),
        _ => Err(Status::BadXdr),
    }
}

fn check_owner(name: &[u8], own: u32) -> Result<(), Status> {
    let number = std::str::from_utf8(name).map_err(|_| Status::Invalid)?.parse::<u32>();
    match number {
        Ok(number) if number == own => Ok(()),
        Ok(_) => Err(Status::Permission),
        Err(_) => Err(Status::BadOwner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER_OF_ALL: Owner = Owner { user: 7, group: 8 };

    fn wanted(bits: &[u32], write: impl Fn(&mut Encoder)) -> Result<Wanted, Status> {
        let (mut to, mut values) = (Encoder::new(), Encoder::new());
        Bitmap::of(bits).encode(&mut to);
        write(&mut values);
        to.opaque(&values.into_bytes());
        decode(&mut Decoder::new(to.into_bytes()), OWNER_OF_ALL)
    }

    #[test]
    fn what_can_be_set() {
        let read = wanted(&[SIZE, MODE, TIME_ACCESS_SET, TIME_MODIFY_SET], |to| {
            to.u64(5).u32(0o6755).u32(0).u32(1).i64(9).u32(1);
        });
        let set = read.expect("it is good").set;
        assert_eq!((set.size, set.mode, set.accessed), (Some(5), Some(0o755), Some(SetTime::Now)));
        assert!(matches!(set.modified, Some(SetTime::To(_))));
    }

    #[test]
    fn what_can_not() {
        let refused = |bits: &[u32], write: &dyn Fn(&mut Encoder)| wanted(bits, write).expect_err("refused");
        assert_eq!(
            refused(&[TYPE], &|to| {
                to.u32(1);
            }),
            Status::Invalid
        );
        assert_eq!(refused(&[12], &|_| ()), Status::AttributeNotSupported);
        assert_eq!(refused(&[SIZE], &|_| ()), Status::BadXdr);
        assert_eq!(
            refused(&[SIZE], &|to| {
                to.u64(1).u32(1);
            }),
            Status::BadXdr
        );
        assert_eq!(
            refused(&[SIZE], &|to| {
                to.u64(u64::MAX);
            }),
            Status::FileTooBig
        );
        assert_eq!(
            refused(&[OWNER], &|to| {
                to.opaque(b"9");
            }),
            Status::Permission
        );
        assert_eq!(
            refused(&[OWNER], &|to| {
                to.opaque(b"root@x");
            }),
            Status::BadOwner
        );
        assert_eq!(
            refused(&[MODE], &|to| {
                to.u32(0o10000);
            }),
            Status::Invalid
        );
        assert!(
            wanted(&[OWNER, OWNER_GROUP], |to| {
                to.opaque(b"7").opaque(b"8");
            })
            .is_ok()
        );
    }

    #[test]
    fn numbers_as_text() {
        for number in [0, 7, 10, 1000, 12049, u32::MAX] {
            let (mut to, mut expected) = (Encoder::new(), Encoder::new());
            decimal(number, &mut to);
            expected.opaque(number.to_string().as_bytes());
            assert_eq!(to.into_bytes(), expected.into_bytes());
        }
    }

    #[test]
    fn what_is_written_is_what_its_bitmap_says() {
        let exports = crate::exports::Exports::<womm_vfs::memory::MemoryVfs>::new(
            crate::handle::HandleKey::new([0; 16]),
            std::time::SystemTime::now(),
        );
        let attributes = exports.folder_attributes(womm_vfs::NodeId(5));
        let subject = |minor| Subject {
            attributes: &attributes,
            handle: None,
            filesystem: 0,
            mounted_on: Some(6),
            room: Statfs::default(),
            lease: Duration::from_secs(60),
            owner: OWNER_OF_ALL,
            minor,
        };
        for minor in [1, 2] {
            let mut to = Encoder::new();
            encode(&SUPPORTED, &subject(minor), &mut to);
            let mut from = Decoder::new(to.into_bytes());
            let bitmap = Bitmap::decode(&mut from).expect("a bitmap");
            for missing in [TIME_CREATE, TIME_ACCESS_SET, TIME_MODIFY_SET] {
                assert!(!bitmap.has(missing), "{missing}");
            }
            for newer in [CHANGE_ATTR_TYPE, XATTR_SUPPORT] {
                assert_eq!(bitmap.has(newer), minor == 2, "{newer}");
                assert_eq!(check_comparable(&Bitmap::of(&[newer]), minor).is_ok(), minor == 2);
            }
            // The first value says the same.
            let mut values = Decoder::new(from.opaque(4096).expect("values"));
            let told = Bitmap::decode(&mut values).expect("supported_attrs");
            assert!(told == supported(minor) && bitmap.within(&told) && told.has(XATTR_SUPPORT) == (minor == 2));
            assert_eq!(from.end(), Ok(()));
        }
        let subject = subject(2);
        let mut to = Encoder::new();
        encode(&Bitmap::of(&[FILEID, MOUNTED_ON_FILEID, OWNER]), &subject, &mut to);
        let mut from = Decoder::new(to.into_bytes());
        Bitmap::decode(&mut from).expect("a bitmap");
        assert_eq!(from.u32(), Ok(24));
        // By rising numbers.
        assert_eq!((from.u64(), from.opaque(9).as_deref(), from.u64()), (Ok(5), Ok(&b"7"[..]), Ok(6)));
    }
}
