//! Each operation, good and bad.

use crate::Fixture;
use crate::client::{BOTH, Ops, READ, Session, WRITE, attributes};
use bytes::Bytes;
use womm_nfs::operations::Code;
use womm_nfs::status::Status;
use womm_nfs::wire::{Bitmap, Stateid};
use womm_nfs::xdr::Encoder;

const SIZE: u32 = 4;
const FSID: u32 = 8;
const FILEID: u32 = 20;
const MODE: u32 = 33;
const OWNER: u32 = 36;
const GROUP: u32 = 37;
/// createmode4
const EXCLUSIVE4: u32 = 2;
const EXCLUSIVE4_1: u32 = 3;

async fn start() -> (Fixture, Session) {
    let fixture = Fixture::new().await;
    let session = Session::new(fixture.address, "a").await;
    (fixture, session)
}

#[tokio::test]
async fn the_pseudo_file_system_looks_empty_and_leads_to_exports() {
    let (_fixture, mut session) = start().await;
    let mut reply = session.run(Ops::new().at("").readdir(0, 4096, &[1])).await;
    reply.ok(Code::Putrootfh);
    assert_eq!(reply.entries(), (vec![], true));
    assert_eq!(session.status(Ops::new().at("nothing")).await, Status::NoEntry);
    assert_eq!(session.status(Ops::new().at("export").void(Code::Lookupp).void(Code::Lookupp)).await, Status::NoEntry);
    assert_eq!(session.status(Ops::new().at("").mkdir(b"x")).await, Status::ReadOnly);
    let mut reply = session.run(Ops::new().at("").getattr(&[FSID]).at("export").getattr(&[FSID])).await;
    let pseudo = reply.skip(&[Code::Putrootfh]).values().u64();
    let export = reply.skip(&[Code::Putrootfh, Code::Lookup]).values().u64();
    assert_eq!(pseudo, Ok(0));
    assert_ne!(export, pseudo, "each has its own fsid");
    let public = Ops::new().void(Code::Putpubfh).lookup(b"export");
    assert_eq!(session.status(public).await, Status::Ok);
}

#[tokio::test]
async fn handles() {
    let (_fixture, mut session) = start().await;
    assert_eq!(session.status(Ops::new().getfh()).await, Status::NoFileHandle);
    assert_eq!(session.status(Ops::new().void(Code::Savefh)).await, Status::NoFileHandle);
    assert_eq!(session.status(Ops::new().void(Code::Restorefh)).await, Status::NoFileHandle);
    let handle = session.handle("export").await;
    let ops = Ops::new().putfh(&handle).void(Code::Savefh).at("").void(Code::Restorefh).getfh();
    let mut reply = session.run(ops).await;
    reply.skip(&[Code::Putfh, Code::Savefh, Code::Putrootfh, Code::Restorefh]);
    assert_eq!(reply.handle(), handle);
}

#[tokio::test]
async fn reading_and_writing() {
    let (_fixture, mut session) = start().await;
    let (handle, stateid) = session.create("file").await;
    let at = || Ops::new().putfh(&handle);
    assert_eq!(session.status(at().write(stateid, 5, b"hello").commit()).await, Status::Ok);
    let mut reply = session.run(at().read(stateid, 3, 100)).await;
    assert_eq!(reply.skip(&[Code::Putfh]).data(), (true, Bytes::from_static(b"\0\0hello")));
    let mut reply = session.run(at().read(stateid, 0, 4)).await;
    assert_eq!(reply.skip(&[Code::Putfh]).data(), (false, Bytes::from_static(b"\0\0\0\0")));
    let mut reply = session.run(at().read(stateid, 100, 4)).await;
    assert_eq!(reply.skip(&[Code::Putfh]).data(), (true, Bytes::new()));
    assert_eq!(session.status(at().write(stateid, u64::MAX - 2, b"hello")).await, Status::FileTooBig);
    let large = vec![7; 1 << 20];
    assert_eq!(session.status(at().write(stateid, 0, &large)).await, Status::Ok);
    let mut reply = session.run(at().read(stateid, 0, 1 << 20)).await;
    assert_eq!(reply.skip(&[Code::Putfh]).data(), (true, Bytes::from(large)));
    let truncate = at().setattr(stateid, &[SIZE], &9u64.to_be_bytes()).getattr(&[SIZE]);
    let mut reply = session.run(truncate).await;
    Bitmap::decode(reply.skip(&[Code::Putfh]).ok(Code::Setattr)).expect("what was set");
    assert_eq!(reply.values().u64(), Ok(9));
    assert_eq!(session.status(Ops::new().at("export").read(Stateid::ANONYMOUS, 0, 1)).await, Status::IsDirectory);
    assert_eq!(session.status(Ops::new().at("").read(Stateid::ANONYMOUS, 0, 1)).await, Status::IsDirectory);
}

