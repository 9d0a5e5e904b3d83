//! An NFSv4.1 client (RFC 8881) that knows what the bench asks for, and keeps several requests in flight. Of its own, not made of
//! womm-nfs: what the two understand differently shows. Anything unexpected is a panic: the bench is over then.

mod xdr;

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
pub use xdr::Answer;
use xdr::Request;

/// Slots that are asked for.
const SLOTS: u32 = 64;
const MOST_BYTES: u32 = (1 << 20) + 4096;

const PROGRAM: u32 = 100_003;
const AUTH_SYS: u32 = 1;

const OK: u32 = 0;
/// NFS4ERR_DELAY, NFS4ERR_GRACE: ask again.
const LATER: [u32; 2] = [10_008, 10_013];

/// Of a GETATTR like that of the Linux client: type, change, size, fsid, fileid, mode, numlinks, owner, owner_group, rawdev,
/// space_used, time_access, time_metadata, time_modify, mounted_on_fileid.
const ATTRIBUTES: [u32; 2] = [
    1 << 1 | 1 << 3 | 1 << 4 | 1 << 8 | 1 << 20,
    1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 9 | 1 << 13 | 1 << 15 | 1 << 20 | 1 << 21 | 1 << 23,
];
/// The same and filehandle, rdattr_error: of a READDIR.
const ENTRY_ATTRIBUTES: [u32; 2] = [ATTRIBUTES[0] | 1 << 11 | 1 << 19, ATTRIBUTES[1]];
const MODE: [u32; 2] = [0, 1 << 1];

/// A file handle.
pub type Handle = Vec<u8>;

/// A stateid.
pub type Stateid = [u8; 16];

/// What the operation before it in the compound has answered (RFC 8881, 16.2.3.1.2).
pub const CURRENT: Stateid = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Operations that go together.
#[derive(Default)]
pub struct Compound {
    request: Request,
    operations: u32,
}

impl Compound {
    fn operation(mut self, number: u32, arguments: impl FnOnce(&mut Request)) -> Self {
        self.operations += 1;
        self.request.u32(number);
        arguments(&mut self.request);
        self
    }

    /// On this file or folder.
    pub fn on(handle: &[u8]) -> Self {
        Self::default().operation(22, |to| to.opaque(handle))
    }

    /// On the folder that all exports are below.
    pub fn on_root() -> Self {
        Self::default().operation(24, |_| ())
    }

    pub fn lookup(self, name: &str) -> Self {
        self.operation(15, |to| to.opaque(name.as_bytes()))
    }

    pub fn handle(self) -> Self {
        self.operation(10, |_| ())
    }

    pub fn getattr(self) -> Self {
        self.operation(9, |to| to.list(&ATTRIBUTES))
    }

    pub fn make_folder(self, name: &str) -> Self {
        self.operation(6, |to| {
            to.u32(2); // NF4DIR
            to.opaque(name.as_bytes());
            to.list(&MODE);
            to.u32(4);
            to.u32(0o755);
        })
    }

    /// Makes the file, which may not be there, and opens it to be read and written.
    pub fn create(self, name: &str) -> Self {
        self.operation(18, |to| {
            // seqid, OPEN4_SHARE_ACCESS_BOTH and WANT_NO_DELEG, OPEN4_SHARE_DENY_NONE, the owner: clientid and name
            to.u32(0);
            to.u32(3 | 0x400);
            to.u32(0);
            to.u64(0);
            to.opaque(b"bench");
            to.u32(1); // OPEN4_CREATE
            to.u32(1); // GUARDED4
            to.list(&MODE);
            to.u32(4);
            to.u32(0o644);
            to.u32(0); // CLAIM_NULL
            to.opaque(name.as_bytes());
        })
    }

    pub fn close(self, stateid: &Stateid) -> Self {
        self.operation(4, |to| {
            to.u32(0);
            to.fixed(stateid);
        })
    }

    pub fn remove(self, name: &str) -> Self {
        self.operation(28, |to| to.opaque(name.as_bytes()))
    }

    pub fn read(self, stateid: &Stateid, offset: u64, count: u32) -> Self {
        self.operation(25, |to| {
            to.fixed(stateid);
            to.u64(offset);
            to.u32(count);
        })
    }

    /// UNSTABLE4.
    pub fn write(self, stateid: &Stateid, offset: u64, data: &[u8]) -> Self {
        self.operation(38, |to| {
            to.fixed(stateid);
            to.u64(offset);
            to.u32(0);
            to.opaque(data);
        })
    }

    /// All of the file.
    pub fn commit(self) -> Self {
        self.operation(5, |to| {
            to.u64(0);
            to.u32(0);
        })
    }

