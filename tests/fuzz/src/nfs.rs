//! `womm_nfs`: what a client sends, as bytes and as compounds against a file system in memory.

use crate::input::{Input, Pieces};
use crate::memory::at_most;
use crate::stream::run;
use bytes::Bytes;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use womm_nfs::budget::Budget;
use womm_nfs::compound::{self, Caller};
use womm_nfs::exports::Terms;
use womm_nfs::operations::Code;
use womm_nfs::rpc::record::Records;
use womm_nfs::rpc::{self, Credentials, Principal};
use womm_nfs::status::Status;
use womm_nfs::wire::Stateid;
use womm_nfs::xdr::{Decoder, Encoder};
use womm_nfs::{Config, Server};
use womm_vfs::NodeId;
use womm_vfs::clock::ManualClock;
use womm_vfs::memory::MemoryVfs;

/// Records and the headers of calls: the same messages, in whatever pieces they come.
pub fn record(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let seed = input.number(2);
    let bytes = input.rest();
    // What one message announces is reserved once; each piece may have been a fragment.
    at_most((8 << 20) + 64 * bytes.len(), || {
        let read = |seed| {
            run(async {
                let budget = Budget::new(16 << 20);
                let free = budget.free();
                let mut records = Records::new(Pieces::new(bytes, seed));
                let mut messages = Vec::new();
                let end = loop {
                    match records.next(&budget).await {
                        Ok(Some(record)) => messages.push(record.message),
                        Ok(None) => break true,
                        Err(_) => break false,
                    }
                };
                assert_eq!(budget.free(), free, "all memory was given back");
                (messages, end)
            })
        };
        let (messages, end) = read(seed);
        assert_eq!((&messages, end), (&read(!seed).0, end));
        assert!(messages.iter().map(Bytes::len).sum::<usize>() <= bytes.len());
        for message in messages {
            if let Ok(rpc::Message::Refuse(reply)) = rpc::read(message.clone()) {
                assert_eq!(reply[..4], message[..4], "a refusal has the call's number");
            }
        }
    });
}

/// What earlier replies gave, to be used later.
#[derive(Default)]
struct Seen {
    handles: Vec<Bytes>,
    stateids: Vec<Stateid>,
    sessions: Vec<[u8; 16]>,
    clients: Vec<u64>,
}

/// Compounds of any operations, in and out of sessions, of two users; some are sent twice.
pub fn compound(bytes: &[u8]) {
    at_most((32 << 20) + 4096 * bytes.len(), || run(compounds(bytes)));
}

async fn compounds(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let folder = TempDir::new_in("/dev/shm").expect("memory");
    let clock = Arc::new(ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 30)));
    let config = Config { lease: Duration::from_secs(60), most_memory: 64 << 20, clock: clock.clone() };
    let server = Server::open(folder.path(), config).expect("a state folder");
    let memory = MemoryVfs::with_room(clock.clone(), 1 << 20);
    let number = server.export("/e", memory, Terms::default()).expect("it is good");
    let budget = Budget::new(64 << 20);
    let mut seen = Seen::default();
    join(&server, &budget, &mut seen).await;
    let mut sequences = [0u32; 4];
    for _ in 0..64 {
        if input.is_empty() {
            break;
        }
        let settings = input.byte();
        if settings & 0xf0 == 0xf0 {
            clock.advance(Duration::from_secs(input.number(2)));
            server.with_state(womm_nfs::state::State::tick);
        }
        let slot = usize::from(settings & 3);
        let count = u32::from(input.byte() & 7);
        let sessionless = settings & 0x1c == 0;
        let mut body = Encoder::new();
        if !sessionless {
            sequences[slot] += 1;
            let session = seen.sessions.get(usize::from(input.byte())).or(seen.sessions.first()).copied();
            body.u32(Code::Sequence as u32).fixed_opaque(&session.unwrap_or_default());
            body.u32(sequences[slot]).u32(slot as u32).u32(3).bool(settings & 4 == 0);
        }
        for _ in 0..count {
            operation(&mut input, &seen, &mut body);
        }
        let mut arguments = Encoder::new();
        arguments.opaque(b"tag").u32(1 + u32::from(settings & 8 == 0)).u32(count + u32::from(!sessionless));
        arguments.append(body);
        let arguments = arguments.into_bytes();
        let caller = caller(u32::from(settings >> 5 & 1) * 7, &budget);
        let reply = send(&server, &caller, &arguments).await;
        learn(&reply, &mut seen);
        if settings & 0x24 == 0x20 && !sessionless {
            let again = send(&server, &caller, &arguments).await;
            let kept = head(&reply).0 == head(&again).0;
            let refused = [Status::RetryUncached, Status::BadSession, Status::Misordered].contains(&head(&again).0);
            assert!(kept || refused, "{:?} then {:?}", head(&reply).0, head(&again).0);
        }
    }
    // Everybody goes silent for days: nothing may be left.
    clock.advance(Duration::from_secs(4 * 24 * 3600));
    server.with_state(womm_nfs::state::State::tick);
    let export = server.exports().now().export(number).expect("it is exported");
    for node in 0..=export.vfs.count() as u64 + 64 {
        assert_eq!(export.vfs.opens(NodeId(node)), 0, "node {node} is still open");
    }
}

