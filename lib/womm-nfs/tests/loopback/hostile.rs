//! Clients that mean harm, or are broken.

use crate::client::{Connection, Ops, Session};
use crate::{DEADLINE, Fixture};
use womm_nfs::operations::Code;
use womm_nfs::status::Status;
use womm_nfs::wire::{SessionId, Stateid};
use womm_nfs::xdr::Encoder;

#[tokio::test]
async fn forged_handles() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let handle = session.handle("export").await;
    for byte in 0..handle.len() {
        let mut forged = handle.to_vec();
        forged[byte] ^= 1;
        assert_eq!(session.status(Ops::new().putfh(&forged)).await, Status::BadHandle, "byte {byte}");
    }
    for length in [0, 1, 35, 37, 128] {
        assert_eq!(session.status(Ops::new().putfh(&vec![1; length])).await, Status::BadHandle, "{length} bytes");
    }
    assert_eq!(session.status(Ops::new().putfh(&[1; 129])).await, Status::BadXdr);
    // Another server's are not ours, though it exports the same.
    let other = Fixture::new().await;
    let mut there = Session::new(other.address, "a").await;
    assert_eq!(there.status(Ops::new().putfh(&handle)).await, Status::BadHandle);
}

#[tokio::test]
async fn state_of_others() {
    let fixture = Fixture::new().await;
    let (mut a, mut b) = (Session::new(fixture.address, "a").await, Session::new(fixture.address, "b").await);
    let (handle, stateid) = a.create("file").await;
    let at = || Ops::new().putfh(&handle);
    assert_eq!(b.status(at().read(stateid, 0, 1)).await, Status::BadStateid);
    assert_eq!(b.status(at().close(stateid)).await, Status::BadStateid);
    assert_eq!(b.status(at().lock(stateid, b"l", 0, 1)).await, Status::BadStateid);
    let guessed = Ops::sequence(SessionId([7; 16]), 1, 0, false);
    assert_eq!(b.connection.run(guessed).await.status, Status::BadSession);
    assert_eq!(a.status(at().close(stateid)).await, Status::Ok);
}

#[tokio::test]
async fn ten_thousand_operations() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let many = (0..10_000).fold(Ops::new(), |ops, _| ops.void(Code::Putrootfh));
    assert_eq!(session.status(many.clone()).await, Status::TooManyOperations);
    session.sequence -= 1; // what is refused uses up no number
    assert_eq!(session.connection.run(many).await.status, Status::NotInSession);
    assert_eq!(session.status(Ops::new()).await, Status::Ok);
}

#[tokio::test]
async fn lengths_that_lie() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let lies: [(Code, &[u32]); 9] = [
        (Code::Lookup, &[u32::MAX]),
        (Code::Getattr, &[u32::MAX]),
        (Code::Write, &[0, 0, 0, 0, 0, 0, 0, 0x7fff_ffff]),
        (Code::Setattr, &[0, 0, 0, 0, 1, 16, 0xffff_fff0]),
        (Code::TestStateid, &[0xffff_ffff]),
        (Code::Open, &[0, 3, 0, 0, 0, 0xffff_ffff]),
        (Code::Create, &[5, 0xffff_ffff]),
        (Code::Rename, &[1]),
        (Code::Verify, &[0x1000_0000]),
    ];
    for (code, words) in lies {
        let ops = Ops::new().at("export").void(Code::Savefh).op(code, |to| {
            for word in words {
                to.u32(*word);
            }
        });
        assert_eq!(session.status(ops).await, Status::BadXdr, "{code:?}");
    }
    // More operations are announced than come.
    let mut call = Encoder::new();
    call.u32(1).u32(0).u32(2).u32(100_003).u32(4).u32(1).u32(0).u32(0).u32(0).u32(0);
    call.u32(0).u32(1).u32(0xffff_ffff);
    session.connection.send_raw(&call.into_bytes()).await;
    let reply = session.connection.receive_raw().await.expect("a reply");
    assert_eq!(reply[20..24], [0, 0, 0, 4], "GARBAGE_ARGS");
    assert_eq!(session.status(Ops::new()).await, Status::Ok);
}