    /// As much of the folder as goes into one answer, with the attributes of each entry.
    pub fn readdir(self, cookie: u64, verifier: &[u8; 8]) -> Self {
        self.operation(26, |to| {
            to.u64(cookie);
            to.fixed(verifier);
            to.u32(1 << 20);
            to.u32(1 << 20);
            to.list(&ENTRY_ATTRIBUTES);
        })
    }
}

/// A connection with a session.
pub struct Client {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    session: [u8; 16],
    /// The sequence number of the last request on each slot.
    slots: Vec<u32>,
}

impl Client {
    /// Of a client that the server has not seen, which is told by the name.
    pub fn connect(address: SocketAddr, name: &str) -> Self {
        let stream = TcpStream::connect(address).expect("a server listens there");
        stream.set_nodelay(true).expect("set");
        stream.set_read_timeout(Some(Duration::from_secs(120))).expect("set");
        let answers = BufReader::with_capacity(1 << 17, stream.try_clone().expect("cloned"));
        let mut client = Self { stream, answers, session: [0; 16], slots: Vec::new() };
        let (id, sequence) = client.exchange_id(name);
        client.create_session(id, sequence);
        let complete = Compound::default().operation(58, |to| to.u32(0));
        client.call(complete).status(58);
        client
    }

    fn exchange_id(&mut self, name: &str) -> (u64, u32) {
        let request = Compound::default().operation(42, |to| {
            to.fixed(&std::process::id().to_be_bytes().repeat(2));
            to.opaque(name.as_bytes());
            to.u32(0); // flags
            to.u32(0); // SP4_NONE
            to.u32(0); // no implementation
        });
        let mut answer = self.without_session(request);
        answer.status(42);
        (answer.u64(), answer.u32())
    }

    fn create_session(&mut self, id: u64, sequence: u32) {
        let request = Compound::default().operation(43, |to| {
            to.u64(id);
            to.u32(sequence);
            to.u32(0); // flags
            for slots in [SLOTS, 1] {
                // header padding, the most of a request, of an answer, of a kept answer, operations, slots, no RDMA
                for value in [0, MOST_BYTES, MOST_BYTES, 4096, 16, slots, 0] {
                    to.u32(value);
                }
            }
            to.u32(0x4000_0000); // the program of callbacks that never come
            to.u32(1);
            to.u32(0); // AUTH_NONE
        });
        let mut answer = self.without_session(request);
        answer.status(43);
        self.session = answer.fixed();
        answer.u32(); // sequence
        answer.u32(); // flags
        let fore: Vec<u32> = (0..6).map(|_| answer.u32()).collect();
        assert!(fore[1] >= MOST_BYTES - 4096 && fore[2] >= MOST_BYTES - 4096, "1 MiB goes at once, not {fore:?}");
        self.slots = vec![0; fore[5] as usize];
    }

    fn without_session(&mut self, compound: Compound) -> Answer {
        self.send(0, compound.operations, &[], &compound.request);
        let (_, mut answer) = self.receive();
        answer.compound();
        answer
    }

    /// One request, and its answer after SEQUENCE.
    pub fn call(&mut self, compound: Compound) -> Answer {
        let mut compound = Some(compound);
        let mut answers = Vec::new();
        self.pipeline(1, std::iter::from_fn(|| compound.take()), |answer| answers.push(answer));
        answers.pop().expect("one")
    }

    /// Sends them all, so many at once, each when one has been answered.
    pub fn pipeline(
        &mut self,
        in_flight: usize,
        compounds: impl IntoIterator<Item = Compound>,
        mut each: impl FnMut(Answer),
    ) {
        assert!(in_flight <= self.slots.len(), "the server gives {} slots", self.slots.len());
        let mut compounds = compounds.into_iter();
        let mut sent: Vec<_> = (0..in_flight).map(|slot| self.send_next(slot, compounds.next())).collect();
        let mut under_way = sent.iter().flatten().count();
        while under_way > 0 {
            let (slot, mut answer) = self.receive();
            let slot = slot as usize;
            let status = answer.compound();
            let next = if LATER.contains(&status) {
                std::thread::sleep(Duration::from_millis(20));
                sent[slot].take()
            } else {
                answer.sequence();
                each(answer);
                compounds.next()
            };
            sent[slot] = self.send_next(slot, next);
            under_way -= usize::from(sent[slot].is_none());
        }
    }

    fn send_next(&mut self, slot: usize, compound: Option<Compound>) -> Option<Compound> {
        let compound = compound?;
        self.slots[slot] += 1;
        let mut sequence = Request::default();
        sequence.u32(53);
        sequence.fixed(&self.session);
        sequence.u32(self.slots[slot]);
        sequence.u32(slot as u32);
        sequence.u32(self.slots.len() as u32 - 1);
        sequence.u32(0); // the answer need not be kept
        self.send(slot as u32, compound.operations + 1, sequence.bytes(), &compound.request);
        Some(compound)
    }

