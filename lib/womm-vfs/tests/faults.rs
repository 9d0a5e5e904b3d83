//! What tests of a server make the memory backend do.

#![allow(clippy::unwrap_used, reason = "it is a test")]

use rustix::io::Errno;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use womm_vfs::clock::ManualClock;
use womm_vfs::context::OperationId;
use womm_vfs::memory::MemoryVfs;
use womm_vfs::vfs::{Create, New, Stable};
use womm_vfs::{Context, Error, Event, Name, NodeId, SetAttributes, Vfs};

fn vfs() -> (MemoryVfs, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)));
    (MemoryVfs::with_room(clock.clone(), 8192), clock)
}

fn cx(within: Duration) -> Context {
    Context::new(OperationId { client: 1, number: 1 }, within)
}

async fn file(vfs: &MemoryVfs) -> NodeId {
    let new = New::File { mode: Create::Guarded, set: SetAttributes::default() };
    let made = vfs.create(&cx(Duration::from_secs(9)), vfs.root(), &Name::new("file").unwrap(), &new).await;
    made.unwrap().attributes.id
}

#[tokio::test]
async fn while_it_is_away_only_the_root_answers() {
    let (vfs, _) = vfs();
    let file = file(&vfs).await;
    let mut events = vfs.events();
    vfs.away();
    vfs.away();
    let began = Instant::now();
    let answers = vfs.getattr(&cx(Duration::from_millis(20)), &[vfs.root(), file]).await;
    assert!(began.elapsed() >= Duration::from_millis(20));
    assert!(answers[0].is_ok());
    assert_eq!(answers[1], Err(Error::Away));
    assert_eq!(vfs.open(&cx(Duration::ZERO), file).await, Err(Error::Away));
    assert_eq!(vfs.reopen(file), Ok(()));
    vfs.close(file);
    let cancelled = cx(Duration::from_secs(60));
    cancelled.cancelled.cancel();
    assert_eq!(vfs.open(&cancelled, file).await, Err(Error::Again));
    let patient = cx(Duration::from_secs(60));
    let (answer, ()) = tokio::join!(vfs.open(&patient, file), async { vfs.back() });
    assert_eq!(answer, Ok(()));
    assert_eq!(vfs.opens(file), 1);
    assert_eq!(events.recv().await, Ok(Event::Away));
    assert_eq!(events.recv().await, Ok(Event::Back));
    vfs.invalidate(vec![file]);
    assert_eq!(events.recv().await, Ok(Event::Invalid(vec![file])));
}

#[tokio::test]
async fn ordered_refusals_come_and_nothing_is_done() {
    let (vfs, _) = vfs();
    let file = file(&vfs).await;
    vfs.refuse(2, Error::Again);
    vfs.refuse(1, Error::Errno(Errno::IO));
    let cx = cx(Duration::from_secs(9));
    for error in [Error::Again, Error::Again, Error::Errno(Errno::IO)] {
        assert_eq!(vfs.open(&cx, file).await, Err(error));
    }
    assert_eq!(vfs.opens(file), 0);
    assert_eq!(vfs.open(&cx, file).await, Ok(()));
}

#[tokio::test]
async fn a_disk_that_loses_what_was_written_says_so_once() {
    let (vfs, _) = vfs();
    let file = file(&vfs).await;
    let cx = cx(Duration::from_secs(9));
    let lost = Error::Errno(Errno::IO);
    vfs.lose(2, lost);
    assert!(vfs.write(&cx, file, 0, vec![1].into(), Stable::Unstable).await.is_ok());
    assert_eq!(vfs.commit(&cx, file).await, Err(lost));
    assert_eq!(vfs.write(&cx, file, 0, vec![1].into(), Stable::Data).await, Err(lost));
    assert_eq!(vfs.commit(&cx, file).await, Ok(()));
}

#[tokio::test]
async fn a_full_one_says_so_and_keeps_what_it_has() {
    let (vfs, _) = vfs();
    let file = file(&vfs).await;
    let cx = cx(Duration::from_secs(9));
    vfs.write(&cx, file, 0, vec![1; 8192].into(), Stable::Unstable).await.unwrap();
    assert_eq!(vfs.statfs().bytes_free, 0);
    let more = vfs.write(&cx, file, 8192, vec![1].into(), Stable::Unstable).await;
    assert_eq!(more, Err(Error::Errno(Errno::NOSPC)));
    assert!(vfs.write(&cx, file, 100, vec![2; 100].into(), Stable::Unstable).await.is_ok());
    assert_eq!(vfs.getattr(&cx, &[file]).await[0].as_ref().unwrap().size, 8192);
    let name = Name::new("file").unwrap();
    vfs.remove(&cx, vfs.root(), &name).await.unwrap();
    assert_eq!(vfs.statfs().bytes_free, 8192);
    assert_eq!(vfs.count(), 1);
}

#[tokio::test]
async fn times_are_the_clocks() {
    let (vfs, clock) = vfs();
    let file = file(&vfs).await;
    let cx = cx(Duration::from_secs(9));
    let before = vfs.getattr(&cx, &[file]).await.remove(0).unwrap();
    let first = vfs.write(&cx, file, 0, vec![1].into(), Stable::Unstable).await.unwrap();
    assert_eq!(first.change, before.change + 1, "the clock stands still");
    clock.advance(Duration::from_secs(5));
    let second = vfs.write(&cx, file, 0, vec![1].into(), Stable::Unstable).await.unwrap();
    assert_eq!(second.change, before.change + 5_000_000_000);
    let after = vfs.getattr(&cx, &[file]).await.remove(0).unwrap();
    assert_eq!(after.modified, before.modified + Duration::from_secs(5));
    assert_eq!((after.accessed, after.created), (before.accessed, before.created));
}