#[tokio::test]
async fn garbage_ends_the_connection_and_nothing_else() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let mut random = 1u64;
    for round in 0..50 {
        let mut connection = Connection::new(fixture.address).await;
        let garbage: Vec<u8> = (0..round * 40)
            .map(|_| {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
                (random >> 33) as u8
            })
            .collect();
        use tokio::io::AsyncWriteExt;
        let _ = connection.stream.write_all(&garbage).await;
        let _ = connection.stream.shutdown().await;
        let ended = tokio::time::timeout(DEADLINE, async { while connection.receive_raw().await.is_some() {} });
        ended.await.expect("the connection ends");
        assert_eq!(session.status(Ops::new()).await, Status::Ok);
    }
}

#[tokio::test]
async fn a_cycle_of_renames() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    session.run(Ops::new().at("export").mkdir(b"a").at("export/a").mkdir(b"b").at("export/a/b").mkdir(b"c")).await;
    for (folder, name) in [("export/a", "a"), ("export/a/b", "a"), ("export/a/b/c", "a")] {
        let ops = Ops::new().at("export").void(Code::Savefh).at(folder).rename(name.as_bytes(), b"x");
        assert_eq!(session.status(ops).await, Status::Invalid, "{folder}");
    }
    // Two clients at once, each into the other's: never both.
    session.run(Ops::new().at("export").mkdir(b"p").at("export").mkdir(b"q")).await;
    let mut other = Session::new(fixture.address, "b").await;
    let into = |what: &'static str, folder: &'static str| {
        Ops::new().at("export").void(Code::Savefh).lookup(folder.as_bytes()).rename(what.as_bytes(), what.as_bytes())
    };
    let both = tokio::join!(session.status(into("p", "q")), other.status(into("q", "p")));
    assert_eq!([both.0, both.1].iter().filter(|status| **status == Status::Ok).count(), 1, "{both:?}");
}

#[tokio::test]
async fn credentials_that_we_do_not_take() {
    let fixture = Fixture::new().await;
    let mut connection = Connection::new(fixture.address).await;
    for (flavor, body, why) in [(6u32, &b"gss!"[..], 5u32), (1, b"\0\0\0\0", 1)] {
        let mut call = Encoder::new();
        call.u32(9).u32(0).u32(2).u32(100_003).u32(4).u32(0).u32(flavor).opaque(body).u32(0).u32(0);
        connection.send_raw(&call.into_bytes()).await;
        let reply = connection.receive_raw().await.expect("a reply");
        let words: Vec<u32> = reply.chunks(4).map(|word| u32::from_be_bytes(word.try_into().expect("four"))).collect();
        assert_eq!(words, [9, 1, 1, 1, why]);
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_connection() {
    let fixture = Fixture::new().await;
    let mut connection = Connection::new(fixture.address).await;
    use tokio::io::AsyncWriteExt;
    connection.stream.write_all(&[0xff, 0xff, 0xff, 0xff]).await.expect("it takes it");
    let ended = tokio::time::timeout(DEADLINE, connection.receive_raw()).await.expect("in time");
    assert!(ended.is_none());
}

#[tokio::test]
async fn nobody_reads_with_a_stateid_of_nothing() {
    let fixture = Fixture::new().await;
    let mut session = Session::new(fixture.address, "a").await;
    let (handle, _) = session.create("file").await;
    for stateid in [
        Stateid::INVALID,
        Stateid::CURRENT,
        Stateid { seqid: 5, other: [0; 12] },
        Stateid { seqid: 0, other: [0xff; 12] },
        Stateid { seqid: 0, other: [9; 12] },
    ] {
        let status = session.status(Ops::new().putfh(&handle).read(stateid, 0, 1)).await;
        assert!(matches!(status, Status::BadStateid | Status::StaleStateid), "{stateid:?}: {status:?}");
    }
}
