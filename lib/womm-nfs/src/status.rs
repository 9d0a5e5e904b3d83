//! What an operation comes to (nfsstat4; RFC 8881, 15; RFC 7862, 11; RFC 8276, 8.5).

use crate::xdr::Malformed;
use rustix::io::Errno;
use std::fmt;
use womm_vfs::Error;

macro_rules! statuses {
    ($($name:ident = $number:literal, $rfc:ident;)*) => {
        /// The ones that this server answers with; [`fmt::Debug`] says the RFC's name.
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Status {
            $(#[doc = stringify!($rfc)] $name = $number,)*
        }

        impl Status {
            /// The one with this number.
            pub fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }

        impl fmt::Debug for Status {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => stringify!($rfc),)*
                })
            }
        }
    };
}

statuses! {
    Ok = 0, NFS4_OK;
    Permission = 1, NFS4ERR_PERM;
    NoEntry = 2, NFS4ERR_NOENT;
    Io = 5, NFS4ERR_IO;
    NoAddress = 6, NFS4ERR_NXIO;
    Access = 13, NFS4ERR_ACCESS;
    Exists = 17, NFS4ERR_EXIST;
    CrossDevice = 18, NFS4ERR_XDEV;
    NotDirectory = 20, NFS4ERR_NOTDIR;
    IsDirectory = 21, NFS4ERR_ISDIR;
    Invalid = 22, NFS4ERR_INVAL;
    FileTooBig = 27, NFS4ERR_FBIG;
    NoSpace = 28, NFS4ERR_NOSPC;
    ReadOnly = 30, NFS4ERR_ROFS;
    TooManyLinks = 31, NFS4ERR_MLINK;
    NameTooLong = 63, NFS4ERR_NAMETOOLONG;
    NotEmpty = 66, NFS4ERR_NOTEMPTY;
    Quota = 69, NFS4ERR_DQUOT;
    Stale = 70, NFS4ERR_STALE;
    BadHandle = 10001, NFS4ERR_BADHANDLE;
    BadCookie = 10003, NFS4ERR_BAD_COOKIE;
    NotSupported = 10004, NFS4ERR_NOTSUPP;
    TooSmall = 10005, NFS4ERR_TOOSMALL;
    ServerFault = 10006, NFS4ERR_SERVERFAULT;
    BadType = 10007, NFS4ERR_BADTYPE;
    Delay = 10008, NFS4ERR_DELAY;
    Same = 10009, NFS4ERR_SAME;
    Denied = 10010, NFS4ERR_DENIED;
    Expired = 10011, NFS4ERR_EXPIRED;
    Locked = 10012, NFS4ERR_LOCKED;
    Grace = 10013, NFS4ERR_GRACE;
    ShareDenied = 10015, NFS4ERR_SHARE_DENIED;
    ClientIdInUse = 10017, NFS4ERR_CLID_INUSE;
    NoFileHandle = 10020, NFS4ERR_NOFILEHANDLE;
    MinorVersionMismatch = 10021, NFS4ERR_MINOR_VERS_MISMATCH;
    StaleClientId = 10022, NFS4ERR_STALE_CLIENTID;
    StaleStateid = 10023, NFS4ERR_STALE_STATEID;
    OldStateid = 10024, NFS4ERR_OLD_STATEID;
    BadStateid = 10025, NFS4ERR_BAD_STATEID;
    NotSame = 10027, NFS4ERR_NOT_SAME;
    Symlink = 10029, NFS4ERR_SYMLINK;
    RestoreHandle = 10030, NFS4ERR_RESTOREFH;
    AttributeNotSupported = 10032, NFS4ERR_ATTRNOTSUPP;
    NoGrace = 10033, NFS4ERR_NO_GRACE;
    ReclaimBad = 10034, NFS4ERR_RECLAIM_BAD;
    ReclaimConflict = 10035, NFS4ERR_RECLAIM_CONFLICT;
    BadXdr = 10036, NFS4ERR_BADXDR;
    LockRange = 10028, NFS4ERR_LOCK_RANGE;
    LocksHeld = 10037, NFS4ERR_LOCKS_HELD;
    OpenMode = 10038, NFS4ERR_OPENMODE;
    BadOwner = 10039, NFS4ERR_BADOWNER;
    BadCharacter = 10040, NFS4ERR_BADCHAR;
    BadName = 10041, NFS4ERR_BADNAME;
    IllegalOperation = 10044, NFS4ERR_OP_ILLEGAL;
    BadSession = 10052, NFS4ERR_BADSESSION;
    BadSlot = 10053, NFS4ERR_BADSLOT;
    CompleteAlready = 10054, NFS4ERR_COMPLETE_ALREADY;
    ConnectionNotBound = 10055, NFS4ERR_CONN_NOT_BOUND_TO_SESSION;
    Misordered = 10063, NFS4ERR_SEQ_MISORDERED;
    SequencePosition = 10064, NFS4ERR_SEQUENCE_POS;
    RequestTooBig = 10065, NFS4ERR_REQ_TOO_BIG;
    ReplyTooBig = 10066, NFS4ERR_REP_TOO_BIG;
    ReplyTooBigToCache = 10067, NFS4ERR_REP_TOO_BIG_TO_CACHE;
    RetryUncached = 10068, NFS4ERR_RETRY_UNCACHED_REP;
    TooManyOperations = 10070, NFS4ERR_TOO_MANY_OPS;
    NotInSession = 10071, NFS4ERR_OP_NOT_IN_SESSION;
    ClientIdBusy = 10074, NFS4ERR_CLIENTID_BUSY;
    FalseRetry = 10076, NFS4ERR_SEQ_FALSE_RETRY;
    BadHighSlot = 10077, NFS4ERR_BAD_HIGH_SLOT;
    NotOnlyOperation = 10081, NFS4ERR_NOT_ONLY_OP;
    WrongType = 10083, NFS4ERR_WRONG_TYPE;
    UnionNotSupported = 10090, NFS4ERR_UNION_NOTSUPP;
    NoXattr = 10095, NFS4ERR_NOXATTR;
    XattrTooBig = 10096, NFS4ERR_XATTR2BIG;
}