#[tokio::test]
async fn open_in_all_ways() {
    let (_fixture, mut session) = start().await;
    let at = || Ops::new().at("export");
    let guarded = |name: &'static [u8]| {
        at().open(b"o", BOTH, 0, move |to| {
            to.u32(1).u32(1);
            attributes(&[MODE], &0o600u32.to_be_bytes(), to);
            to.u32(0).opaque(name);
        })
    };
    assert_eq!(session.status(guarded(b"guarded")).await, Status::Ok);
    assert_eq!(session.status(guarded(b"guarded")).await, Status::Exists);
    let exclusive = |mode: u32, verifier: u64| {
        at().open(b"o", BOTH, 0, move |to| {
            to.u32(1).u32(mode).u64(verifier);
            if mode == EXCLUSIVE4_1 {
                attributes(&[MODE], &0o600u32.to_be_bytes(), to);
            }
            to.u32(0).opaque(&[mode as u8]);
        })
    };
    for mode in [EXCLUSIVE4, EXCLUSIVE4_1] {
        assert_eq!(session.status(exclusive(mode, 1)).await, Status::Ok);
        assert_eq!(session.status(exclusive(mode, 1)).await, Status::Ok, "asked again");
        assert_eq!(session.status(exclusive(mode, 2)).await, Status::Exists);
    }
    assert_eq!(session.status(at().open_existing(b"o", b"none", READ, 0)).await, Status::NoEntry);
    assert_eq!(session.status(at().open_existing(b"o", b"guarded", 0, 0)).await, Status::Invalid);
    assert_eq!(session.status(at().open_existing(b"o", b"guarded", READ, 4)).await, Status::Invalid);
    let by_handle = |ops: Ops| {
        ops.open(b"p", READ, 0, |to| {
            to.u32(0).u32(4);
        })
    };
    assert_eq!(session.status(by_handle(at().lookup(b"guarded"))).await, Status::Ok);
    assert_eq!(session.status(by_handle(at())).await, Status::IsDirectory);
    assert_eq!(session.status(at().lookup(b"guarded").reclaim(b"p", READ)).await, Status::NoGrace);
    // Of delegations, which there are none of.
    for (claim, status) in
        [2, 5].map(|n| (n, Status::BadStateid)).into_iter().chain([3, 6].map(|n| (n, Status::NotSupported)))
    {
        let ops = at().open(b"o", READ, 0, |to| {
            to.u32(0).u32(claim);
        });
        assert_eq!(session.status(ops).await, status, "claim {claim}");
    }
    session.run(at().mkdir(b"folder")).await;
    assert_eq!(session.status(at().open_existing(b"o", b"folder", READ, 0)).await, Status::IsDirectory);
    assert_eq!(session.status(at().create(b"o", b"folder", READ, 0)).await, Status::IsDirectory);
    let size = at().open(b"o", WRITE, 0, |to| {
        to.u32(1).u32(0);
        attributes(&[SIZE], &0u64.to_be_bytes(), to);
        to.u32(0).opaque(b"guarded");
    });
    assert_eq!(session.status(size).await, Status::Ok, "it is truncated");
}

