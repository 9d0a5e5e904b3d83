//! SIGKILL under load: clients write and commit, make and rename files; the server is killed and started again. What was
//! committed is there, no handle goes stale, clients take back what they had and go on.
//!
//! `WOMM_NFS_KILLS` says how often: 2 unless it is set, 100 for a soak.

#[path = "../../../lib/womm-nfs/tests/loopback/client.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod client;

use bytes::Bytes;
use client::{BOTH, Connection, Ops};
use rustix::process::{Pid, Signal, kill_process};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use womm_nfs::operations::Code;
use womm_nfs::status::Status;
use womm_nfs::wire::{SessionId, Stateid};

/// Nothing here takes so long: it is to end a test that hangs.
pub const DEADLINE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);
const CLIENTS: usize = 4;
const BLOCK: usize = 8192;
/// Blocks that each client has committed anew between two kills.
const BETWEEN_KILLS: u64 = 32;

struct Server {
    child: Child,
}

impl Server {
    fn start(folder: &Path, address: SocketAddr) -> Self {
        let program = env!("CARGO_BIN_EXE_womm-server");
        let mut command = Command::new(program);
        command.args(["serve", "--lease", "20", "--listen", &address.to_string(), "--export"]);
        command.arg(format!("/export={}", folder.join("shared").display()));
        command.arg("--export").arg("/tree").arg("--snapshot").arg(folder.join("snapshot"));
        command.arg("--upper").arg(folder.join("upper")).arg("--state").arg(folder.join("state"));
        let child = command.stdout(Stdio::null()).spawn().expect("it is built");
        Self { child }
    }

    fn kill(mut self) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(id, Signal::KILL).expect("it runs");
        self.child.wait().expect("it ends");
    }
}

/// One client, and what it was promised.
struct Writer {
    name: String,
    export: &'static str,
    address: SocketAddr,
    connection: Option<Connection>,
    session: SessionId,
    sequence: u32,
    handle: Bytes,
    stateid: Stateid,
    /// Blocks that were committed.
    durable: u64,
    /// Files that were made and renamed.
    files: u64,
}

impl Writer {
    fn new(number: usize, address: SocketAddr) -> Self {
        Self {
            name: format!("writer-{number}"),
            export: if number.is_multiple_of(2) { "export" } else { "tree" },
            address,
            connection: None,
            session: SessionId([0; 16]),
            sequence: 0,
            handle: Bytes::new(),
            stateid: Stateid::ANONYMOUS,
            durable: 0,
            files: 0,
        }
    }

    fn block(&self, number: u64) -> Vec<u8> {
        let line = format!("{} {number}\n", self.name);
        line.bytes().cycle().take(BLOCK).collect()
    }

    /// The reply after SEQUENCE; none if the server or the session has gone.
    async fn run(&mut self, ops: Ops) -> Option<client::Reply> {
        loop {
            self.sequence += 1;
            let call = Ops::sequence(self.session, self.sequence, 0, false).then(ops.clone());
            let mut reply = self.connection.as_mut()?.try_run(call).await?;
            match reply.status {
                Status::BadSession => return None,
                Status::Delay | Status::Grace => tokio::time::sleep(PAUSE).await,
                _ => {
                    reply.ok(Code::Sequence).fixed_opaque(36).expect("SEQUENCE's result");
                    return Some(reply);
                }
            }
        }
    }

