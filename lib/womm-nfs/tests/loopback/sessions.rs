//! EXCHANGE_ID to DESTROY_CLIENTID, slots and replay.

use crate::Fixture;
use crate::client::{CHANNEL, Connection, Ops, Session};
use womm_nfs::operations::Code;
use womm_nfs::status::Status;
use womm_nfs::wire::{ClientId, SessionId, Stateid};

#[tokio::test]
async fn a_client_from_beginning_to_end() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    assert_eq!(session.status(Ops::new().reclaim_complete()).await, Status::CompleteAlready);
    let destroy = |client: ClientId| Ops::new().op(Code::DestroyClientId, |to| drop_ref(to.u64(client.0)));
    let client = session.client;
    assert_eq!(session.status(destroy(client)).await, Status::ClientIdBusy);
    let id = session.id;
    let end = Ops::new().op(Code::DestroySession, |to| id.encode(to));
    assert_eq!(session.status(end.clone().void(Code::Putrootfh)).await, Status::NotOnlyOperation);
    assert_eq!(session.connection.run(end.clone()).await.status, Status::Ok);
    assert_eq!(session.status(Ops::new()).await, Status::BadSession);
    assert_eq!(session.connection.run(end).await.status, Status::BadSession);
    assert_eq!(session.connection.run(destroy(client)).await.status, Status::Ok);
    assert_eq!(session.connection.run(destroy(client)).await.status, Status::StaleClientId);
}

fn drop_ref<T>(_: &mut T) {}

#[tokio::test]
async fn a_retry_gets_the_same_bytes_and_is_not_done_again() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let make =
        |slot, sequence, cache| Ops::sequence(session.id, sequence, slot, cache).at("export").mkdir(b"folder").getfh();
    let first = session.connection.run(make(1, 1, true)).await;
    assert_eq!(first.status, Status::Ok);
    let again = session.connection.run(make(1, 1, true)).await;
    assert_eq!(first.bytes, again.bytes);
    // It is also found over another connection.
    let mut other = Connection::new(fixture.address).await;
    assert_eq!(other.run(make(1, 1, true)).await.bytes, first.bytes);
    assert_eq!(session.connection.run(make(1, 3, true)).await.status, Status::Misordered);
    assert_eq!(session.connection.run(make(1, 0, true)).await.status, Status::Misordered);
    assert_eq!(session.connection.run(make(1, 2, true)).await.status, Status::Exists);
}

#[tokio::test]
async fn another_call_with_a_used_number_is_a_false_retry() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let id = session.id;
    let call = |name: &str| Ops::sequence(id, 1, 1, true).at("export").mkdir(name.as_bytes());
    assert_eq!(session.connection.run(call("one")).await.status, Status::Ok);
    assert_eq!(session.connection.run(call("two")).await.status, Status::FalseRetry);
    session.connection.user = 7;
    assert_eq!(session.connection.run(call("one")).await.status, Status::FalseRetry, "it is another user");
}

#[tokio::test]
async fn a_reply_that_was_not_to_be_kept_is_gone() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let call = Ops::sequence(session.id, 1, 1, false).at("export").mkdir(b"folder");
    assert_eq!(session.connection.run(call.clone()).await.status, Status::Ok);
    let mut again = session.connection.run(call).await;
    assert_eq!((again.status, again.count), (Status::RetryUncached, 2));
    again.ok(Code::Sequence);
}

#[tokio::test]
async fn positions() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let id = session.id;
    let sequence = Ops::sequence(id, 9, 3, false);
    assert_eq!(session.status(sequence.clone()).await, Status::SequencePosition);
    let connection = &mut session.connection;
    assert_eq!(connection.run(Ops::new().void(Code::Putrootfh)).await.status, Status::NotInSession);
    assert_eq!(connection.run(Ops::new()).await.status, Status::Ok);
    let two = Ops::exchange_id(b"b", [0; 8], 0).void(Code::Putrootfh);
    assert_eq!(connection.run(two).await.status, Status::NotOnlyOperation);
    connection.minor = 0;
    let old = connection.run(Ops::new().void(Code::Putrootfh)).await;
    assert_eq!((old.status, old.count), (Status::MinorVersionMismatch, 0));
    connection.minor = 1;
    let seek = Ops::sequence(id, 1, 4, false).op(Code::Seek, |_| ());
    assert_eq!(connection.run(seek).await.status, Status::IllegalOperation, "minor version 1 has none");
}