#[tokio::test]
async fn delegations_are_answered_with_the_reason_why_there_are_none() {
    let (_fixture, mut session) = start().await;
    for (want, kind, why) in [(0, 0, None), (0x100, 3, Some(3)), (0x400, 3, Some(0)), (0x500, 3, Some(7))] {
        let mut reply = session.run(Ops::new().at("export").create(b"o", b"file", READ | want, 0)).await;
        let from = reply.skip(&[Code::Putrootfh, Code::Lookup]).ok(Code::Open);
        from.fixed_opaque(16 + 20 + 4).expect("stateid, change, flags");
        Bitmap::decode(from).expect("what was set");
        assert_eq!(from.u32(), Ok(kind), "wanted {want:#x}");
        assert_eq!(why.map(|_| from.u32().expect("why")), why);
    }
    assert_eq!(session.status(Ops::new().at("export").create(b"o", b"file", READ | 0x600, 0)).await, Status::Invalid);
    let back = Ops::new().at("export/file").op(Code::DelegReturn, |to| Stateid::ANONYMOUS.encode(to));
    assert_eq!(session.status(back).await, Status::BadStateid);
}

#[tokio::test]
async fn share_reservations_between_clients() {
    let (fixture, mut a) = start().await;
    let mut b = Session::new(fixture.address, "b").await;
    let open = |access, deny| Ops::new().at("export").create(b"o", b"file", access, deny);
    let mut reply = a.run(open(READ, WRITE)).await;
    let stateid = reply.skip(&[Code::Putrootfh, Code::Lookup]).opened();
    assert_eq!(b.status(open(WRITE, 0)).await, Status::ShareDenied);
    assert_eq!(b.status(open(READ, READ)).await, Status::ShareDenied);
    let anonymous = Ops::new().at("export/file").write(Stateid::ANONYMOUS, 0, b"x");
    assert_eq!(b.status(anonymous.clone()).await, Status::Locked);
    assert_eq!(a.status(Ops::new().at("export/file").write(stateid, 0, b"x")).await, Status::OpenMode);
    assert_eq!(a.status(Ops::new().at("export/file").close(stateid)).await, Status::Ok);
    assert_eq!(b.status(anonymous).await, Status::Ok);
    assert_eq!(b.status(open(BOTH, BOTH)).await, Status::Ok);
}

#[tokio::test]
async fn locks_between_clients() {
    let (fixture, mut a) = start().await;
    let mut b = Session::new(fixture.address, "b").await;
    let ((handle, in_a), (_, in_b)) = (a.create("file").await, b.create("file").await);
    let at = || Ops::new().putfh(&handle);
    let mut reply = a.run(at().lock(in_a, b"l", 10, 10)).await;
    let locked = reply.skip(&[Code::Putfh]).locked(Code::Lock);
    let mut denied = b.run(at().lock(in_b, b"l", 15, u64::MAX)).await;
    denied.skip(&[Code::Putfh]);
    assert_eq!(denied.head(), (Code::Lock as u32, Status::Denied));
    assert_eq!((denied.from.u64(), denied.from.u64(), denied.from.u32()), (Ok(10), Ok(10), Ok(2)));
    let test = |offset: u64| {
        at().op(Code::Lockt, |to| {
            to.u32(1).u64(offset).u64(1).u64(0).opaque(b"l");
        })
    };
    assert_eq!(b.status(test(19)).await, Status::Denied);
    assert_eq!(b.status(test(20)).await, Status::Ok);
    assert_eq!(a.status(test(19)).await, Status::Ok, "its own");
    assert_eq!(a.status(at().lock(in_a, b"l", 0, 0)).await, Status::Invalid);
    assert_eq!(a.status(at().lock(in_a, b"l", u64::MAX, 2)).await, Status::Invalid);
    let free = |stateid: Stateid| Ops::new().op(Code::FreeStateid, |to| stateid.encode(to));
    assert_eq!(a.status(free(locked)).await, Status::LocksHeld);
    let mut reply = a.run(at().unlock(locked, 0, u64::MAX)).await;
    let unlocked = reply.skip(&[Code::Putfh]).locked(Code::Locku);
    assert_eq!(a.status(at().unlock(locked, 0, u64::MAX)).await, Status::OldStateid);
    assert_eq!(b.status(at().lock(in_b, b"l", 15, 1)).await, Status::Ok);
    let test = Ops::new().op(Code::TestStateid, |to| {
        to.u32(3);
        [in_a, unlocked, Stateid::ANONYMOUS].iter().for_each(|stateid| stateid.encode(to));
    });
    let mut reply = a.run(test).await;
    let from = reply.ok(Code::TestStateid);
    let words: Vec<u32> = (0..4).map(|_| from.u32().expect("a status")).collect();
    assert_eq!(words, [3, 0, 0, Status::BadStateid as u32]);
    assert_eq!(a.status(free(unlocked)).await, Status::Ok);
    assert_eq!(a.status(free(unlocked)).await, Status::BadStateid);
    assert_eq!(a.status(free(in_a)).await, Status::LocksHeld);
}

