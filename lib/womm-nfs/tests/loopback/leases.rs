//! Leases that run out.

use crate::client::{BOTH, Ops, READ, Session, WRITE};
use crate::{Fixture, LEASE};
use std::time::Duration;
use womm_nfs::operations::Code;
use womm_nfs::status::Status;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn what_nobody_wants_is_kept() {
    let fixture = Fixture::new().await;
    let mut silent = Session::new(fixture.address, "silent").await;
    let (handle, stateid) = silent.create("file").await;
    assert_eq!(silent.status(Ops::new().putfh(&handle).lock(stateid, b"l", 0, 10)).await, Status::Ok);
    fixture.advance(LEASE * 5);
    let mut other = Session::new(fixture.address, "other").await;
    other.create("elsewhere").await;
    let ops = Ops::new().putfh(&handle).write(stateid, 0, b"late").close(stateid);
    assert_eq!(silent.status(ops).await, Status::Ok);
}

#[tokio::test]
async fn what_another_wants_is_lost() {
    let fixture = Fixture::new().await;
    let mut silent = Session::new(fixture.address, "silent").await;
    let (handle, stateid) = silent.create("file").await;
    assert_eq!(silent.status(Ops::new().putfh(&handle).lock(stateid, b"l", 0, 10)).await, Status::Ok);
    let mut other = Session::new(fixture.address, "other").await;
    let (_, own) = other.create("file").await;
    let lock = Ops::new().putfh(&handle).lock(own, b"l", 5, 1);
    fixture.advance(LEASE);
    assert_eq!(other.status(Ops::new()).await, Status::Ok);
    assert_eq!(other.status(lock.clone()).await, Status::Denied, "not yet");
    fixture.advance(SECOND);
    assert_eq!(other.status(lock).await, Status::Ok);
    assert_eq!(silent.status(Ops::new()).await, Status::BadSession);
    let mut back = Session::new(fixture.address, "silent").await;
    let ops = Ops::new().putfh(&handle).read(stateid, 0, 1);
    assert_eq!(back.status(ops).await, Status::BadStateid);
}

#[tokio::test]
async fn a_share_reservation_gives_way_after_the_lease() {
    let fixture = Fixture::new().await;
    let mut silent = Session::new(fixture.address, "silent").await;
    let open = |access, deny| Ops::new().at("export").create(b"o", b"file", access, deny);
    assert_eq!(silent.status(open(READ, WRITE)).await, Status::Ok);
    let mut other = Session::new(fixture.address, "other").await;
    assert_eq!(other.status(open(BOTH, 0)).await, Status::ShareDenied);
    fixture.advance(LEASE + SECOND);
    assert_eq!(other.status(open(BOTH, 0)).await, Status::Ok);
    assert_eq!(silent.status(Ops::new()).await, Status::BadSession);
}

#[tokio::test]
async fn every_call_renews() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let mut other = Session::new(fixture.address, "b").await;
    let open = Ops::new().at("export").create(b"o", b"file", READ, BOTH);
    assert_eq!(session.status(open.clone()).await, Status::Ok);
    for _ in 0..5 {
        fixture.advance(LEASE - SECOND);
        assert_eq!(session.status(Ops::new()).await, Status::Ok);
    }
    assert_eq!(other.status(open).await, Status::ShareDenied);
}

#[tokio::test]
async fn who_is_revoked_may_not_reclaim_after_a_restart() {
    let fixture = Fixture::new().await;
    let mut silent = Session::new(fixture.address, "silent").await;
    let open = Ops::new().at("export").create(b"o", b"file", READ, WRITE).getfh();
    let mut reply = silent.run(open).await;
    reply.skip(&[Code::Putrootfh, Code::Lookup]).opened();
    let handle = reply.handle();
    fixture.advance(LEASE + SECOND);
    let mut other = Session::new(fixture.address, "other").await;
    other.create("file").await;
    let fixture = fixture.restart().await;
    let mut back = Session::returned(fixture.address, "silent").await;
    let status = back.status(Ops::new().putfh(&handle).reclaim(b"o", READ)).await;
    assert!(matches!(status, Status::ReclaimBad | Status::NoGrace), "{status:?}");
    let mut other = Session::returned(fixture.address, "other").await;
    assert_eq!(other.status(Ops::new().putfh(&handle).reclaim(b"owner", BOTH)).await, Status::Ok);
}
