//! A client for tests: says exactly what it is told, over TCP.

use bytes::{BufMut, Bytes, BytesMut};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use womm_nfs::operations::Code;
use womm_nfs::rpc::record::mark;
use womm_nfs::status::Status;
use womm_nfs::wire::{Bitmap, ClientId, SessionId, Stateid};
use womm_nfs::xdr::{Decoder, Encoder};

/// Operations of a compound.
#[derive(Clone, Default)]
pub struct Ops {
    bytes: Encoder,
    count: u32,
}

pub const READ: u32 = 1;
pub const WRITE: u32 = 2;
pub const BOTH: u32 = 3;

impl Ops {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn op(mut self, code: Code, write: impl FnOnce(&mut Encoder)) -> Self {
        self.bytes.u32(code as u32);
        write(&mut self.bytes);
        self.count += 1;
        self
    }

    pub fn void(self, code: Code) -> Self {
        self.op(code, |_| ())
    }

    /// From the root to a path such as "export/a".
    pub fn at(self, path: &str) -> Self {
        let start = self.void(Code::Putrootfh);
        path.split('/').filter(|name| !name.is_empty()).fold(start, |ops, name| ops.lookup(name.as_bytes()))
    }

    pub fn lookup(self, name: &[u8]) -> Self {
        self.op(Code::Lookup, |to| {
            to.opaque(name);
        })
    }

    pub fn putfh(self, handle: &[u8]) -> Self {
        self.op(Code::Putfh, |to| {
            to.opaque(handle);
        })
    }

    pub fn getfh(self) -> Self {
        self.void(Code::Getfh)
    }

    pub fn getattr(self, numbers: &[u32]) -> Self {
        self.op(Code::Getattr, |to| Bitmap::of(numbers).encode(to))
    }

    /// OPEN by name; makes it if there is none.
    pub fn create(self, owner: &[u8], name: &[u8], access: u32, deny: u32) -> Self {
        self.open(owner, access, deny, |to| {
            to.u32(1).u32(0);
            attributes(&[], &[], to);
            to.u32(0).opaque(name);
        })
    }

    /// OPEN by name of one that exists.
    pub fn open_existing(self, owner: &[u8], name: &[u8], access: u32, deny: u32) -> Self {
        self.open(owner, access, deny, |to| {
            to.u32(0).u32(0).opaque(name);
        })
    }

    /// OPEN, CLAIM_PREVIOUS.
    pub fn reclaim(self, owner: &[u8], access: u32) -> Self {
        self.open(owner, access, 0, |to| {
            to.u32(0).u32(1).u32(0);
        })
    }

    pub fn open(self, owner: &[u8], access: u32, deny: u32, how: impl FnOnce(&mut Encoder)) -> Self {
        self.op(Code::Open, |to| {
            to.u32(0).u32(access).u32(deny).u64(0).opaque(owner);
            how(to);
        })
    }

    pub fn close(self, stateid: Stateid) -> Self {
        self.op(Code::Close, |to| {
            to.u32(0);
            stateid.encode(to);
        })
    }

    pub fn read(self, stateid: Stateid, offset: u64, count: u32) -> Self {
        self.op(Code::Read, |to| {
            stateid.encode(to);
            to.u64(offset).u32(count);
        })
    }

    pub fn write(self, stateid: Stateid, offset: u64, data: &[u8]) -> Self {
        self.op(Code::Write, |to| {
            stateid.encode(to);
            to.u64(offset).u32(0).opaque(data);
        })
    }

    pub fn commit(self) -> Self {
        self.op(Code::Commit, |to| {
            to.u64(0).u32(0);
        })
    }

    /// LOCK of a new owner, to write.
    pub fn lock(self, open: Stateid, owner: &[u8], offset: u64, length: u64) -> Self {
        self.op(Code::Lock, |to| {
            to.u32(2).bool(false).u64(offset).u64(length).bool(true).u32(0);
            open.encode(to);
            to.u32(0).u64(0).opaque(owner);
        })
    }

    pub fn reclaim_lock(self, open: Stateid, owner: &[u8], offset: u64, length: u64) -> Self {
        self.op(Code::Lock, |to| {
            to.u32(2).bool(true).u64(offset).u64(length).bool(true).u32(0);
            open.encode(to);
            to.u32(0).u64(0).opaque(owner);
        })
    }

