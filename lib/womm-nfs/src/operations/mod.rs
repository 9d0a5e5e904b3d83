//! What operations do: a file for each. They read their arguments, ask the file system or change the state, and write their
//! result, all after SEQUENCE has let the compound in.

pub mod access;
pub mod allocate;
pub mod backchannel_ctl;
pub mod bind_conn_to_session;
pub mod close;
pub mod commit;
pub mod copy;
pub mod create;
pub mod create_session;
pub mod destroy_client_id;
pub mod destroy_session;
pub mod exchange_id;
pub mod free_stateid;
pub mod getattr;
pub mod getfh;
pub mod getxattr;
pub mod io_advise;
pub mod link;
pub mod listxattrs;
pub mod lock;
pub mod lockt;
pub mod locku;
pub mod lookup;
pub mod lookupp;
pub mod names;
pub mod open;
pub mod open_downgrade;
pub mod putfh;
pub mod putrootfh;
pub mod read;
pub mod readdir;
pub mod readlink;
pub mod reclaim_complete;
pub mod remove;
pub mod removexattr;
pub mod rename;
pub mod restorefh;
pub mod savefh;
pub mod secinfo;
pub mod secinfo_no_name;
pub mod seek;
pub mod sequence;
pub mod setattr;
pub mod setxattr;
pub mod test_stateid;
pub mod verify;
pub mod write;

use crate::compound::{Compound, Outcome};
use crate::status::Status;
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;