    /// Connects, and takes back what it had.
    async fn join(&mut self) -> Option<()> {
        self.connection = None;
        let stream = loop {
            match TcpStream::connect(self.address).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        let mut connection = Connection::over(stream);
        let mut reply = connection.try_run(Ops::exchange_id(self.name.as_bytes(), [1; 8], 0)).await?;
        let from = reply.ok(Code::ExchangeId);
        let (client, sequence) = (from.u64().expect("an id"), from.u32().expect("a sequence"));
        let ops = Ops::create_session(womm_nfs::wire::ClientId(client), sequence, client::CHANNEL);
        let mut reply = connection.try_run(ops).await?;
        self.session = SessionId::decode(reply.ok(Code::CreateSession)).expect("a session");
        (self.connection, self.sequence) = (Some(connection), 0);
        if !self.handle.is_empty() {
            let mut reply = self.run(Ops::new().putfh(&self.handle.clone()).reclaim(b"owner", BOTH)).await?;
            assert_eq!(reply.status, Status::Ok, "{}: its file is reclaimed", self.name);
            self.stateid = reply.skip(&[Code::Putfh]).opened();
        }
        let status = self.run(Ops::new().reclaim_complete()).await?.status;
        assert!(matches!(status, Status::Ok | Status::CompleteAlready), "{status:?}");
        if self.handle.is_empty() {
            let ops = Ops::new().at(self.export).create(b"owner", self.name.as_bytes(), BOTH, 0).getfh();
            let mut reply = self.run(ops).await?;
            self.stateid = reply.skip(&[Code::Putrootfh, Code::Lookup]).opened();
            self.handle = reply.handle();
        }
        Some(())
    }

    /// Writes some blocks, commits them, and makes a file under a name that it gets afterwards.
    async fn work(&mut self) -> Option<()> {
        let first = self.durable;
        let mut verifiers = Vec::new();
        for number in first..first + 4 {
            let at = number * BLOCK as u64;
            let ops = Ops::new().putfh(&self.handle.clone()).write(self.stateid, at, &self.block(number));
            let mut reply = self.run(ops).await?;
            assert_eq!(reply.status, Status::Ok, "{}: block {number}", self.name);
            let from = reply.skip(&[Code::Putfh]).ok(Code::Write);
            assert_eq!(from.u32(), Ok(BLOCK as u32));
            from.u32().expect("how durable");
            verifiers.push(from.array::<8>().expect("a verifier"));
        }
        let mut reply = self.run(Ops::new().putfh(&self.handle.clone()).commit()).await?;
        assert_eq!(reply.status, Status::Ok);
        let verifier = reply.skip(&[Code::Putfh]).ok(Code::Commit).array::<8>().expect("a verifier");
        if verifiers.iter().all(|written| *written == verifier) {
            self.durable = first + 4;
        }
        self.make_file().await?;
        Some(())
    }

    /// Makes a file, writes its number into it, closes it, and gives it the name that it is to have. All of it may have been done before an
    /// answer was lost.
    async fn make_file(&mut self) -> Option<()> {
        let (before, after) = (format!("{}.new", self.name), format!("{}.{}", self.name, self.files));
        let content = self.files.to_be_bytes();
        let ops = Ops::new().at(self.export).create(b"maker", before.as_bytes(), BOTH, 0).getfh();
        let mut reply = self.run(ops).await?;
        assert_eq!(reply.status, Status::Ok, "{}: make {before}", self.name);
        let stateid = reply.skip(&[Code::Putrootfh, Code::Lookup]).opened();
        let handle = reply.handle();
        let ops = Ops::new().putfh(&handle).write(stateid, 0, &content).commit();
        let mut reply = self.run(ops).await?;
        assert_eq!(reply.status, Status::Ok, "{}: write {before}", self.name);
        let from = reply.skip(&[Code::Putfh]).ok(Code::Write);
        from.u64().expect("how much, how durable");
        let written = from.array::<8>().expect("a verifier");
        let committed = reply.ok(Code::Commit).array::<8>().expect("a verifier");
        assert_eq!(written, committed, "one server did both");
        let status = self.run(Ops::new().putfh(&handle).close(stateid)).await?.status;
        assert_eq!(status, Status::Ok, "{}: close {before}", self.name);
        let ops = Ops::new().at(self.export).void(Code::Savefh).rename(before.as_bytes(), after.as_bytes());
        let status = self.run(ops).await?.status;
        assert_eq!(status, Status::Ok, "{}: rename {before}", self.name);
        self.files += 1;
        Some(())
    }

    /// Everything that it was promised.
    async fn check(&mut self) -> Option<()> {
        for number in 0..self.durable {
            let ops = Ops::new().putfh(&self.handle.clone()).read(self.stateid, number * BLOCK as u64, BLOCK as u32);
            let mut reply = self.run(ops).await?;
            assert_eq!(reply.status, Status::Ok, "{}: read block {number}", self.name);
            assert!(reply.skip(&[Code::Putfh]).data().1 == self.block(number), "{}: block {number}", self.name);
        }
        for number in 0..self.files {
            let name = format!("{}.{number}", self.name);
            let ops = Ops::new().at(self.export).lookup(name.as_bytes()).read(Stateid::ANONYMOUS, 0, 9);
            let mut reply = self.run(ops).await?;
            assert_eq!(reply.status, Status::Ok, "{name}");
            let (end, content) = reply.skip(&[Code::Putrootfh, Code::Lookup, Code::Lookup]).data();
            assert!(end && content[..] == number.to_be_bytes(), "{name}: {content:?}");
        }
        Some(())
    }

    async fn go_on(mut self, stop: Arc<AtomicBool>, commits: Arc<[AtomicU64; CLIENTS]>, own: usize) {
        while !stop.load(Ordering::Relaxed) {
            let went = match self.connection {
                None => self.join().await,
                Some(_) => self.work().await,
            };
            match went {
                Some(()) => commits[own].store(self.durable, Ordering::Relaxed),
                None => self.connection = None,
            }
        }
        loop {
            if self.connection.is_none() && self.join().await.is_none() {
                continue;
            }
            match self.check().await {
                Some(()) => return,
                None => self.connection = None,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_promised_is_lost() {
    let kills: u32 =
        std::env::var("WOMM_NFS_KILLS").map_or(2, |text| text.parse().expect("WOMM_NFS_KILLS is a number"));
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["shared", "snapshot"] {
        std::fs::create_dir(folder.path().join(name)).expect("a folder");
    }
    // A port of our own: it is free again at once, since nobody connected.
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let mut server = Server::start(folder.path(), address);
    let (stop, commits) = (Arc::new(AtomicBool::new(false)), Arc::<[AtomicU64; CLIENTS]>::default());
    let mut writers = JoinSet::new();
    for number in 0..CLIENTS {
        writers.spawn(Writer::new(number, address).go_on(stop.clone(), commits.clone(), number));
    }
    for kill in 0..kills {
        let before: Vec<u64> = commits.iter().map(|own| own.load(Ordering::Relaxed)).collect();
        let (began, mut stall) = (Instant::now(), None);
        let progress = async {
            loop {
                let new = commits.iter().zip(&before).map(|(own, before)| own.load(Ordering::Relaxed) - before);
                let least = new.min().unwrap_or(0);
                if least > 0 && stall.is_none() {
                    stall = Some(began.elapsed());
                }
                if least >= BETWEEN_KILLS {
                    break;
                }
                assert!(writers.try_join_next().is_none(), "a writer has ended");
                tokio::time::sleep(PAUSE).await;
            }
        };
        let went_on = tokio::time::timeout(DEADLINE, progress).await;
        went_on
            .unwrap_or_else(|_| panic!("after start {kill}, a writer commits nothing: {commits:?} after {before:?}"));
        println!("start {kill}: every writer committed anew after {:?}", stall.unwrap_or_default());
        server.kill();
        server = Server::start(folder.path(), address);
    }
    stop.store(true, Ordering::Relaxed);
    let ended = tokio::time::timeout(DEADLINE, async {
        while let Some(ended) = writers.join_next().await {
            ended.expect("all that it was promised is there");
        }
    });
    ended.await.expect("in time");
    server.kill();
}
