//! Many clients, of which some misbehave: the others do not notice.

use crate::client::{Connection, Ops, Session};
use crate::{DEADLINE, Fixture};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use womm_nfs::status::Status;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_sessions() {
    let fixture = Fixture::new().await;
    let mut tasks = JoinSet::new();
    for i in 0..200 {
        let address = fixture.address;
        tasks.spawn(async move {
            let mut session = Session::new(address, &format!("client {i}")).await;
            let (handle, stateid) = session.create(&format!("file {i}")).await;
            for round in 0..20u64 {
                let data = [i as u8; 1000];
                let ops = Ops::new().putfh(&handle).write(stateid, round * 1000, &data).read(stateid, 0, 1000).commit();
                assert_eq!(session.status(ops).await, Status::Ok);
            }
            assert_eq!(session.status(Ops::new().putfh(&handle).close(stateid)).await, Status::Ok);
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("it does what it should");
    }
}

/// Other clients are served while this one does what it does.
async fn others_are_served(fixture: &Fixture) {
    for i in 0..20 {
        let work = async {
            let mut session = Session::new(fixture.address, &format!("other {i}")).await;
            let (handle, stateid) = session.create(&format!("other {i}")).await;
            let ops = Ops::new().putfh(&handle).write(stateid, 0, &[1; 100_000]).read(stateid, 0, 100_000);
            assert_eq!(session.status(ops).await, Status::Ok);
        };
        tokio::time::timeout(DEADLINE, work).await.expect("in time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stops_reading() {
    let fixture = Fixture::with_memory(64 << 20).await;
    let mut session = Session::new(fixture.address, "stuck").await;
    let (handle, stateid) = session.create("file").await;
    assert_eq!(session.status(Ops::new().putfh(&handle).write(stateid, 0, &vec![1; 1 << 20])).await, Status::Ok);
    // As many calls as its session lets it have, over several connections; none of the replies is taken.
    let mut connections = Vec::new();
    for slot in 1..64 {
        let mut connection = Connection::new(fixture.address).await;
        let ops = Ops::sequence(session.id, 1, slot, false).putfh(&handle).read(stateid, 0, 1 << 20);
        connection.send(ops).await;
        connections.push(connection);
    }
    others_are_served(&fixture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_floods() {
    let fixture = Fixture::with_memory(64 << 20).await;
    let mut session = Session::new(fixture.address, "flood").await;
    let (handle, stateid) = session.create("file").await;
    let connection = Connection::new(fixture.address).await;
    let id = session.id;
    let flood = tokio::spawn(async move {
        let mut connection = connection;
        let data = vec![1; 1 << 20];
        for sequence in 0.. {
            // Whether it is in order does not matter to a flood; nor do the replies.
            let ops = Ops::sequence(id, sequence, 1 + sequence % 60, false).putfh(&handle).write(stateid, 0, &data);
            connection.send(ops).await;
        }
    });
    others_are_served(&fixture).await;
    flood.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_that_begin_a_message_and_stop() {
    let fixture = Fixture::with_memory(64 << 20).await;
    let mut connections = Vec::new();
    for _ in 0..500 {
        let mut connection = Connection::new(fixture.address).await;
        connection.stream.write_all(&[0x80, 0x0f, 0, 0, 1]).await.expect("it takes it");
        connections.push(connection);
    }
    others_are_served(&fixture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_take_all_memory_and_stop() {
    let fixture = Fixture::with_memory(32 << 20).await;
    let mut connections = Vec::new();
    for _ in 0..40 {
        let mut connection = Connection::new(fixture.address).await;
        // Nearly all of a message: the last ones are not read any more.
        let begun = [&[0x80, 0x0f, 0xff, 0xff], &vec![0; 0xf_0000][..]].concat();
        connections.push(tokio::spawn(async move {
            let _ = connection.stream.write_all(&begun).await;
            std::future::pending::<()>().await;
        }));
    }
    others_are_served(&fixture).await;
    connections.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_is_done_though_the_connection_ends() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let ops = Ops::sequence(session.id, 1, 5, true).at("export").mkdir(b"folder");
    let mut connection = Connection::new(fixture.address).await;
    connection.send(ops.clone()).await;
    connection.stream.shutdown().await.expect("it was open");
    drop(connection);
    let reply = loop {
        let reply = session.connection.run(ops.clone()).await;
        // The first may not have come, be on its way, or be done.
        if reply.status != Status::Delay {
            break reply;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(reply.status, Status::Ok, "once, whichever of them did it");
}