#[tokio::test]
async fn names() {
    let (_fixture, mut session) = start().await;
    let at = || Ops::new().at("export");
    for (name, status) in [
        (&b""[..], Status::Invalid),
        (b".", Status::BadName),
        (b"..", Status::BadName),
        (b"a/b", Status::BadCharacter),
        (&[b'x'; 256], Status::NameTooLong),
    ] {
        assert_eq!(session.status(at().lookup(name)).await, status);
        assert_eq!(session.status(at().mkdir(name)).await, status);
        assert_eq!(session.status(at().remove(name)).await, status);
        assert_eq!(session.status(at().create(b"o", name, READ, 0)).await, status);
        assert_eq!(session.status(at().void(Code::Savefh).rename(name, b"x")).await, status);
        assert_eq!(session.status(at().void(Code::Savefh).rename(b"x", name)).await, status);
    }
    assert_eq!(session.status(at().mkdir(b"\xff\xfe")).await, Status::Ok, "a name is bytes");
    assert_eq!(session.status(at().lookup(b"\xff\xfe")).await, Status::Ok);
}

#[tokio::test]
async fn what_is_made_and_what_is_not() {
    let (_fixture, mut session) = start().await;
    let make = |kind: u32, name: &'static [u8]| {
        Ops::new().at("export").op(Code::Create, move |to| {
            to.u32(kind);
            match kind {
                5 => drop_ref(to.opaque(b"target")),
                3 | 4 => drop_ref(to.u32(1).u32(2)),
                _ => {}
            }
            to.opaque(name);
            attributes(&[], &[], to);
        })
    };
    for (kind, status) in [
        (1, Status::BadType),
        (2, Status::Ok),
        (3, Status::Permission),
        (4, Status::Permission),
        (5, Status::Ok),
        (6, Status::Permission),
        (7, Status::Permission),
        (99, Status::BadType),
    ] {
        let name: &'static [u8] = Box::leak(kind.to_string().into_boxed_str()).as_bytes();
        assert_eq!(session.status(make(kind, name)).await, status, "type {kind}");
    }
    assert_eq!(session.status(make(2, b"2")).await, Status::Exists);
    let mut reply = session.run(Ops::new().at("export/5").void(Code::Readlink)).await;
    let target = reply.skip(&[Code::Putrootfh, Code::Lookup, Code::Lookup]).ok(Code::Readlink).opaque(100);
    assert_eq!(target.as_deref(), Ok(&b"target"[..]));
    assert_eq!(session.status(Ops::new().at("export/2").void(Code::Readlink)).await, Status::WrongType);
    assert_eq!(session.status(Ops::new().at("export/5/x")).await, Status::Symlink);
    assert_eq!(session.status(Ops::new().at("export/5").void(Code::Lookupp)).await, Status::Symlink);
    assert_eq!(session.status(Ops::new().at("export/5").read(Stateid::ANONYMOUS, 0, 1)).await, Status::Symlink);
}

fn drop_ref<T>(_: &mut T) {}

