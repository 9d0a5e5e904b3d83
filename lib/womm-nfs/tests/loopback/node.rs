//! Whatever becomes of a folder, the nodes that have it mounted go on (SHARE.md, "Never stop a node").

use crate::client::{BOTH, Connection, Ops, Session};
use crate::{DEADLINE, Fixture};
use std::time::Duration;
use womm_nfs::exports::Terms;
use womm_nfs::limits::{MOST_WAITING, TOMBSTONE};
use womm_nfs::operations::Code;
use womm_nfs::status::Status;
use womm_vfs::{Clock, Error};

#[tokio::test]
async fn a_root_answers_though_its_folder_is_away() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let (handle, stateid) = session.create("file").await;
    let export = session.handle("export").await;
    fixture.export().vfs.away();
    let all: Vec<u32> = (0..12)
        .chain(20..32)
        .chain(33..48)
        .chain(50..56)
        .filter(|n| ![13, 14, 24, 25, 32, 38, 39, 40, 46].contains(n))
        .collect();
    let root = Ops::new().at("export").getattr(&all).op(Code::Access, |to| {
        to.u32(0x1f);
    });
    assert_eq!(session.status(root).await, Status::Ok);
    assert_eq!(session.status(Ops::new().putfh(&export).getattr(&all)).await, Status::Ok);
    let close = Ops::new().putfh(&handle).close(stateid);
    assert_eq!(session.status(close).await, Status::Ok);
}

#[tokio::test]
async fn what_waits_for_a_folder_leaves_slots_for_others() {
    let fixture = Fixture::new().await;
    let other = womm_vfs::memory::MemoryVfs::new(fixture.clock.clone());
    fixture.server.export("/other", other, Terms::default()).expect("it is good");
    let mut session = Session::new(fixture.address, "a").await;
    let (handle, _) = session.create("file").await;
    fixture.export().vfs.away();
    // All slots of the session at once.
    let mut connection = Connection::new(fixture.address).await;
    for slot in 1..64 {
        connection.send(Ops::sequence(session.id, 1, slot, false).putfh(&handle).getattr(&[4])).await;
    }
    // All but those that may wait are told to come again.
    for _ in 1..64 - MOST_WAITING {
        let (_, reply) = connection.receive().await;
        assert_eq!(reply.status, Status::Delay);
    }
    let ops = Ops::new().at("other").create(b"o", b"file", 3, 0).getattr(&[4]);
    let status = tokio::time::timeout(DEADLINE, session.status(ops)).await.expect("in time");
    assert_eq!(status, Status::Ok);
    fixture.export().vfs.back();
    assert_eq!(session.status(Ops::new().putfh(&handle).getattr(&[4])).await, Status::Ok);
}

#[tokio::test]
async fn errors_of_a_folder_that_pass_are_delay() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let (handle, _) = session.create("file").await;
    for error in [Error::Away, Error::Again] {
        fixture.export().vfs.refuse(1, error);
        assert_eq!(session.status(Ops::new().putfh(&handle).getattr(&[4])).await, Status::Delay, "{error:?}");
    }
    fixture.export().vfs.refuse(1, Error::Errno(rustix::io::Errno::NOSPC));
    assert_eq!(session.status(Ops::new().at("export").mkdir(b"x")).await, Status::NoSpace);
    assert_eq!(session.status(Ops::new().at("export").mkdir(b"x")).await, Status::Ok);
}

#[tokio::test]
async fn a_panic_is_one_operations_fault() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let (handle, stateid) = session.create("file").await;
    let call = Ops::sequence(session.id, 1, 1, true).putfh(&handle).write(stateid, 0, b"x").getfh();
    fixture.export().vfs.panic();
    let first = session.connection.run(call.clone()).await;
    assert_eq!(first.status, Status::ServerFault);
    assert_eq!(session.connection.run(call).await.bytes, first.bytes, "a retry gets the same");
    // Of many on the way, the others are answered; so is who comes next on the slot.
    fixture.export().vfs.panic();
    for slot in 2..12 {
        session.connection.send(Ops::sequence(session.id, 1, slot, false).putfh(&handle).getattr(&[4])).await;
    }
    let mut faults = 0;
    for _ in 2..12 {
        match session.connection.receive().await.1.status {
            Status::ServerFault => faults += 1,
            status => assert_eq!(status, Status::Ok),
        }
    }
    assert_eq!(faults, 1);
    for slot in 1..12 {
        let next = Ops::sequence(session.id, 2, slot, false).putfh(&handle).write(stateid, 0, b"x");
        assert_eq!(session.connection.run(next).await.status, Status::Ok, "slot {slot}");
    }
    assert_eq!(session.status(Ops::new().putfh(&handle).close(stateid)).await, Status::Ok);
}