#[tokio::test]
async fn sizes_are_negotiated_and_kept_to() {
    let fixture = Fixture::new().await;
    let mut connection = Connection::new(fixture.address).await;
    let (client, sequence) = connection.introduce(b"a", 1).await;
    for channel in [[20, 8192, 0, 8, 8], [8192, 0, 0, 8, 8], [8192, 8192, 0, 1, 8], [8192, 8192, 0, 8, 0]] {
        let reply = connection.run(Ops::create_session(client, sequence, channel)).await;
        assert_eq!(reply.status, Status::TooSmall, "{channel:?}");
    }
    let mut reply = connection.run(Ops::create_session(client, sequence, [512, 400, 400, 9999, 9999])).await;
    let from = reply.ok(Code::CreateSession);
    let id = SessionId::decode(from).expect("a session");
    let words: Vec<u32> = (0..8).map(|_| from.u32().expect("a channel")).collect();
    assert_eq!(words[3..], [512, 400, 400, 128, 64]);
    let call = |slot, ops: Ops| Ops::sequence(id, 1, slot, false).then(ops);
    let long = call(0, Ops::new().void(Code::Putrootfh).lookup(&[b'x'; 500]));
    assert_eq!(connection.run(long).await.status, Status::RequestTooBig);
    let many = (0..200).fold(Ops::new(), |ops, _| ops.void(Code::Putrootfh));
    assert_eq!(connection.run(call(1, many)).await.status, Status::RequestTooBig);
    let all: Vec<u32> = (0..12).collect();
    let big = (0..6).fold(Ops::new().void(Code::Putrootfh), |ops, _| ops.getattr(&all));
    let mut reply = connection.run(call(2, big)).await;
    assert_eq!(reply.status, Status::ReplyTooBig);
    assert!(reply.bytes.len() + 24 <= 400);
    reply.ok(Code::Sequence);
    assert_eq!(connection.run(Ops::sequence(id, 1, 64, false)).await.status, Status::BadSlot);
}

#[tokio::test]
async fn a_reply_too_big_to_keep() {
    let fixture = Fixture::new().await;
    let mut connection = Connection::new(fixture.address).await;
    let (client, sequence) = connection.introduce(b"a", 1).await;
    let mut reply = connection.run(Ops::create_session(client, sequence, [8192, 8192, 200, 16, 8])).await;
    let id = SessionId::decode(reply.ok(Code::CreateSession)).expect("a session");
    let all: Vec<u32> = (0..12).collect();
    let call = |slot, cache| Ops::sequence(id, 1, slot, cache).void(Code::Putrootfh).getattr(&all).getattr(&all);
    assert_eq!(connection.run(call(0, true)).await.status, Status::ReplyTooBigToCache);
    assert_eq!(connection.run(call(1, false)).await.status, Status::Ok);
    // What changes something is refused before it is done.
    let make = Ops::sequence(id, 1, 2, true).at("export").mkdir(b"folder");
    assert_eq!(connection.run(make).await.status, Status::ReplyTooBigToCache);
    let look = Ops::sequence(id, 1, 3, false).at("export").lookup(b"folder");
    assert_eq!(connection.run(look).await.status, Status::NoEntry);
}

#[tokio::test]
async fn a_session_is_bound_to_the_connections_it_is_used_on() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let mut other = Connection::new(fixture.address).await;
    let id = session.id;
    let end = Ops::new().op(Code::DestroySession, |to| id.encode(to));
    assert_eq!(other.run(end.clone()).await.status, Status::ConnectionNotBound);
    let bind = |direction| {
        Ops::new().op(Code::BindConnToSession, |to| {
            id.encode(to);
            to.u32(direction).bool(false);
        })
    };
    assert_eq!(other.run(bind(9)).await.status, Status::Invalid);
    let mut reply = other.run(bind(7)).await;
    let from = reply.ok(Code::BindConnToSession);
    SessionId::decode(from).expect("the session");
    assert_eq!(from.u32(), Ok(3), "both ways");
    assert_eq!(other.run(end).await.status, Status::Ok);
    assert_eq!(session.status(Ops::new()).await, Status::BadSession);
}

#[tokio::test]
async fn create_session_is_done_once() {
    let fixture = Fixture::new().await;
    let mut connection = Connection::new(fixture.address).await;
    let (client, sequence) = connection.introduce(b"a", 1).await;
    let first = connection.run(Ops::create_session(client, sequence, CHANNEL)).await;
    let again = connection.run(Ops::create_session(client, sequence, CHANNEL)).await;
    assert_eq!(first.bytes, again.bytes);
    let late = connection.run(Ops::create_session(client, sequence + 2, CHANNEL)).await;
    assert_eq!(late.status, Status::Misordered);
    let unknown = connection.run(Ops::create_session(ClientId(7), 1, CHANNEL)).await;
    assert_eq!(unknown.status, Status::StaleClientId);
}

#[tokio::test]
async fn the_current_stateid_goes_with_the_current_file_handle() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let current = Stateid::CURRENT;
    let made = Ops::new().at("export").create(b"o", b"file", 3, 0);
    let ops = made.clone().write(current, 0, b"hello").read(current, 0, 9).close(current);
    assert_eq!(session.status(ops).await, Status::Ok);
    let ops = made.clone().at("export").lookup(b"file").close(current);
    let mut reply = session.run(ops).await;
    assert_eq!(reply.status, Status::BadStateid);
    let stateid = reply.skip(&[Code::Putrootfh, Code::Lookup]).opened();
    let ops = Ops::new().at("export/file").close(stateid);
    assert_eq!(session.status(ops).await, Status::Ok);
    let saved = made.void(Code::Savefh).void(Code::Putrootfh).void(Code::Restorefh).close(current);
    assert_eq!(session.status(saved).await, Status::Ok);
}