#[tokio::test]
async fn links_renames_and_removes() {
    let (_fixture, mut session) = start().await;
    let at = || Ops::new().at("export");
    let (handle, stateid) = session.create("file").await;
    session.run(at().mkdir(b"a").at("export").mkdir(b"b").at("export/a").mkdir(b"c")).await;
    let link = |ops: Ops, name: &'static [u8]| {
        ops.op(Code::Link, move |to| {
            to.opaque(name);
        })
    };
    assert_eq!(session.status(link(at().lookup(b"file").void(Code::Savefh).at("export"), b"link")).await, Status::Ok);
    let folder = link(at().lookup(b"a").void(Code::Savefh).at("export"), b"link2");
    assert_eq!(session.status(folder).await, Status::IsDirectory);
    assert_eq!(session.status(link(at(), b"link2")).await, Status::NoFileHandle);
    let across = link(at().lookup(b"file").void(Code::Savefh).at(""), b"link2");
    assert_eq!(session.status(across).await, Status::ReadOnly);
    let within = |from: &'static [u8], to: &'static [u8]| at().void(Code::Savefh).rename(from, to);
    assert_eq!(session.status(within(b"file", b"link")).await, Status::Ok, "one node: nothing is done");
    assert_eq!(session.status(within(b"a", b"link")).await, Status::NotDirectory);
    assert_eq!(session.status(within(b"file", b"a")).await, Status::IsDirectory);
    assert_eq!(session.status(within(b"b", b"a")).await, Status::NotEmpty);
    assert_eq!(session.status(within(b"none", b"x")).await, Status::NoEntry);
    assert_eq!(session.status(at().rename(b"file", b"x")).await, Status::NoFileHandle);
    let into_itself = at().void(Code::Savefh).at("export/a/c").rename(b"a", b"d");
    assert_eq!(session.status(into_itself).await, Status::Invalid, "a folder never gets below itself");
    assert_eq!(session.status(at().remove(b"a")).await, Status::NotEmpty);
    assert_eq!(session.status(at().remove(b"link").at("export").remove(b"file")).await, Status::Ok);
    let open = Ops::new().putfh(&handle).write(stateid, 0, b"still here").read(stateid, 0, 5);
    assert_eq!(session.status(open).await, Status::Ok, "what is open outlives its names");
    assert_eq!(session.status(Ops::new().putfh(&handle).close(stateid)).await, Status::Ok);
    assert_eq!(session.status(Ops::new().putfh(&handle).getattr(&[SIZE])).await, Status::Stale);
}

#[tokio::test]
async fn listings_in_parts() {
    let (_fixture, mut session) = start().await;
    for i in 0..100 {
        session.run(Ops::new().at("export").mkdir(format!("folder {i}").as_bytes())).await;
    }
    let at = || Ops::new().at("export");
    let (mut names, mut cookie, mut parts) = (Vec::new(), 0, 0);
    loop {
        let mut reply = session.run(at().readdir(cookie, 1024, &[1, FILEID, MODE, 19])).await;
        let (entries, end) = reply.skip(&[Code::Putrootfh, Code::Lookup]).entries();
        cookie = entries.last().map_or(cookie, |entry| entry.0);
        names.extend(entries.into_iter().map(|entry| entry.1));
        parts += 1;
        if end {
            break;
        }
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 100);
    assert!(parts > 5);
    assert_eq!(session.status(at().readdir(0, 8, &[])).await, Status::TooSmall);
    assert_eq!(session.status(at().readdir(0, 40, &[FILEID])).await, Status::TooSmall);
    assert_eq!(session.status(at().readdir(1, 4096, &[])).await, Status::BadCookie);
    session.create("file").await;
    assert_eq!(session.status(Ops::new().at("export/file").readdir(0, 4096, &[])).await, Status::NotDirectory);
}