#[tokio::test]
async fn a_drained_export_is_let_go_of() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let (handle, stateid) = session.create("file").await;
    let at = || Ops::new().putfh(&handle);
    let mut reply = session.run(at().lock(stateid, b"l", 0, 1)).await;
    let locked = reply.skip(&[Code::Putfh]).locked(Code::Lock);
    fixture.server.drain(fixture.number).expect("noted");
    assert_eq!(session.status(at().write(stateid, 0, b"x")).await, Status::Stale);
    assert_eq!(session.status(at().commit()).await, Status::Stale);
    let open = Ops::new().at("export").open_existing(b"o", b"file", 1, 0);
    assert_eq!(session.status(open).await, Status::Stale);
    assert_eq!(session.status(Ops::new().at("export").mkdir(b"x")).await, Status::Stale);
    assert_eq!(session.status(Ops::new().at("export").getattr(&[1])).await, Status::Ok);
    assert_eq!(session.status(at().unlock(locked, 0, 1)).await, Status::Ok);
    assert_eq!(session.status(at().close(stateid)).await, Status::Ok);
    fixture.clock.advance(TOMBSTONE + Duration::from_secs(1));
    fixture.server.exports().remove_drained(fixture.clock.now() - TOMBSTONE);
    assert_eq!(session.status(at().getattr(&[1])).await, Status::Stale);
}

#[tokio::test]
async fn a_drained_export_stays_so_after_a_restart() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let (handle, _) = session.create("file").await;
    fixture.server.drain(fixture.number).expect("noted");
    let fixture = fixture.restart().await;
    let mut session = Session::returned(fixture.address, "a").await;
    let at = || Ops::new().putfh(&handle);
    assert_eq!(session.status(at().reclaim(b"owner", BOTH)).await, Status::Stale);
    assert_eq!(session.status(Ops::new().reclaim_complete()).await, Status::Ok);
    assert_eq!(session.status(at().commit()).await, Status::Stale);
    assert_eq!(session.status(at().getattr(&[1])).await, Status::Ok);
    assert_eq!(session.status(Ops::new().at("export").getattr(&[1])).await, Status::Ok);
    assert_eq!(session.status(Ops::new().at("export").mkdir(b"x")).await, Status::Stale);
}

#[tokio::test]
async fn a_read_only_export() {
    let fixture = Fixture::new().await;
    let other = womm_vfs::memory::MemoryVfs::new(fixture.clock.clone());
    fixture.server.export("/fixed", other, Terms { read_only: true, ..Terms::default() }).expect("it is good");
    let mut session = Session::new(fixture.address, "a").await;
    let at = || Ops::new().at("fixed");
    assert_eq!(session.status(at().mkdir(b"x")).await, Status::ReadOnly);
    assert_eq!(session.status(at().create(b"o", b"x", 1, 0)).await, Status::ReadOnly);
    assert_eq!(session.status(at().remove(b"x")).await, Status::ReadOnly);
    let mut reply = session
        .run(at().op(Code::Access, |to| {
            to.u32(0x1f);
        }))
        .await;
    let from = reply.skip(&[Code::Putrootfh, Code::Lookup]).ok(Code::Access);
    assert_eq!((from.u32(), from.u32()), (Ok(0x1f), Ok(0x03)));
}