fn caller(user: u32, budget: &Budget) -> Caller {
    Caller {
        credentials: Credentials { principal: Principal::User(user), user, group: user },
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        connection: 1,
        budget: budget.clone(),
    }
}

async fn send(server: &Server<MemoryVfs>, caller: &Caller, arguments: &Bytes) -> Bytes {
    match compound::run(server, caller, Decoder::new(arguments.clone())).await {
        Ok((reply, _)) => reply.into_bytes(),
        // GARBAGE_ARGS, as if it were a reply without results.
        Err(_) => {
            let mut to = Encoder::new();
            to.u32(Status::BadXdr as u32).opaque(b"").u32(0);
            to.into_bytes()
        }
    }
}

/// A client with a session and a file that is open, so that the fuzzer begins where it gets interesting.
async fn join(server: &Server<MemoryVfs>, budget: &Budget, seen: &mut Seen) {
    let caller = caller(0, budget);
    let run = |count: u32, body: Encoder| {
        let mut to = Encoder::new();
        to.opaque(b"").u32(2).u32(count).append(body);
        to.into_bytes()
    };
    let mut body = Encoder::new();
    body.u32(Code::ExchangeId as u32).u64(1).opaque(b"fuzzer").u32(0).u32(0).u32(0);
    learn(&send(server, &caller, &run(1, body)).await, seen);
    let mut body = Encoder::new();
    body.u32(Code::CreateSession as u32).u64(seen.clients.first().copied().unwrap_or(0)).u32(1).u32(0);
    for _ in 0..2 {
        body.u32(0).u32(8192).u32(8192).u32(2048).u32(16).u32(4).u32(0);
    }
    body.u32(0).u32(0);
    learn(&send(server, &caller, &run(1, body)).await, seen);
    let session = seen.sessions.first().copied().unwrap_or_default();
    let mut body = Encoder::new();
    body.u32(Code::Sequence as u32).fixed_opaque(&session).u32(1).u32(3).u32(3).bool(false);
    body.u32(Code::ReclaimComplete as u32).bool(false);
    body.u32(Code::Putrootfh as u32).u32(Code::Lookup as u32).opaque(b"e").u32(Code::Getfh as u32);
    body.u32(Code::Open as u32)
        .u32(0)
        .u32(3)
        .u32(0)
        .u64(0)
        .opaque(b"o")
        .u32(1)
        .u32(0)
        .u32(0)
        .u32(0)
        .u32(0)
        .opaque(b"f");
    body.u32(Code::Getfh as u32);
    let reply = send(server, &caller, &run(7, body)).await;
    assert_eq!(head(&reply).0, Status::Ok);
    learn(&reply, seen);
}

