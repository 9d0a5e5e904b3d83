//! `--max-memory` holds: clients that take nothing, that stop half-way, that make up names, sessions, opens and locks, all of it at
//! once, get no more memory of the real server than that, but for what does not grow with what they do.

#[path = "../../../lib/womm-nfs/tests/loopback/client.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod client;

use bytes::Bytes;
use client::{BOTH, CHANNEL, Connection, Ops, Session, attributes};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use womm_nfs::operations::Code;
use womm_nfs::status::Status;
use womm_nfs::wire::{SessionId, Stateid};

/// Nothing here takes so long: it is to end a test that hangs.
pub const DEADLINE: Duration = Duration::from_secs(120);
const MOST_MEMORY: usize = 32 << 20;
/// What does not count: buffers that are used again (24 MiB, of which few are used beside all this), some 100 connections, what the
/// allocator can't use in between.
const SLACK: usize = 16 << 20;
const GREEDY: usize = 40;
/// Clients that introduce themselves, and get a session.
const CLIENTS: usize = 20_000;
const OPENS: usize = 30_000;
const RANGES: usize = 60_000;

/// Killed at the end of the test, however that goes.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_womm-server"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--max-memory", "32Mi", "--export"]);
        command.arg(format!("/export={}", folder.join("shared").display()));
        command.arg("--state").arg(folder.join("state"));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it is built");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().rsplit(' ').next().and_then(|word| word.parse().ok());
        Self { address: address.unwrap_or_else(|| panic!("\"{line}\" ends in no address")), child }
    }

    /// The most memory that it had so far, bytes.
    fn peak(&self) -> usize {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says it");
        let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kilobytes << 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _it_has_ended = self.child.kill();
        let _it_was_waited_for = self.child.wait();
    }
}

fn is_refused(status: Status) -> bool {
    assert!(matches!(status, Status::Ok | Status::Delay), "{status:?}");
    status == Status::Delay
}

/// What all of them work on.
struct Target {
    address: SocketAddr,
    session: Session,
    handle: Bytes,
    stateid: Stateid,
    link: Bytes,
}

impl Target {
    /// A file of 1 MiB and a long symlink, used once.
    async fn new(address: SocketAddr) -> Self {
        let mut session = Session::new(address, "target").await;
        let (handle, stateid) = session.create("file").await;
        let at = || Ops::new().putfh(&handle);
        for _ in 0..4 {
            assert_eq!(session.status(at().write(stateid, 0, &vec![1; 1 << 20])).await, Status::Ok);
            assert_eq!(session.status(at().read(stateid, 0, 1 << 20)).await, Status::Ok);
        }
        let link = Ops::new().at("export").op(Code::Create, |to| {
            to.u32(5).opaque(&[b'x'; 4000]).opaque(b"link");
            attributes(&[], &[], to);
        });
        assert_eq!(session.status(link).await, Status::Ok);
        let link = session.handle("export/link").await;
        Self { address, session, handle, stateid, link }
    }

    /// Thousands of names, of which each gets a session.
    async fn arrivals(&self) {
        const CONNECTIONS: usize = 8;
        let mut tasks = JoinSet::new();
        for task in 0..CONNECTIONS {
            let mut connection = Connection::new(self.address).await;
            tasks.spawn(async move {
                let mut made = 0;
                for number in 0..CLIENTS / CONNECTIONS {
                    let name = format!("{task} {number} {}", "x".repeat(900));
                    let mut reply = connection.run(Ops::exchange_id(name.as_bytes(), [1; 8], 0)).await;
                    let from = reply.ok(Code::ExchangeId);
                    let client = womm_nfs::wire::ClientId(from.u64().expect("an id"));
                    let sequence = from.u32().expect("a sequence");
                    let create = Ops::create_session(client, sequence, CHANNEL);
                    made += usize::from(!is_refused(connection.run(create).await.status));
                }
                made
            });
        }
        let made: usize = tasks.join_all().await.into_iter().sum();
        assert!(made > CLIENTS / 2, "most of them get one: {made}");
    }

    /// Opens under long names, and locks of single bytes, until there is no more room, and on.
    async fn opens_and_locks(&mut self) {
        const AT_ONCE: usize = 30;
        let mut refused = 0;
        for part in 0..OPENS / AT_ONCE {
            let mut ops = Ops::new();
            for number in 0..AT_ONCE {
                let owner = format!("{part} {number} {}", "x".repeat(1000));
                ops = ops.putfh(&self.handle).open(owner.as_bytes(), BOTH, 0, |to| {
                    to.u32(0).u32(4);
                });
            }
            refused += usize::from(is_refused(self.session.status(ops).await));
        }
        assert!(refused > 0, "there is a bound");
        let mut locker = Session::new(self.address, "locker").await;
        let (handle, stateid) = locker.create("locked").await;
        let mut reply = locker.run(Ops::new().putfh(&handle).lock(stateid, b"l", 0, 1)).await;
        let mut locked = reply.skip(&[Code::Putfh]).locked(Code::Lock);
        let mut refused = 0;
        for part in 0..RANGES / AT_ONCE {
            locked.seqid = 0; // the newest
            let mut ops = Ops::new().putfh(&handle);
            for number in 0..AT_ONCE {
                ops = ops.op(Code::Lock, |to| {
                    let offset = 2 * (part * AT_ONCE + number) as u64;
                    to.u32(2).bool(false).u64(offset).u64(1).bool(false);
                    locked.encode(to);
                    to.u32(0);
                });
            }
            refused += usize::from(is_refused(locker.status(ops).await));
        }
        assert!(refused > 0, "there is a bound");
    }