impl From<Malformed> for Status {
    fn from(_: Malformed) -> Self {
        Self::BadXdr
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::Errno(errno) => from_errno(errno),
            Error::Stale => Self::Stale,
            // The client asks again by itself (RFC 8881, 15.1.1.3).
            Error::Away | Error::Again => Self::Delay,
        }
    }
}

fn from_errno(errno: Errno) -> Status {
    match errno {
        Errno::PERM => Status::Permission,
        Errno::NOENT => Status::NoEntry,
        Errno::NXIO => Status::NoAddress,
        Errno::ACCESS => Status::Access,
        Errno::EXIST => Status::Exists,
        Errno::XDEV => Status::CrossDevice,
        Errno::NOTDIR => Status::NotDirectory,
        Errno::ISDIR => Status::IsDirectory,
        Errno::INVAL => Status::Invalid,
        Errno::FBIG | Errno::OVERFLOW => Status::FileTooBig,
        Errno::NOSPC => Status::NoSpace,
        Errno::ROFS => Status::ReadOnly,
        Errno::MLINK => Status::TooManyLinks,
        Errno::NAMETOOLONG => Status::NameTooLong,
        Errno::NOTEMPTY => Status::NotEmpty,
        Errno::DQUOT => Status::Quota,
        Errno::STALE => Status::Stale,
        Errno::LOOP => Status::Symlink,
        Errno::OPNOTSUPP | Errno::NOSYS => Status::NotSupported,
        Errno::NODATA => Status::NoXattr,
        Errno::TOOBIG => Status::XattrTooBig,
        Errno::RANGE => Status::NameTooLong,
        // Short of something for a moment.
        Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::BUSY => Status::Delay,
        _ => Status::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_the_rfcs() {
        assert_eq!(Status::from_number(10077), Some(Status::BadHighSlot));
        assert_eq!(Status::from_number(3), None);
        assert_eq!(format!("{:?}", Status::NoEntry), "NFS4ERR_NOENT");
    }

    #[test]
    fn errors_of_file_systems_have_a_status() {
        assert_eq!(Status::from(Error::Stale), Status::Stale);
        assert_eq!(Status::from(Error::Away), Status::Delay);
        assert_eq!(Status::from(Error::Errno(Errno::DQUOT)), Status::Quota);
        assert_eq!(Status::from(Error::Errno(Errno::CHILD)), Status::Io);
    }
}