#[tokio::test]
async fn what_gives_back_and_what_is_taken_back_never_waits() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let (handle, stateid) = session.create("file").await;
    let (other, elsewhere) = session.create("other").await;
    let at = || Ops::new().putfh(&handle);
    let lock = |stateid| at().lock(stateid, b"l", 0, 10);
    let locked = session.run(lock(stateid)).await.skip(&[Code::Putfh]).locked(Code::Lock);
    fixture.export().vfs.away();
    // As many as may wait do, so that whatever else needs the folder is told to come again.
    let mut connection = Connection::new(fixture.address).await;
    for slot in 1..64 {
        connection.send(Ops::sequence(session.id, 1, slot, false).putfh(&handle).getattr(&[4])).await;
    }
    for _ in 1..64 - MOST_WAITING {
        assert_eq!(connection.receive().await.1.status, Status::Delay);
    }
    assert_eq!(session.status(at().getattr(&[4])).await, Status::Delay);
    let test = Ops::new().op(Code::TestStateid, |to| {
        to.u32(1);
        locked.encode(to);
    });
    assert_eq!(session.status(test).await, Status::Ok);
    let unlocked = session.run(at().unlock(locked, 0, 10)).await.skip(&[Code::Putfh]).locked(Code::Locku);
    assert_eq!(session.status(Ops::new().op(Code::FreeStateid, |to| unlocked.encode(to))).await, Status::Ok);
    let less = at().op(Code::OpenDowngrade, |to| {
        stateid.encode(to);
        to.u32(0).u32(BOTH).u32(0);
    });
    let stateid = session.run(less).await.skip(&[Code::Putfh]).locked(Code::OpenDowngrade);
    assert_eq!(session.status(at().close(stateid)).await, Status::Ok);
    // After a restart it is away still.
    assert_eq!(session.status(Ops::new().putfh(&other).lock(elsewhere, b"l", 0, 10)).await, Status::Ok);
    drop(connection);
    let fixture = fixture.restart().await;
    fixture.export().vfs.away();
    let mut session = Session::returned(fixture.address, "a").await;
    let mut reply = session.run(Ops::new().putfh(&other).reclaim(b"owner", BOTH)).await;
    let elsewhere = reply.skip(&[Code::Putfh]).opened();
    let lock = Ops::new().putfh(&other).reclaim_lock(elsewhere, b"l", 0, 10);
    assert_eq!(session.status(lock).await, Status::Ok);
    assert_eq!(session.status(Ops::new().reclaim_complete()).await, Status::Ok);
    assert_eq!(session.status(Ops::new().putfh(&other).close(elsewhere)).await, Status::Ok, "the lock goes with it");
}

/// Linux wants the replies of CLOSE and LOCKU kept.
#[tokio::test]
async fn what_gives_back_is_kept_whatever_others_keep() {
    let fixture = Fixture::with_memory(16 << 20).await;
    let mut greedy = Session::new(fixture.address, "greedy").await;
    let (large, of_large) = greedy.create("large").await;
    assert_eq!(greedy.status(Ops::new().putfh(&large).write(of_large, 0, &[1; 3500])).await, Status::Ok);
    // Session by session, until no more of its replies are kept.
    let (mut id, mut number) = (greedy.id, 1);
    'fill: loop {
        for slot in 1..64 {
            let call = Ops::sequence(id, 1, slot, true).putfh(&large).read(of_large, 0, 3500);
            match greedy.connection.run(call).await.status {
                Status::Ok => {}
                status => break 'fill assert_eq!(status, Status::Delay),
            }
        }
        number += 1;
        id = greedy.connection.session(greedy.client, number).await;
    }
    let mut session = Session::new(fixture.address, "a").await;
    let (handle, stateid) = session.create("file").await;
    let mut locked = Vec::new();
    for owner in 0..63u8 {
        let mut reply = session.run(Ops::new().putfh(&handle).lock(stateid, &[owner], owner.into(), 1)).await;
        locked.push(reply.skip(&[Code::Putfh]).locked(Code::Lock));
    }
    let mut connection = Connection::new(fixture.address).await;
    for (slot, locked) in (1..).zip(locked) {
        let offset = u64::from(slot) - 1;
        let unlock = Ops::sequence(session.id, 1, slot, true).putfh(&handle).unlock(locked, offset, 1);
        let first = connection.run(unlock.clone()).await;
        assert_eq!(first.status, Status::Ok, "slot {slot}");
        assert_eq!(connection.run(unlock).await.bytes, first.bytes, "it is kept");
    }
    let close = Ops::sequence(session.id, 2, 1, true).putfh(&handle).close(stateid);
    let first = connection.run(close.clone()).await;
    assert_eq!(first.status, Status::Ok);
    assert_eq!(connection.run(close).await.bytes, first.bytes);
}