    /// Sessions whose every slot keeps a reply as long as may be.
    async fn kept_replies(&mut self) {
        let mut refused = 0;
        for number in 2..60 {
            let id = self.session.connection.session(self.session.client, number).await;
            for slot in 0..64 {
                let call = Ops::sequence(id, 1, slot, true).putfh(&self.handle).read(self.stateid, 0, 3900);
                refused += usize::from(is_refused(self.session.connection.run(call).await.status));
            }
        }
        assert!(refused > 0, "there is a bound");
    }

    /// Sessions for calls that nobody takes the replies of.
    async fn sessions(&self, name: &str, count: usize) -> Vec<SessionId> {
        let mut session = Session::new(self.address, name).await;
        let mut ids = Vec::new();
        for number in 2..2 + count {
            let number = u32::try_from(number).expect("a few");
            ids.push(session.connection.session(session.client, number).await);
        }
        ids
    }

    /// So many bytes of a file, or symlinks, asked for over connections that are not read from.
    async fn takes_nothing(&mut self) -> Vec<Connection> {
        const CALLS: u32 = 60;
        let mut connections = Vec::new();
        for number in 0..GREEDY {
            // So that little of it goes to the kernel's memory.
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.set_recv_buffer_size(4096).expect("it is few");
            let mut connection = Connection::over(socket.connect(self.address).await.expect("a server"));
            // Each is a client: of one only so many calls are worked on.
            let id = self.sessions(&format!("takes nothing {number}"), 1).await[0];
            for slot in 0..CALLS {
                let ops = Ops::sequence(id, 1, slot, false);
                let links = (0..60).fold(ops.clone().putfh(&self.link), |ops, _| ops.void(Code::Readlink));
                let call = match number % 4 {
                    0 | 1 => ops.putfh(&self.handle).read(Stateid::ANONYMOUS, 0, 64 << 10),
                    2 => ops.putfh(&self.handle).read(Stateid::ANONYMOUS, 0, 1 << 20),
                    _ => links,
                };
                connection.send(call).await;
            }
            connections.push(connection);
        }
        connections
    }

    /// Writes of 1 MiB: whole ones, then one that stops.
    async fn writes(&mut self) -> JoinSet<()> {
        let sessions = self.sessions("writes", GREEDY / 32).await;
        let mut slots = sessions.iter().flat_map(|id| (0..64).map(move |slot| (*id, slot)));
        let mut tasks = JoinSet::new();
        for _ in 0..GREEDY {
            let mut connection = Connection::new(self.address).await;
            let (id, slot) = slots.next().expect("there are enough");
            let (handle, data) = (self.handle.clone(), vec![2; 1 << 20]);
            tasks.spawn(async move {
                for sequence in 1..4 {
                    let ops = Ops::sequence(id, sequence, slot, false).putfh(&handle);
                    connection.send(ops.write(Stateid::ANONYMOUS, 0, &data)).await;
                }
                let begun = [&[0x80, 0x0f, 0xff, 0xff], &data[..0xf_0000]].concat();
                let _it_is_given_up = connection.stream.write_all(&begun).await;
            });
        }
        tasks
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_get_no_more_than_they_may() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("shared")).expect("a folder");
    let server = Server::start(folder.path());
    let mut target = Target::new(server.address).await;
    let base = server.peak();
    let mut peaks = Vec::new();
    let began = std::time::Instant::now();
    let mut note =
        |what| peaks.push(format!("{what}: {} KiB after {:?}", (server.peak() - base) >> 10, began.elapsed()));
    target.arrivals().await;
    note("arrivals");
    target.opens_and_locks().await;
    note("opens and locks");
    target.kept_replies().await;
    note("kept replies");
    let _stuck = target.takes_nothing().await;
    note("stuck");
    let writing = tokio::time::timeout(DEADLINE, target.writes().await.join_all());
    writing.await.expect("it is read, or given up");
    note("written");
    // Who behaves is served.
    let mut other = Session::new(server.address, "other").await;
    let (handle, stateid) = other.create("other").await;
    let at = || Ops::new().putfh(&handle);
    let served = async {
        loop {
            match other.status(at().write(stateid, 0, &[1; 100_000]).read(stateid, 0, 100_000)).await {
                Status::Ok => break,
                status => assert_eq!(status, Status::Delay),
            }
        }
    };
    tokio::time::timeout(DEADLINE, served).await.expect("who takes nothing is given up");
    note("transfers");
    let most = base + MOST_MEMORY + SLACK;
    println!("{base} {peaks:?}");
    assert!(server.peak() < most, "{} bytes are more than {most}: {base} at first; {peaks:?}", server.peak());
}