macro_rules! codes {
    ($($name:ident = $number:literal;)*) => {
        /// nfs_opnum4 (RFC 8881, 16.2.2; RFC 7862, 15; RFC 8276, 8.4).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the RFCs' names")]
        #[repr(u32)]
        pub enum Code {
            $($name = $number,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

codes! {
    Access = 3;
    Close = 4;
    Commit = 5;
    Create = 6;
    DelegPurge = 7;
    DelegReturn = 8;
    Getattr = 9;
    Getfh = 10;
    Link = 11;
    Lock = 12;
    Lockt = 13;
    Locku = 14;
    Lookup = 15;
    Lookupp = 16;
    Nverify = 17;
    Open = 18;
    OpenAttr = 19;
    OpenConfirm = 20;
    OpenDowngrade = 21;
    Putfh = 22;
    Putpubfh = 23;
    Putrootfh = 24;
    Read = 25;
    Readdir = 26;
    Readlink = 27;
    Remove = 28;
    Rename = 29;
    Renew = 30;
    Restorefh = 31;
    Savefh = 32;
    Secinfo = 33;
    Setattr = 34;
    SetClientId = 35;
    SetClientIdConfirm = 36;
    Verify = 37;
    Write = 38;
    ReleaseLockOwner = 39;
    BackchannelCtl = 40;
    BindConnToSession = 41;
    ExchangeId = 42;
    CreateSession = 43;
    DestroySession = 44;
    FreeStateid = 45;
    GetDirDelegation = 46;
    GetDeviceInfo = 47;
    GetDeviceList = 48;
    LayoutCommit = 49;
    LayoutGet = 50;
    LayoutReturn = 51;
    SecinfoNoName = 52;
    Sequence = 53;
    SetSsv = 54;
    TestStateid = 55;
    WantDelegation = 56;
    DestroyClientId = 57;
    ReclaimComplete = 58;
    Allocate = 59;
    Copy = 60;
    CopyNotify = 61;
    Deallocate = 62;
    IoAdvise = 63;
    LayoutError = 64;
    LayoutStats = 65;
    OffloadCancel = 66;
    OffloadStatus = 67;
    ReadPlus = 68;
    Seek = 69;
    WriteSame = 70;
    Clone = 71;
    Getxattr = 72;
    Setxattr = 73;
    Listxattrs = 74;
    Removexattr = 75;
    Illegal = 10044;
}

/// The first operation of RFC 7862: minor version 1 does not have it.
const FIRST_OF_MINOR_2: u32 = 59;

impl Code {
    /// The one with this number in a minor version, or ILLEGAL.
    pub fn from_number(number: u32, minor: u32) -> Self {
        if minor < 2 && number >= FIRST_OF_MINOR_2 {
            return Self::Illegal;
        }
        Self::ALL.iter().copied().find(|code| *code as u32 == number).unwrap_or(Self::Illegal)
    }

    /// Whether it may be a compound by itself, without a session.
    pub fn stands_alone(self) -> bool {
        matches!(
            self,
            Self::ExchangeId
                | Self::CreateSession
                | Self::DestroySession
                | Self::DestroyClientId
                | Self::BindConnToSession
        )
    }

    /// Whether it changes something: then it must be sure beforehand that its result can be sent.
    pub fn changes(self) -> bool {
        matches!(
            self,
            Self::Close
                | Self::Commit
                | Self::Create
                | Self::Link
                | Self::Lock
                | Self::Locku
                | Self::Open
                | Self::OpenDowngrade
                | Self::Remove
                | Self::Rename
                | Self::Setattr
                | Self::Write
                | Self::BackchannelCtl
                | Self::BindConnToSession
                | Self::ExchangeId
                | Self::CreateSession
                | Self::DestroySession
                | Self::DestroyClientId
                | Self::FreeStateid
                | Self::ReclaimComplete
                | Self::Allocate
                | Self::Deallocate
                | Self::Copy
                | Self::Setxattr
                | Self::Removexattr
        )
    }

    /// Whether it may be done because another client has lost what it held.
    pub fn takes_from_others(self) -> bool {
        matches!(self, Self::Open | Self::Lock | Self::Read | Self::Write | Self::Setattr)
    }
}

/// Does one.
pub async fn run<V: Vfs>(code: Code, cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    match code {
        Code::Access => access::run(cx, from, to).await,
        Code::Close => close::run(cx, from, to),
        Code::Commit => commit::run(cx, from, to).await,
        Code::Create => create::run(cx, from, to).await,
        Code::Getattr => getattr::run(cx, from, to).await,
        Code::Getfh => getfh::run(cx, to),
        Code::Link => link::run(cx, from, to).await,
        Code::Lock => lock::run(cx, from, to),
        Code::Lockt => lockt::run(cx, from, to).await,
        Code::Locku => locku::run(cx, from, to),
        Code::Lookup => lookup::run(cx, from).await,
        Code::Lookupp => lookupp::run(cx).await,
        Code::Nverify => verify::run(cx, from, true).await,
        Code::Open => open::run(cx, from, to).await,
        Code::OpenDowngrade => open_downgrade::run(cx, from, to),
        Code::Putfh => putfh::run(cx, from),
        Code::Putpubfh => putrootfh::run(cx),
        Code::Putrootfh => putrootfh::run(cx),
        Code::Read => read::run(cx, from, to).await,
        Code::Readdir => readdir::run(cx, from, to).await,
        Code::Readlink => readlink::run(cx, to).await,
        Code::Remove => remove::run(cx, from, to).await,
        Code::Rename => rename::run(cx, from, to).await,
        Code::Restorefh => restorefh::run(cx),
        Code::Savefh => savefh::run(cx),
        Code::Secinfo => secinfo::run(cx, from, to).await,
        Code::Setattr => setattr::run(cx, from, to).await,
        Code::Verify => verify::run(cx, from, false).await,
        Code::Write => write::run(cx, from, to).await,
        Code::BackchannelCtl => backchannel_ctl::run(cx, from),
        Code::BindConnToSession => bind_conn_to_session::run(cx, from, to),
        Code::ExchangeId => exchange_id::run(cx, from, to),
        Code::CreateSession => create_session::run(cx, from, to),
        Code::DestroySession => destroy_session::run(cx, from),
        Code::FreeStateid => free_stateid::run(cx, from),
        Code::SecinfoNoName => secinfo_no_name::run(cx, from, to).await,
        Code::TestStateid => test_stateid::run(cx, from, to),
        Code::DestroyClientId => destroy_client_id::run(cx, from),
        Code::ReclaimComplete => reclaim_complete::run(cx, from),
        Code::Allocate => allocate::run(cx, from, false).await,
        Code::Copy => copy::run(cx, from, to).await,
        Code::Deallocate => allocate::run(cx, from, true).await,
        Code::IoAdvise => io_advise::run(cx, from, to),
        Code::Seek => seek::run(cx, from, to).await,
        Code::Getxattr => getxattr::run(cx, from, to).await,
        Code::Setxattr => setxattr::run(cx, from, to).await,
        Code::Listxattrs => listxattrs::run(cx, from, to).await,
        Code::Removexattr => removexattr::run(cx, from, to).await,
        // We have given no delegation that could be returned.
        Code::DelegReturn => Err(Status::BadStateid.into()),
        Code::Sequence => Err(Status::SequencePosition.into()),
        Code::Illegal => Err(Status::IllegalOperation.into()),
        // Delegations, pNFS, GSS, named attributes, copies between servers: see docs/semantics.md.
        Code::DelegPurge
        | Code::OpenAttr
        | Code::OpenConfirm
        | Code::Renew
        | Code::SetClientId
        | Code::SetClientIdConfirm
        | Code::ReleaseLockOwner
        | Code::GetDirDelegation
        | Code::GetDeviceInfo
        | Code::GetDeviceList
        | Code::LayoutCommit
        | Code::LayoutGet
        | Code::LayoutReturn
        | Code::SetSsv
        | Code::WantDelegation
        | Code::CopyNotify
        | Code::LayoutError
        | Code::LayoutStats
        | Code::OffloadCancel
        | Code::OffloadStatus
        | Code::ReadPlus
        | Code::WriteSame
        | Code::Clone => Err(Status::NotSupported.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_version_1_has_its_own() {
        assert_eq!(Code::from_number(58, 1), Code::ReclaimComplete);
        assert_eq!(Code::from_number(59, 1), Code::Illegal);
        assert_eq!(Code::from_number(75, 2), Code::Removexattr);
        for number in [0, 1, 2, 76, 10044, u32::MAX] {
            assert_eq!(Code::from_number(number, 2), Code::Illegal, "{number}");
        }
    }
}