#[tokio::test]
async fn all_see_one_owner_and_may_do_what_he_may() {
    let (_fixture, mut session) = start().await;
    session.create("file").await;
    let mode = |mode: u32| Ops::new().at("export/file").setattr(Stateid::ANONYMOUS, &[MODE], &mode.to_be_bytes());
    assert_eq!(session.status(mode(0o444)).await, Status::Ok);
    let write = Ops::new().at("export").open_existing(b"o", b"file", WRITE, 0);
    assert_eq!(session.status(write.clone()).await, Status::Ok, "root writes what it may only read");
    for user in [1000, 7, 0] {
        session.connection.user = user;
        let mut reply = session.run(Ops::new().at("export/file").getattr(&[OWNER, GROUP])).await;
        let mut values = reply.skip(&[Code::Putrootfh, Code::Lookup, Code::Lookup]).values();
        assert_eq!(values.opaque(20).as_deref(), Ok(&b"1000"[..]), "whoever asks");
        assert_eq!(values.opaque(20).as_deref(), Ok(&b"1001"[..]));
        assert_eq!(session.status(mode(0o444)).await, Status::Ok);
        let expected = if user == 0 { Status::Ok } else { Status::Access };
        assert_eq!(session.status(write.clone()).await, expected, "user {user}");
        assert_eq!(session.status(mode(0o644)).await, Status::Ok);
        assert_eq!(session.status(write.clone()).await, Status::Ok);
        let give = |number, to: &'static [u8]| {
            let mut value = Encoder::new();
            value.opaque(to);
            Ops::new().at("export/file").setattr(Stateid::ANONYMOUS, &[number], &value.into_bytes())
        };
        assert_eq!(session.status(give(OWNER, b"1")).await, Status::Permission);
        assert_eq!(session.status(give(GROUP, b"1000")).await, Status::Permission);
        assert_eq!(session.status(give(OWNER, b"1000")).await, Status::Ok);
        assert_eq!(session.status(give(GROUP, b"1001")).await, Status::Ok);
        assert_eq!(session.status(give(OWNER, b"root@example")).await, Status::BadOwner);
    }
    session.connection.user = 7;
    assert_eq!(session.status(mode(0o444)).await, Status::Ok);
    let access = |bits: u32| Ops::new().at("export/file").op(Code::Access, move |to| drop_ref(to.u32(bits)));
    let mut reply = session.run(access(0x3f)).await;
    let from = reply.skip(&[Code::Putrootfh, Code::Lookup, Code::Lookup]).ok(Code::Access);
    assert_eq!((from.u32(), from.u32()), (Ok(0x2d), Ok(0x01)));
}

#[tokio::test]
async fn verify_and_nverify() {
    let (_fixture, mut session) = start().await;
    session.create("file").await;
    let compare = |code, number, value: &'static [u8]| {
        Ops::new().at("export/file").op(code, move |to| attributes(&[number], value, to))
    };
    assert_eq!(session.status(compare(Code::Verify, SIZE, &[0; 8])).await, Status::Ok);
    assert_eq!(session.status(compare(Code::Verify, SIZE, &[1; 8])).await, Status::NotSame);
    assert_eq!(session.status(compare(Code::Nverify, SIZE, &[0; 8])).await, Status::Same);
    assert_eq!(session.status(compare(Code::Nverify, SIZE, &[1; 8])).await, Status::Ok);
    assert_eq!(session.status(compare(Code::Verify, 11, &[0; 4])).await, Status::Invalid, "rdattr_error");
    assert_eq!(session.status(compare(Code::Verify, 48, &[0; 4])).await, Status::Invalid, "write only");
    assert_eq!(session.status(compare(Code::Verify, 12, &[0; 4])).await, Status::AttributeNotSupported);
}

#[tokio::test]
async fn security_is_the_same_everywhere() {
    let (_fixture, mut session) = start().await;
    session.create("file").await;
    let secinfo = Ops::new().at("export").op(Code::Secinfo, |to| drop_ref(to.opaque(b"file")));
    let mut reply = session.run(secinfo.clone()).await;
    let from = reply.skip(&[Code::Putrootfh, Code::Lookup]).ok(Code::Secinfo);
    assert_eq!((from.u32(), from.u32(), from.u32()), (Ok(2), Ok(1), Ok(0)));
    assert_eq!(session.status(secinfo.getfh()).await, Status::NoFileHandle);
    let no_name = |style: u32| Ops::new().at("").op(Code::SecinfoNoName, move |to| drop_ref(to.u32(style)));
    assert_eq!(session.status(no_name(0)).await, Status::Ok);
    assert_eq!(session.status(no_name(1)).await, Status::NoEntry);
}

