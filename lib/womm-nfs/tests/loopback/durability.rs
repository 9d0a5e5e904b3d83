//! What was written and may be lost is written again, by all who wrote it; what others write over is told.

use crate::Fixture;
use crate::client::{Ops, Session};
use bytes::Bytes;
use rustix::io::Errno;
use womm_nfs::operations::Code;
use womm_nfs::status::Status;
use womm_nfs::wire::Stateid;
use womm_vfs::Error;

const IO: Error = Error::Errno(Errno::IO);

/// A client that writes and commits one file.
struct Writer {
    session: Session,
    handle: Bytes,
    stateid: Stateid,
}

impl Writer {
    async fn new(fixture: &Fixture, client: &str, file: &str) -> Self {
        let mut session = Session::new(fixture.address, client).await;
        let (handle, stateid) = session.create(file).await;
        Self { session, handle, stateid }
    }

    /// The verifier.
    async fn write(&mut self, how: u32) -> Result<[u8; 8], Status> {
        let stateid = self.stateid;
        let ops = Ops::new().putfh(&self.handle).op(Code::Write, |to| {
            stateid.encode(to);
            to.u64(0).u32(how).opaque(b"data");
        });
        let mut reply = self.session.run(ops).await;
        if reply.status != Status::Ok {
            return Err(reply.status);
        }
        let from = reply.skip(&[Code::Putfh]).ok(Code::Write);
        assert_eq!((from.u32(), from.u32()), (Ok(4), Ok(how)));
        Ok(from.array().expect("a verifier"))
    }

    /// The verifier.
    async fn commit(&mut self) -> Result<[u8; 8], Status> {
        let mut reply = self.session.run(Ops::new().putfh(&self.handle).commit()).await;
        if reply.status != Status::Ok {
            return Err(reply.status);
        }
        Ok(reply.skip(&[Code::Putfh]).ok(Code::Commit).array().expect("a verifier"))
    }
}

#[tokio::test]
async fn an_error_that_one_client_got_is_told_to_the_others() {
    const UNSTABLE: u32 = 0;
    const FILE_SYNC: u32 = 2;
    let fixture = Fixture::new().await;
    let mut a = Writer::new(&fixture, "a", "file").await;
    let mut b = Writer::new(&fixture, "b", "file").await;
    let mut elsewhere = Writer::new(&fixture, "c", "other").await;
    let (in_a, in_b) = (a.write(UNSTABLE).await, b.write(UNSTABLE).await);
    let other = elsewhere.write(UNSTABLE).await;
    assert!(in_a.is_ok() && in_a == in_b);
    assert_eq!(b.commit().await, in_b, "nothing is lost");
    b.write(UNSTABLE).await.expect("it is written");
    fixture.export().vfs.lose(1, IO);
    assert_eq!(a.commit().await, Err(Status::Io));
    let after = b.commit().await;
    assert!(after.is_ok() && after != in_b, "what b wrote before may be lost");
    assert_eq!((b.write(UNSTABLE).await, b.commit().await), (after, after), "written again, it is there");
    fixture.export().vfs.lose(1, IO);
    assert_eq!(a.write(FILE_SYNC).await, Err(Status::Io));
    let last = b.commit().await;
    assert!(last.is_ok() && last != after && last != in_b);
    assert_eq!(elsewhere.commit().await, other, "no other file is concerned");
    // An export that can't be reached says nothing of what is lost.
    fixture.export().vfs.refuse(1, Error::Away);
    assert_eq!(a.commit().await, Err(Status::Delay));
    assert_eq!(b.commit().await, last);
}

#[tokio::test]
async fn who_writes_over_what_another_appended_is_told_of() {
    const SIZE: u32 = 4;
    let fixture = Fixture::new().await;
    let told = || fixture.server.appends().told();
    let mut a = Writer::new(&fixture, "a", "file").await;
    let mut b = Writer::new(&fixture, "b", "file").await;
    // As a Linux client does: it asks for the size when it opens, and with each write.
    let append = |writer: &Writer, offset: u64| {
        Ops::new().putfh(&writer.handle).write(writer.stateid, offset, b"line\n").getattr(&[SIZE])
    };
    for writer in [&mut a, &mut b] {
        let ops = Ops::new().putfh(&writer.handle).getattr(&[SIZE]);
        assert_eq!(writer.session.status(ops).await, Status::Ok);
    }
    for offset in [0, 5, 10] {
        let ops = append(&a, offset);
        assert_eq!(a.session.status(ops).await, Status::Ok);
    }
    assert_eq!(told(), 0, "one that appends");
    for offset in [0, 5] {
        let ops = append(&b, offset);
        assert_eq!(b.session.status(ops).await, Status::Ok);
        assert_eq!(told(), 1, "b did not know of a's lines");
    }
    // Who asks for the end before each, as with a lock, loses nothing.
    let mut c = Writer::new(&fixture, "c", "turns").await;
    let mut d = Writer::new(&fixture, "d", "turns").await;
    for turn in 0..4 {
        let writer = if turn % 2 == 0 { &mut c } else { &mut d };
        let mut reply = writer.session.run(Ops::new().putfh(&writer.handle).getattr(&[SIZE])).await;
        let size = reply.skip(&[Code::Putfh]).values().u64().expect("a size");
        let ops = append(writer, size);
        assert_eq!(writer.session.status(ops).await, Status::Ok);
    }
    assert_eq!(told(), 1);
}