fn head(reply: &Bytes) -> (Status, u32, Decoder) {
    let mut from = Decoder::new(reply.clone());
    let status = Status::from_number(from.u32().expect("a status")).expect("one of the RFCs");
    from.opaque(1024).expect("the tag");
    let count = from.u32().expect("a count");
    (status, count, from)
}

/// Takes from a reply what can be used later, as far as the results are of a known length. Its last result has its status.
fn learn(reply: &Bytes, seen: &mut Seen) {
    assert!(reply.len() <= (1 << 20) + (16 << 10));
    let (status, count, mut from) = head(reply);
    for i in 0..count {
        let (code, own) = (from.u32().expect("a code"), from.u32().expect("a status"));
        let own = Status::from_number(own).expect("one of the RFCs");
        assert!(i + 1 == count || own == Status::Ok, "only the last one fails");
        if own != Status::Ok {
            assert_eq!(own, status);
            return;
        }
        let code = Code::ALL.iter().find(|known| **known as u32 == code).expect("a code that we know");
        match code {
            Code::Sequence => drop(from.fixed_opaque(36).expect("its result")),
            Code::Getfh => seen.handles.push(from.opaque(128).expect("a handle")),
            Code::Open => {
                seen.stateids.push(Stateid::decode(&mut from).expect("a stateid"));
                from.fixed_opaque(24).expect("change_info4 and flags");
                womm_nfs::wire::Bitmap::decode(&mut from).expect("a bitmap");
                if from.u32().expect("a delegation's type") == 3 {
                    from.u32().expect("why there is none");
                }
            }
            Code::Lock | Code::Locku | Code::OpenDowngrade | Code::Close => {
                seen.stateids.push(Stateid::decode(&mut from).expect("a stateid"));
            }
            Code::ExchangeId => {
                seen.clients.push(from.u64().expect("a client id"));
                return;
            }
            Code::CreateSession => {
                seen.sessions.push(from.array().expect("a session id"));
                return;
            }
            Code::Putfh
            | Code::Putrootfh
            | Code::Putpubfh
            | Code::Lookup
            | Code::Lookupp
            | Code::Savefh
            | Code::Restorefh
            | Code::ReclaimComplete
            | Code::Allocate
            | Code::Deallocate
            | Code::FreeStateid
            | Code::Verify
            | Code::Nverify
            | Code::Lockt
            | Code::BackchannelCtl => {}
            Code::Remove | Code::Link => drop(from.fixed_opaque(20).expect("change_info4")),
            Code::Rename => drop(from.fixed_opaque(40).expect("twice change_info4")),
            // The others' results are not looked into.
            _ => return,
        }
    }
}