#[tokio::test]
async fn holes_and_room() {
    let (_fixture, mut session) = start().await;
    let (handle, stateid) = session.create("file").await;
    let at = || Ops::new().putfh(&handle);
    session.run(at().write(stateid, 0, &[1; 100])).await;
    let range = |code, offset: u64, length: u64| {
        at().op(code, move |to| {
            stateid.encode(to);
            to.u64(offset).u64(length);
        })
    };
    for code in [Code::Allocate, Code::Deallocate] {
        let status = session.status(range(code, 0, 10)).await;
        assert!(matches!(status, Status::Ok | Status::NotSupported), "{code:?}: {status:?}");
        assert_eq!(session.status(range(code, 0, 0)).await, Status::Invalid);
    }
    assert_eq!(session.status(range(Code::Allocate, u64::MAX, 10)).await, Status::FileTooBig);
    let seek = |offset: u64, what: u32| {
        at().op(Code::Seek, move |to| {
            stateid.encode(to);
            to.u64(offset).u32(what);
        })
    };
    let mut reply = session.run(seek(50, 1)).await;
    let from = reply.skip(&[Code::Putfh]).ok(Code::Seek);
    assert_eq!((from.bool(), from.u64()), (Ok(true), Ok(100)));
    assert_eq!(session.status(seek(100, 0)).await, Status::NoAddress);
    assert_eq!(session.status(seek(0, 7)).await, Status::UnionNotSupported);
    let advise = at().op(Code::IoAdvise, |to| {
        stateid.encode(to);
        to.u64(0).u64(0).u32(1).u32(1);
    });
    assert_eq!(session.status(advise).await, Status::Ok);
}

#[tokio::test]
async fn copies_within_the_server() {
    let (_fixture, mut session) = start().await;
    let ((source, from_id), (target, to_id)) = (session.create("a").await, session.create("b").await);
    session.run(Ops::new().putfh(&source).write(from_id, 0, b"hello world")).await;
    let copy = |from: &Bytes, to: &Bytes, ids: [Stateid; 2], offsets: [u64; 3], servers: u32| {
        Ops::new().putfh(from).void(Code::Savefh).putfh(to).op(Code::Copy, move |to| {
            ids.iter().for_each(|stateid| stateid.encode(to));
            offsets.iter().for_each(|offset| drop_ref(to.u64(*offset)));
            to.bool(true).bool(true).u32(servers);
        })
    };
    let ids = [from_id, to_id];
    assert_eq!(session.status(copy(&source, &target, ids, [6, 1, 5], 0)).await, Status::Ok);
    let mut reply = session.run(Ops::new().putfh(&target).read(to_id, 0, 100)).await;
    assert_eq!(reply.skip(&[Code::Putfh]).data().1, &b"\0world"[..]);
    let mut reply = session.run(copy(&source, &target, ids, [0, 0, 0], 0)).await;
    let from = reply.skip(&[Code::Putfh, Code::Savefh, Code::Putfh]).ok(Code::Copy);
    assert_eq!((from.u32(), from.u64()), (Ok(0), Ok(11)), "none is all of it");
    assert_eq!(session.status(copy(&source, &target, ids, [6, 0, 50], 0)).await, Status::Invalid);
    assert_eq!(session.status(copy(&source, &source, [from_id; 2], [0, 3, 5], 0)).await, Status::Invalid);
    assert_eq!(session.status(copy(&source, &target, ids, [0, 0, 0], 1)).await, Status::NotSupported);
}