    pub fn unlock(self, stateid: Stateid, offset: u64, length: u64) -> Self {
        self.op(Code::Locku, |to| {
            to.u32(2).u32(0);
            stateid.encode(to);
            to.u64(offset).u64(length);
        })
    }

    pub fn mkdir(self, name: &[u8]) -> Self {
        self.op(Code::Create, |to| {
            to.u32(2).opaque(name);
            attributes(&[], &[], to);
        })
    }

    pub fn remove(self, name: &[u8]) -> Self {
        self.op(Code::Remove, |to| {
            to.opaque(name);
        })
    }

    pub fn rename(self, from: &[u8], to_name: &[u8]) -> Self {
        self.op(Code::Rename, |to| {
            to.opaque(from).opaque(to_name);
        })
    }

    pub fn setattr(self, stateid: Stateid, numbers: &[u32], values: &[u8]) -> Self {
        self.op(Code::Setattr, |to| {
            stateid.encode(to);
            attributes(numbers, values, to);
        })
    }

    pub fn readdir(self, cookie: u64, most: u32, numbers: &[u32]) -> Self {
        self.op(Code::Readdir, |to| {
            to.u64(cookie).u64(0).u32(most).u32(most);
            Bitmap::of(numbers).encode(to);
        })
    }

    pub fn reclaim_complete(self) -> Self {
        self.op(Code::ReclaimComplete, |to| {
            to.bool(false);
        })
    }

    pub fn sequence(session: SessionId, sequence: u32, slot: u32, cache: bool) -> Self {
        Self::new().op(Code::Sequence, |to| {
            session.encode(to);
            to.u32(sequence).u32(slot).u32(slot).bool(cache);
        })
    }

    pub fn exchange_id(name: &[u8], verifier: [u8; 8], flags: u32) -> Self {
        Self::new().op(Code::ExchangeId, |to| {
            to.fixed_opaque(&verifier).opaque(name).u32(flags).u32(0).u32(0);
        })
    }

    pub fn create_session(client: ClientId, sequence: u32, channel: [u32; 5]) -> Self {
        Self::new().op(Code::CreateSession, |to| {
            to.u64(client.0).u32(sequence).u32(0);
            for _ in 0..2 {
                to.u32(0);
                channel.iter().for_each(|word| drop_ref(to.u32(*word)));
                to.u32(0);
            }
            to.u32(0x4000_0000).u32(1).u32(0);
        })
    }

    pub fn then(mut self, other: Self) -> Self {
        self.bytes.append(other.bytes);
        self.count += other.count;
        self
    }

    /// COMPOUND4args.
    pub fn arguments(self, minor: u32) -> Encoder {
        let mut to = Encoder::new();
        to.opaque(b"").u32(minor).u32(self.count).append(self.bytes);
        to
    }
}

fn drop_ref(_: &mut Encoder) {}

/// fattr4.
pub fn attributes(numbers: &[u32], values: &[u8], to: &mut Encoder) {
    Bitmap::of(numbers).encode(to);
    to.opaque(values);
}

/// COMPOUND4res.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: Status,
    pub count: u32,
    pub from: Decoder,
    pub bytes: Bytes,
}

impl Reply {
    fn read(bytes: Bytes) -> Self {
        let mut from = Decoder::new(bytes.clone());
        let status = Status::from_number(from.u32().expect("a status")).expect("one that we know");
        from.opaque(1024).expect("a tag");
        let count = from.u32().expect("a count");
        Self { status, count, from, bytes }
    }

    /// The next result's code and status.
    pub fn head(&mut self) -> (u32, Status) {
        let code = self.from.u32().expect("a code");
        (code, Status::from_number(self.from.u32().expect("a status")).expect("one that we know"))
    }

    /// The next result is good, and of this operation.
    pub fn ok(&mut self, code: Code) -> &mut Decoder {
        assert_eq!(self.head(), (code as u32, Status::Ok), "of all: {:?}", self.status);
        &mut self.from
    }

