//! Many clients, of which some misbehave: the others do not notice.

use crate::client::{CHANNEL, Connection, Ops, Session};
use crate::{DEADLINE, Fixture};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use womm_nfs::rpc::record::mark;
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

/// Other clients are served while this one does what it does; the number of their calls.
async fn others_are_served(fixture: &Fixture) -> u64 {
    const CLIENTS: u64 = 20;
    for i in 0..CLIENTS {
        let work = async {
            let mut session = Session::new(fixture.address, &format!("other {i}")).await;
            let (handle, stateid) = session.create(&format!("other {i}")).await;
            let ops = Ops::new().putfh(&handle).write(stateid, 0, &[1; 100_000]).read(stateid, 0, 100_000);
            assert_eq!(session.status(ops).await, Status::Ok);
        };
        tokio::time::timeout(DEADLINE, work).await.expect("in time");
    }
    CLIENTS * 5
}

/// What somebody does without end, and how often he got it done.
struct Offence {
    done: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Offence {
    /// At the same time in several places; each says when something is done.
    fn begin<F: Future<Output = ()> + Send + 'static>(
        places: usize,
        offend: impl Fn(usize, Arc<AtomicU64>) -> F,
    ) -> Self {
        let (done, mut tasks) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
        for place in 0..places {
            tasks.spawn(offend(place, done.clone()));
        }
        Self { done, tasks }
    }

    /// Others are served while it goes on: whatever the machine's speed, it gets no more done for each call of theirs than this.
    async fn goes_on_beside_others(mut self, fixture: &Fixture, most_for_a_call: u64) {
        let begun = async {
            while self.done.load(Ordering::Relaxed) < 10 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(DEADLINE, begun).await.expect("it can begin");
        let before = self.done.load(Ordering::Relaxed);
        let calls = others_are_served(fixture).await;
        let done = self.done.load(Ordering::Relaxed) - before;
        assert!(self.tasks.try_join_next().is_none(), "it goes on");
        assert!(done > 0, "it went on meanwhile");
        assert!(done <= calls * most_for_a_call, "{done} beside {calls} calls of others");
        self.tasks.shutdown().await;
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
    // It was stuck all the while: what it asked for is still to be had.
    let (_, reply) = connections[0].receive().await;
    assert!(matches!(reply.status, Status::Ok | Status::Delay), "{:?}", reply.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_floods() {
    let fixture = Fixture::with_memory(64 << 20).await;
    let mut session = Session::new(fixture.address, "flood").await;
    let (handle, stateid) = session.create("file").await;
    let (address, id) = (fixture.address, session.id);
    let flood = Offence::begin(1, move |_, done| {
        let handle = handle.clone();
        async move {
            let mut connection = Connection::new(address).await;
            let data = vec![1; 1 << 20];
            for sequence in 0.. {
                // Whether it is in order does not matter to a flood; nor do the replies.
                let ops = Ops::sequence(id, sequence, 1 + sequence % 60, false).putfh(&handle).write(stateid, 0, &data);
                connection.send(ops).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    flood.goes_on_beside_others(&fixture, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_asks_for_nothing_as_fast_as_it_can() {
    const AT_ONCE: u32 = 60;
    let fixture = Fixture::with_memory(64 << 20).await;
    let address = fixture.address;
    let flood = Offence::begin(4, move |place, done| async move {
        let session = Session::new(address, &format!("flood {place}")).await;
        let mut connection = session.connection;
        for sequence in 1.. {
            for slot in 1..=AT_ONCE {
                connection.send(Ops::sequence(session.id, sequence, slot, true)).await;
            }
            for _ in 1..=AT_ONCE {
                assert_eq!(connection.receive().await.1.status, Status::Ok);
            }
            done.fetch_add(AT_ONCE.into(), Ordering::Relaxed);
        }
    });
    flood.goes_on_beside_others(&fixture, 5000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_sends_garbage_as_fast_as_it_can() {
    let fixture = Fixture::with_memory(64 << 20).await;
    let address = fixture.address;
    let flood = Offence::begin(4, move |place, done| async move {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(place as u64 + 1);
        loop {
            let mut connection = Connection::new(address).await;
            // A message of noise, then a call of noise, until the connection is ended.
            let mut noise = [0; 1000];
            for byte in &mut noise {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *byte = (random >> 56) as u8;
            }
            let header = [9u32, 0, 2, 100_003, 4, 1, 0, 0, 0, 0].map(u32::to_be_bytes).concat();
            let call = [&header[..], &noise].concat();
            let bytes = [&mark(call.len())[..], &call, &noise].concat();
            let _it_may_be_ended = connection.stream.write_all(&bytes).await;
            while connection.receive_raw().await.is_some() {}
            done.fetch_add(1, Ordering::Relaxed);
        }
    });
    flood.goes_on_beside_others(&fixture, 1000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_somebody_else_each_time() {
    let fixture = Fixture::with_memory(16 << 20).await;
    let address = fixture.address;
    let flood = Offence::begin(4, move |place, done| async move {
        let mut connection = Connection::from_address(address, [127, 0, 0, 2]).await;
        for number in 0u64.. {
            let name = format!("{place} {number}");
            let (client, sequence) = connection.introduce(name.as_bytes(), 1).await;
            // Others of these may have taken its place already.
            let status = connection.run(Ops::create_session(client, sequence, CHANNEL)).await.status;
            assert!(matches!(status, Status::Ok | Status::StaleClientId | Status::Delay), "{status:?}");
            done.fetch_add(1, Ordering::Relaxed);
        }
    });
    // Who lives elsewhere does not notice.
    let mut session = Session::new(address, "one who was there before").await;
    let (handle, stateid) = session.create("file").await;
    flood.goes_on_beside_others(&fixture, 1000).await;
    let ops = Ops::new().putfh(&handle).write(stateid, 0, b"still there").close(stateid);
    assert_eq!(session.status(ops).await, Status::Ok);
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