#[tokio::test]
async fn extended_attributes() {
    let (_fixture, mut session) = start().await;
    session.create("file").await;
    let at = || Ops::new().at("export/file");
    let named = |code, name: &'static [u8]| at().op(code, move |to| drop_ref(to.opaque(name)));
    let set = |how: u32, name: &'static [u8], value: &[u8]| {
        let value = value.to_vec();
        at().op(Code::Setxattr, move |to| drop_ref(to.u32(how).opaque(name).opaque(&value)))
    };
    assert_eq!(session.status(named(Code::Getxattr, b"a")).await, Status::NoXattr);
    assert_eq!(session.status(set(2, b"a", b"1")).await, Status::NoXattr);
    assert_eq!(session.status(set(1, b"a", b"1")).await, Status::Ok);
    assert_eq!(session.status(set(1, b"a", b"2")).await, Status::Exists);
    assert_eq!(session.status(set(0, b"b", b"2")).await, Status::Ok);
    assert_eq!(session.status(set(0, b"c", &vec![0; 70_000])).await, Status::XattrTooBig);
    let list = |cookie: u64, most: u32| at().op(Code::Listxattrs, move |to| drop_ref(to.u64(cookie).u32(most)));
    let mut reply = session.run(list(0, 25)).await;
    let from = reply.skip(&[Code::Putrootfh, Code::Lookup, Code::Lookup]).ok(Code::Listxattrs);
    let cookie = from.u64().expect("a cookie");
    assert_eq!((from.u32(), from.opaque(9).as_deref(), from.bool()), (Ok(1), Ok(&b"a"[..]), Ok(false)));
    let mut reply = session.run(list(cookie, 4096)).await;
    let from = reply.skip(&[Code::Putrootfh, Code::Lookup, Code::Lookup]).ok(Code::Listxattrs);
    from.u64().expect("a cookie");
    assert_eq!((from.u32(), from.opaque(9).as_deref(), from.bool()), (Ok(1), Ok(&b"b"[..]), Ok(true)));
    assert_eq!(session.status(list(0, 17)).await, Status::TooSmall);
    assert_eq!(session.status(list(99, 4096)).await, Status::BadCookie);
    assert_eq!(session.status(named(Code::Removexattr, b"a")).await, Status::Ok);
    assert_eq!(session.status(named(Code::Removexattr, b"a")).await, Status::NoXattr);
}

#[tokio::test]
async fn what_is_left_out_is_refused() {
    let (_fixture, mut session) = start().await;
    for code in Code::ALL {
        let number = *code as u32;
        let left_out = matches!(number, 7 | 19 | 20 | 30 | 35 | 36 | 39 | 46..=51 | 54 | 56 | 61 | 64..=68 | 70 | 71);
        if left_out {
            assert_eq!(session.status(Ops::new().at("export").void(*code)).await, Status::NotSupported, "{code:?}");
        }
    }
    assert_eq!(session.status(Ops::new().void(Code::Illegal)).await, Status::IllegalOperation);
}

#[tokio::test]
async fn an_open_is_downgraded_to_what_was_asked_for_before() {
    let (fixture, mut a) = start().await;
    let mut b = Session::new(fixture.address, "b").await;
    let open = |access, deny| Ops::new().at("export").create(b"o", b"file", access, deny).getfh();
    let mut reply = a.run(open(READ, 0)).await;
    reply.skip(&[Code::Putrootfh, Code::Lookup]).opened();
    let handle = reply.handle();
    let both = a.run(open(BOTH, WRITE)).await.skip(&[Code::Putrootfh, Code::Lookup]).opened();
    let less = |stateid: Stateid, access: u32, deny: u32| {
        Ops::new().putfh(&handle).op(Code::OpenDowngrade, move |to| {
            stateid.encode(to);
            to.u32(0).u32(access).u32(deny);
        })
    };
    assert_eq!(b.status(open(WRITE, 0)).await, Status::ShareDenied);
    assert_eq!(a.status(less(both, 0, 0)).await, Status::Invalid);
    assert_eq!(a.status(less(both, WRITE, 0)).await, Status::Invalid, "it was never opened so");
    assert_eq!(b.status(less(both, READ, 0)).await, Status::BadStateid, "it is another client's");
    let read = a.run(less(both, READ, 0)).await.skip(&[Code::Putfh]).locked(Code::OpenDowngrade);
    assert_eq!(a.status(less(both, READ, 0)).await, Status::OldStateid);
    assert_eq!(b.status(open(WRITE, 0)).await, Status::Ok);
    assert_eq!(a.status(Ops::new().putfh(&handle).write(read, 0, b"x")).await, Status::OpenMode);
}

#[tokio::test]
async fn a_back_channel_is_taken() {
    let (_fixture, mut session) = start().await;
    let program = |flavor: u32| {
        Ops::new().op(Code::BackchannelCtl, move |to| {
            to.u32(0x4000_0000).u32(1).u32(flavor);
        })
    };
    assert_eq!(session.status(program(0)).await, Status::Ok);
    assert_eq!(session.status(program(77)).await, Status::BadXdr);
}
