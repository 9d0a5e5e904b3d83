//! The server is killed and comes back.

use crate::client::{BOTH, Connection, Ops, READ, Session};
use crate::{Fixture, LEASE};
use womm_nfs::operations::Code;
use womm_nfs::status::Status;
use womm_nfs::wire::Stateid;

#[tokio::test]
async fn opens_and_locks_are_taken_back() {
    let fixture = Fixture::new().await;
    let mut a = Session::new(fixture.address, "a").await;
    let (handle, stateid) = a.create("file").await;
    let at = || Ops::new().putfh(&handle);
    assert_eq!(a.status(at().lock(stateid, b"l", 0, 10)).await, Status::Ok);
    assert_eq!(a.status(at().write(stateid, 0, b"before").commit()).await, Status::Ok);
    let fixture = fixture.restart().await;
    a.connection = Connection::new(fixture.address).await;
    assert_eq!(a.status(Ops::new()).await, Status::BadSession);
    let mut stranger = Session::new(fixture.address, "stranger").await;
    let open = Ops::new().at("export").create(b"o", b"other", READ, 0);
    assert_eq!(stranger.status(open.clone()).await, Status::Grace);
    assert_eq!(stranger.status(at().read(Stateid::ANONYMOUS, 0, 1)).await, Status::Grace);
    assert_eq!(stranger.status(at().getattr(&[4])).await, Status::Ok, "to look is good");
    let mut a = Session::returned(fixture.address, "a").await;
    let mut reply = a.run(at().reclaim(b"owner", BOTH)).await;
    let again = reply.skip(&[Code::Putfh]).opened();
    assert_eq!(a.status(at().read(stateid, 0, 9)).await, Status::StaleStateid);
    assert_eq!(a.status(at().lock(again, b"l", 0, 10)).await, Status::Grace, "that is no reclaim");
    assert_eq!(a.status(at().reclaim_lock(again, b"l", 0, 10)).await, Status::Ok);
    let mut reply = a.run(at().read(again, 0, 9)).await;
    assert_eq!(reply.skip(&[Code::Putfh]).data().1, &b"before"[..]);
    assert_eq!(a.status(Ops::new().reclaim_complete()).await, Status::Ok);
    assert_eq!(stranger.status(open).await, Status::Ok, "all who had state are done");
    assert_eq!(a.status(at().reclaim(b"owner", BOTH)).await, Status::NoGrace);
    let (_, own) = stranger.create("file").await;
    assert_eq!(stranger.status(at().lock(own, b"l", 9, 1)).await, Status::Denied);
}

#[tokio::test]
async fn there_is_no_grace_if_nobody_had_state() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    session.run(Ops::new().at("export").mkdir(b"folder")).await;
    let fixture = fixture.restart().await;
    Session::new(fixture.address, "b").await.create("file").await;
}

#[tokio::test]
async fn the_grace_ends_without_those_who_stay_away_and_what_they_had_is_lost() {
    let fixture = Fixture::new().await;
    let (handle, _) = Session::new(fixture.address, "gone").await.create("file").await;
    let fixture = fixture.restart().await;
    let mut other = Session::new(fixture.address, "other").await;
    let open = Ops::new().at("export").create(b"o", b"file", BOTH, BOTH);
    assert_eq!(other.status(open.clone()).await, Status::Grace);
    fixture.advance(LEASE);
    assert_eq!(other.status(open).await, Status::Ok);
    // After another restart it may not take back what another had in between.
    let fixture = fixture.restart().await;
    let mut gone = Session::returned(fixture.address, "gone").await;
    assert_eq!(gone.status(Ops::new().putfh(&handle).reclaim(b"owner", BOTH)).await, Status::ReclaimBad);
}

#[tokio::test]
async fn a_restart_within_the_grace() {
    let fixture = Fixture::new().await;
    let mut a = Session::new(fixture.address, "a").await;
    let mut b = Session::new(fixture.address, "b").await;
    let ((in_a, _), (in_b, _)) = (a.create("a").await, b.create("b").await);
    let fixture = fixture.restart().await;
    let mut a = Session::returned(fixture.address, "a").await;
    assert_eq!(a.status(Ops::new().putfh(&in_a).reclaim(b"owner", BOTH).reclaim_complete()).await, Status::Ok);
    let fixture = fixture.restart().await;
    for (name, handle) in [("a", in_a), ("b", in_b)] {
        let mut session = Session::returned(fixture.address, name).await;
        let ops = Ops::new().putfh(&handle).reclaim(b"owner", BOTH).reclaim_complete();
        assert_eq!(session.status(ops).await, Status::Ok, "{name}");
    }
    Session::new(fixture.address, "c").await.create("c").await;
}

#[tokio::test]
async fn a_client_that_booted_meanwhile_is_not_waited_for() {
    let fixture = Fixture::new().await;
    Session::new(fixture.address, "a").await.create("file").await;
    let fixture = fixture.restart().await;
    let booted = Connection::new(fixture.address).await;
    let mut booted = Session::over(booted, "a", 2).await;
    assert_eq!(booted.status(Ops::new().reclaim_complete()).await, Status::Ok);
    booted.create("file").await;
}

#[tokio::test]
async fn an_unlinked_file_that_is_open_outlives_the_restart() {
    let fixture = Fixture::new().await;
    let mut a = Session::new(fixture.address, "a").await;
    let (handle, stateid) = a.create("file").await;
    let at = || Ops::new().putfh(&handle);
    a.run(at().write(stateid, 0, b"kept").commit().at("export").remove(b"file")).await;
    let fixture = fixture.restart().await;
    let mut a = Session::returned(fixture.address, "a").await;
    let mut reply = a.run(at().reclaim(b"owner", BOTH).read(Stateid::CURRENT, 0, 9)).await;
    reply.skip(&[Code::Putfh]).opened();
    assert_eq!(reply.data().1, &b"kept"[..]);
    assert_eq!(a.status(Ops::new().reclaim_complete()).await, Status::Ok);
    assert_eq!(a.status(at().getattr(&[4])).await, Status::Ok);
}

#[tokio::test]
async fn handles_do_not_go_stale() {
    let fixture = Fixture::new().await;
    let mut a = Session::new(fixture.address, "a").await;
    let (file, _) = a.create("file").await;
    let (root, export) = (a.handle("").await, a.handle("export").await);
    let fixture = fixture.restart().await;
    let mut a = Session::returned(fixture.address, "a").await;
    for handle in [root, export, file] {
        assert_eq!(a.status(Ops::new().putfh(&handle).getattr(&[1])).await, Status::Ok);
    }
}
