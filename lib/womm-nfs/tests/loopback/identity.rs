//! Who is who.

use crate::Fixture;
use crate::client::{Connection, Ops, Session};
use womm_nfs::exports::Terms;
use womm_nfs::operations::Code;
use womm_nfs::status::Status;
use womm_vfs::memory::MemoryVfs;

#[tokio::test]
async fn a_name_at_two_addresses_is_two_clients() {
    let fixture = Fixture::new().await;
    let mut node = Session::new(fixture.address, "node").await;
    let (handle, stateid) = node.create("file").await;
    // A pod elsewhere says that it is the node, just booted.
    let pod = Connection::from_address(fixture.address, [127, 0, 0, 2]).await;
    let mut pod = Session::over(pod, "node", 2).await;
    pod.run(Ops::new().reclaim_complete()).await;
    assert_ne!(pod.client, node.client);
    assert_eq!(node.status(Ops::new().putfh(&handle).read(stateid, 0, 1)).await, Status::Ok, "nothing is lost");
    // The node itself boots.
    let booted = Connection::new(fixture.address).await;
    let booted = Session::over(booted, "node", 3).await;
    assert_ne!(booted.client, node.client);
    assert_eq!(node.status(Ops::new()).await, Status::BadSession);
    assert_eq!(pod.status(Ops::new()).await, Status::Ok);
}

async fn identity(fixture: &Fixture) -> (u64, Vec<u8>, Vec<u8>) {
    let mut connection = Connection::new(fixture.address).await;
    let mut reply = connection.run(Ops::exchange_id(b"a", [1; 8], 0)).await;
    let from = reply.ok(Code::ExchangeId);
    let client = from.u64().expect("an id");
    from.fixed_opaque(12 + 8).expect("sequence, flags, protection, minor id");
    let major = from.opaque(1024).expect("a major id").to_vec();
    (client, major, from.opaque(1024).expect("a scope").to_vec())
}

#[tokio::test]
async fn a_server_is_itself_after_a_restart_and_no_other() {
    let fixture = Fixture::new().await;
    let before = identity(&fixture).await;
    let fixture = fixture.restart().await;
    let after = identity(&fixture).await;
    assert_eq!((&before.1, &before.2), (&after.1, &after.2));
    assert_ne!(before.0 >> 32, after.0 >> 32, "client ids are of one boot");
    let other = identity(&Fixture::new().await).await;
    assert!(other.1 != after.1 && other.2 != after.2);
}

#[tokio::test]
async fn flags_of_exchange_id() {
    let fixture = Fixture::new().await;
    let mut connection = Connection::new(fixture.address).await;
    for (flags, status) in [
        (0, Status::Ok),
        (0x7_0103, Status::Ok),
        (0x4, Status::Invalid),
        (0x8000_0000, Status::Invalid),
        (0x4000_0000, Status::NoEntry),
    ] {
        let name = flags.to_string();
        let reply = connection.run(Ops::exchange_id(name.as_bytes(), [1; 8], flags)).await;
        assert_eq!(reply.status, status, "{flags:#x}");
    }
    let protected = Ops::new().op(Code::ExchangeId, |to| {
        to.u64(1).opaque(b"x").u32(0).u32(1);
    });
    assert_eq!(connection.run(protected).await.status, Status::Invalid, "SP4_MACH_CRED wants GSS");
}

#[tokio::test]
async fn exports_are_told_apart() {
    const FSID: u32 = 8;
    let fixture = Fixture::new().await;
    let other = MemoryVfs::new(fixture.clock.clone());
    fixture.server.export("/other", other, Terms::default()).expect("it is good");
    let mut session = Session::new(fixture.address, "a").await;
    let mut seen = Vec::new();
    for path in ["", "export", "other"] {
        let mut reply = session.run(Ops::new().at(path).getattr(&[FSID])).await;
        reply.ok(Code::Putrootfh);
        if !path.is_empty() {
            reply.ok(Code::Lookup);
        }
        let mut values = reply.values();
        seen.push((values.u64().expect("major"), values.u64().expect("minor")));
    }
    assert!(seen[0] != seen[1] && seen[0] != seen[2] && seen[1] != seen[2], "{seen:?}");
    // One node's handle leads nowhere else, though both have a root of the same number.
    let handles = (session.handle("export").await, session.handle("other").await);
    assert_ne!(handles.0, handles.1);
}

#[tokio::test]
async fn handles_of_numbers_that_began_anew_are_stale() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let (file, _) = session.create("file").await;
    let (root, export) = (session.handle("").await, session.handle("export").await);
    let fresh = MemoryVfs::new(fixture.clock.clone());
    let fixture = fixture.restart_with(fresh).await;
    let mut session = Session::returned(fixture.address, "a").await;
    assert_eq!(session.status(Ops::new().reclaim_complete()).await, Status::Ok);
    session.create("other, of the same number").await;
    for handle in [&file, &export] {
        assert_eq!(session.status(Ops::new().putfh(handle).getattr(&[1])).await, Status::Stale);
    }
    assert_eq!(session.status(Ops::new().putfh(&root).getattr(&[1])).await, Status::Ok);
}