    /// The transaction id is the slot: no other request has it meanwhile.
    fn send(&mut self, id: u32, operations: u32, first: &[u8], rest: &Request) {
        let mut header = Request::default();
        header.u32(0); // the length, below
        for value in [id, 0, 2, PROGRAM, 4, 1, AUTH_SYS, 5 * 4, 0, 0, 0, 0, 0, 0, 0] {
            header.u32(value); // a call, RPC 2, COMPOUND; AUTH_SYS: stamp, no name, uid 0, gid 0, no groups; no verifier
        }
        header.opaque(b""); // tag
        header.u32(1); // minor version
        header.u32(operations);
        let length = header.bytes().len() - 4 + first.len() + rest.bytes().len();
        header.set_u32(0, length as u32 | 1 << 31);
        header.fixed(first);
        let large = rest.bytes().len() > 1 << 14;
        if !large {
            header.fixed(rest.bytes());
        }
        self.stream.write_all(header.bytes()).expect("sent");
        if large {
            self.stream.write_all(rest.bytes()).expect("sent");
        }
    }

    fn receive(&mut self) -> (u32, Answer) {
        let mut record = Vec::new();
        loop {
            let mut mark = [0; 4];
            self.answers.read_exact(&mut mark).expect("the server answers");
            let mark = u32::from_be_bytes(mark);
            let at = record.len();
            record.resize(at + (mark & 0x7fff_ffff) as usize, 0);
            self.answers.read_exact(&mut record[at..]).expect("the server answers wholly");
            if mark >> 31 == 1 {
                break;
            }
        }
        let mut answer = Answer::new(record);
        let id = answer.u32();
        // a reply, accepted, no verifier, success
        for wanted in [1, 0, 0, 0, 0] {
            assert_eq!(answer.u32(), wanted, "RPC is accepted");
        }
        (id, answer)
    }
}

impl Answer {
    /// The status of the whole; what follows are its operations.
    fn compound(&mut self) -> u32 {
        let status = self.u32();
        self.opaque();
        self.u32();
        status
    }

    fn sequence(&mut self) {
        self.status(53);
        self.fixed::<16>();
        for _ in 0..5 {
            self.u32();
        }
    }

    /// Of the operation with this number, which has succeeded.
    #[track_caller]
    pub fn status(&mut self, operation: u32) {
        let (number, status) = (self.u32(), self.u32());
        assert_eq!((number, status), (operation, OK), "operation {operation} is answered, and well");
    }

    /// Of PUTFH or PUTROOTFH, LOOKUP, and GETFH, with which a compound begins.
    pub fn found(&mut self, lookups: usize, put: u32) -> Handle {
        self.status(put);
        (0..lookups).for_each(|_| self.status(15));
        self.status(10);
        self.opaque().to_vec()
    }

    /// Of CREATE.
    pub fn made(&mut self) {
        self.status(6);
        self.change();
        self.bitmap();
    }

    fn change(&mut self) {
        self.u32();
        self.u64();
        self.u64();
    }

    fn bitmap(&mut self) {
        for _ in 0..self.u32() {
            self.u32();
        }
    }

    /// Of OPEN.
    pub fn opened(&mut self) -> Stateid {
        self.status(18);
        let stateid = self.fixed();
        self.change();
        self.u32();
        self.bitmap();
        match self.u32() {
            0 => (),
            3 => {
                // none, and why (OPEN_DELEGATE_NONE_EXT)
                if matches!(self.u32(), 1 | 2) {
                    self.u32();
                }
            }
            other => panic!("no delegation was wanted, and one of type {other} is given"),
        }
        stateid
    }

    /// Of READ: how many bytes.
    pub fn read(&mut self) -> usize {
        self.status(25);
        self.u32();
        self.opaque().len()
    }

    /// Of WRITE: how many bytes.
    pub fn written(&mut self) -> u32 {
        self.status(38);
        self.u32()
    }

    /// Of GETATTR: it has them all.
    pub fn attributes(&mut self) {
        self.status(9);
        let words = self.u32();
        let given: Vec<u32> = (0..words).map(|_| self.u32()).collect();
        assert_eq!(given, ATTRIBUTES, "all attributes are answered");
        self.opaque();
    }

    /// Of READDIR: how many entries, the last one's cookie, the verifier, whether it is the end.
    pub fn listing(&mut self) -> (usize, u64, [u8; 8], bool) {
        self.status(26);
        let verifier = self.fixed();
        let (mut count, mut cookie) = (0, 0);
        while self.u32() == 1 {
            count += 1;
            cookie = self.u64();
            self.opaque();
            self.bitmap();
            assert!(self.opaque().len() > 100, "an entry has its attributes");
        }
        (count, cookie, verifier, self.u32() == 1)
    }
}