/// An operation with arguments that are its own more or less.
fn operation(input: &mut Input<'_>, seen: &Seen, to: &mut Encoder) {
    let code = Code::ALL[usize::from(input.byte()) % Code::ALL.len()];
    to.u32(code as u32);
    let shape = match code {
        Code::Putfh => "h",
        Code::Lookup | Code::Remove | Code::Link | Code::Secinfo | Code::Getxattr | Code::Removexattr => "n",
        Code::Rename => "nn",
        Code::Access | Code::SecinfoNoName | Code::ReclaimComplete => "b",
        Code::Getattr => "m",
        Code::Close => "bs",
        Code::Commit => "ob",
        Code::OpenDowngrade => "sbbb",
        Code::Read => "sow",
        Code::Write => "sobd",
        Code::Setattr => "sa",
        Code::Verify | Code::Nverify => "a",
        Code::Create => match input.byte() & 3 {
            0 => {
                to.u32(5);
                "nna"
            }
            _ => {
                to.u32(2);
                "na"
            }
        },
        Code::Open => match input.byte() & 7 {
            0 => "bbbCnbbn",
            1 => {
                // To make one, unchecked or guarded.
                to.u32(0).u32(3).u32(0).u64(0).opaque(b"o").u32(1).u32(u32::from(input.byte() & 1));
                to.u32(0).u32(0).u32(0);
                "n"
            }
            2 => {
                to.u32(0).u32(u32::from(input.byte() & 3)).u32(u32::from(input.byte() & 3)).u64(0).opaque(b"p");
                to.u32(0).u32(0);
                "n"
            }
            3 => {
                to.u32(0).u32(3).u32(0).u64(0).opaque(b"q").u32(0).u32(4);
                ""
            }
            4 => {
                to.u32(0).u32(3).u32(0).u64(0).opaque(b"o").u32(1).u32(3).u64(input.byte().into());
                "abn"
            }
            _ => "bbbCnbbb",
        },
        Code::Lock => match input.byte() & 3 {
            0 => "bbooBsb",
            _ => {
                to.u32(1 + u32::from(input.byte() & 3)).bool(false);
                to.u64(input.byte().into()).u64(input.byte().into()).bool(true).u32(0);
                "sbCn"
            }
        },
        Code::Lockt => "booCn",
        Code::Locku => "bbsoo",
        Code::Readdir => "oowwm",
        Code::FreeStateid | Code::DelegReturn => "s",
        Code::TestStateid => {
            to.u32(2);
            "ss"
        }
        Code::Allocate | Code::Deallocate => "soo",
        Code::Seek => "sob",
        Code::IoAdvise => "soom",
        Code::Copy => "ssoooBBb",
        Code::Setxattr => "bnd",
        Code::Listxattrs => "ow",
        Code::DestroySession => "S",
        Code::BindConnToSession => "SbB",
        Code::DestroyClientId => "C",
        Code::ExchangeId => "Cnbbb",
        Code::Sequence => "SbbbB",
        Code::CreateSession => "Cbbbwwwwbbwwwwbbb",
        _ => "d",
    };
    for kind in shape.bytes() {
        argument(kind, input, seen, to);
    }
}

fn argument(kind: u8, input: &mut Input<'_>, seen: &Seen, to: &mut Encoder) {
    let which = input.byte();
    let at = usize::from(which >> 1);
    match kind {
        b'h' if !seen.handles.is_empty() => to.opaque(&seen.handles[at % seen.handles.len()]),
        b'h' | b'd' => to.opaque(input.bytes()),
        b'n' => match which & 7 {
            7 => to.opaque(input.bytes()),
            name => to.opaque(&[b'e' + name]),
        },
        b's' => {
            match which & 3 {
                _ if seen.stateids.is_empty() => Stateid::ANONYMOUS.encode(to),
                0 => Stateid::CURRENT.encode(to),
                1 if which & 4 == 0 => Stateid::ANONYMOUS.encode(to),
                1 => Stateid::BYPASS.encode(to),
                2 => Stateid { seqid: which.into(), ..seen.stateids[at % seen.stateids.len()] }.encode(to),
                _ => Stateid { seqid: 0, ..seen.stateids[at % seen.stateids.len()] }.encode(to),
            }
            to
        }
        b'o' if which & 1 == 0 => to.u64(at as u64),
        b'o' => to.u64(input.number(8)),
        b'w' if which & 1 == 0 => to.u32(at as u32 * 64),
        b'w' => to.u32(input.number(4) as u32),
        b'b' if which & 1 == 0 => to.u32(at as u32 & 7),
        b'b' => to.u32(input.number(4) as u32),
        b'B' => to.bool(which & 1 == 0),
        b'm' => to.u32(2).u32(input.number(4) as u32).u32(input.number(4) as u32),
        b'a' => {
            let (mode, size) = (which & 1 == 0, which & 2 == 0);
            to.u32(2).u32(if size { 1 << 4 } else { 0 }).u32(if mode { 2 } else { 0 });
            to.u32(4 * u32::from(mode) + 8 * u32::from(size));
            if size {
                to.u64(at as u64 * 100);
            }
            if mode { to.u32(input.number(2) as u32 & 0o777) } else { to }
        }
        b'S' => to.fixed_opaque(seen.sessions.get(at).or(seen.sessions.first()).unwrap_or(&[0; 16])),
        _ => to.u64(seen.clients.get(at).copied().unwrap_or(7)),
    };
}