    /// Passes over so many results that have nothing in them.
    pub fn skip(&mut self, codes: &[Code]) -> &mut Self {
        for code in codes {
            self.ok(*code);
        }
        self
    }

    pub fn handle(&mut self) -> Bytes {
        self.ok(Code::Getfh).opaque(128).expect("a handle")
    }

    pub fn opened(&mut self) -> Stateid {
        let from = self.ok(Code::Open);
        let stateid = Stateid::decode(from).expect("a stateid");
        from.fixed_opaque(20).expect("change_info4");
        from.u32().expect("flags");
        Bitmap::decode(from).expect("a bitmap");
        if from.u32().expect("a delegation's type") == 3 {
            from.u32().expect("why there is none");
        }
        stateid
    }

    pub fn locked(&mut self, code: Code) -> Stateid {
        Stateid::decode(self.ok(code)).expect("a stateid")
    }

    pub fn data(&mut self) -> (bool, Bytes) {
        let from = self.ok(Code::Read);
        (from.bool().expect("eof"), from.opaque(1 << 20).expect("data"))
    }

    /// The values of GETATTR, after their bitmap.
    pub fn values(&mut self) -> Decoder {
        let from = self.ok(Code::Getattr);
        Bitmap::decode(from).expect("a bitmap");
        Decoder::new(from.opaque(1 << 16).expect("values"))
    }

    /// Cookies and names, and whether that is all.
    pub fn entries(&mut self) -> (Vec<(u64, Bytes)>, bool) {
        let from = self.ok(Code::Readdir);
        from.u64().expect("a verifier");
        let mut entries = Vec::new();
        while from.bool().expect("whether there is one") {
            entries.push((from.u64().expect("a cookie"), from.opaque(255).expect("a name")));
            Bitmap::decode(from).expect("a bitmap");
            from.opaque(1 << 16).expect("values");
        }
        (entries, from.bool().expect("eof"))
    }
}

/// A connection.
pub struct Connection {
    pub stream: TcpStream,
    xid: u32,
    pub user: u32,
    pub minor: u32,
}

impl Connection {
    pub async fn new(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("a server"))
    }

    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP");
        Self { stream, xid: 0, user: 0, minor: 2 }
    }

    /// From another address of this machine.
    pub async fn from_address(address: SocketAddr, own: [u8; 4]) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((own, 0))).expect("an address of loopback");
        let stream = socket.connect(address).await.expect("a server");
        Self { stream, xid: 0, user: 0, minor: 2 }
    }

    pub async fn send(&mut self, ops: Ops) -> u32 {
        self.try_send(ops).await.expect("it takes it")
    }

    async fn try_send(&mut self, ops: Ops) -> std::io::Result<u32> {
        self.xid += 1;
        let mut credentials = Encoder::new();
        credentials.u32(0).opaque(b"test").u32(self.user).u32(0).u32(0);
        let mut call = Encoder::new();
        call.u32(self.xid).u32(0).u32(2).u32(100_003).u32(4).u32(1).u32(1);
        call.opaque(&credentials.into_bytes()).u32(0).u32(0);
        call.append(ops.arguments(self.minor));
        self.try_send_raw(&call.into_bytes()).await?;
        Ok(self.xid)
    }

    pub async fn send_raw(&mut self, message: &[u8]) {
        self.try_send_raw(message).await.expect("it takes it");
    }

    async fn try_send_raw(&mut self, message: &[u8]) -> std::io::Result<()> {
        let bytes = [&mark(message.len())[..], message].concat();
        self.stream.write_all(&bytes).await
    }

    /// The next message, without its mark; none at the end.
    pub async fn receive_raw(&mut self) -> Option<Bytes> {
        let mark = self.stream.read_u32().await.ok()?;
        let length = (mark & 0x7fff_ffff) as usize;
        let mut bytes = BytesMut::with_capacity(length).limit(length);
        while bytes.has_remaining_mut() {
            if self.stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
        Some(bytes.into_inner().freeze())
    }

    /// The next reply.
    pub async fn receive(&mut self) -> (u32, Reply) {
        self.try_receive().await.expect("a reply")
    }

    async fn try_receive(&mut self) -> Option<(u32, Reply)> {
        let message = tokio::time::timeout(super::DEADLINE, self.receive_raw()).await.expect("in time")?;
        let mut from = Decoder::new(message);
        let words: Vec<u32> = (0..6).map(|_| from.u32().expect("a header")).collect();
        assert_eq!(words[1..], [1, 0, 0, 0, 0], "it is accepted");
        Some((words[0], Reply::read(from.rest().clone())))
    }

    /// The reply, unless the connection ends before it.
    #[allow(dead_code, reason = "for the tests of bins/womm-server")]
    pub async fn try_run(&mut self, ops: Ops) -> Option<Reply> {
        let sent = self.try_send(ops).await.ok()?;
        let (xid, reply) = self.try_receive().await?;
        assert_eq!(xid, sent);
        Some(reply)
    }

    pub async fn run(&mut self, ops: Ops) -> Reply {
        self.try_run(ops).await.expect("a reply")
    }

    /// EXCHANGE_ID; {client id, sequence}.
    pub async fn introduce(&mut self, name: &[u8], verifier: u8) -> (ClientId, u32) {
        let mut reply = self.run(Ops::exchange_id(name, [verifier; 8], 0)).await;
        let from = reply.ok(Code::ExchangeId);
        (ClientId(from.u64().expect("an id")), from.u32().expect("a sequence"))
    }

    pub async fn session(&mut self, client: ClientId, sequence: u32) -> SessionId {
        let mut reply = self.run(Ops::create_session(client, sequence, CHANNEL)).await;
        SessionId::decode(reply.ok(Code::CreateSession)).expect("a session")
    }
}

/// Request, response, cached, operations, slots.
pub const CHANNEL: [u32; 5] = [(1 << 20) + 4096, (1 << 20) + 4096, 4096, 64, 64];

/// A client with one session, whose calls go one after another.
pub struct Session {
    pub connection: Connection,
    pub client: ClientId,
    pub id: SessionId,
    pub sequence: u32,
}

impl Session {
    /// Introduced, and done with reclaiming.
    pub async fn new(address: SocketAddr, name: &str) -> Self {
        let mut session = Self::returned(address, name).await;
        let reply = session.run(Ops::new().reclaim_complete()).await;
        assert_eq!(reply.status, Status::Ok);
        session
    }

    /// Introduced; it may still reclaim.
    pub async fn returned(address: SocketAddr, name: &str) -> Self {
        Self::over(Connection::new(address).await, name, 1).await
    }

    pub async fn over(mut connection: Connection, name: &str, verifier: u8) -> Self {
        let (client, sequence) = connection.introduce(name.as_bytes(), verifier).await;
        let id = connection.session(client, sequence).await;
        Self { connection, client, id, sequence: 0 }
    }

    /// SEQUENCE on slot 0 and these; the reply after SEQUENCE's result.
    pub async fn run(&mut self, ops: Ops) -> Reply {
        self.sequence += 1;
        let mut reply = self.connection.run(Ops::sequence(self.id, self.sequence, 0, false).then(ops)).await;
        if reply.count > 0 && reply.bytes.len() > 12 {
            let (code, status) = reply.head();
            assert_eq!(code, Code::Sequence as u32);
            if status == Status::Ok {
                reply.from.fixed_opaque(36).expect("SEQUENCE's result");
            }
        }
        reply
    }

    pub async fn status(&mut self, ops: Ops) -> Status {
        self.run(ops).await.status
    }

    /// Opens a file of /export, to read and write, and makes it if need be: {handle, stateid}.
    pub async fn create(&mut self, name: &str) -> (Bytes, Stateid) {
        let ops = Ops::new().at("export").create(b"owner", name.as_bytes(), BOTH, 0).getfh();
        let mut reply = self.run(ops).await;
        let stateid = reply.skip(&[Code::Putrootfh, Code::Lookup]).opened();
        (reply.handle(), stateid)
    }

    pub async fn handle(&mut self, path: &str) -> Bytes {
        let mut reply = self.run(Ops::new().at(path).getfh()).await;
        let depth = path.split('/').filter(|name| !name.is_empty()).count();
        reply.ok(Code::Putrootfh);
        for _ in 0..depth {
            reply.ok(Code::Lookup);
        }
        reply.handle()
    }
}
