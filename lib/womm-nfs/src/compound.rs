//! COMPOUND: operations one after another, to the first that fails (RFC 8881, 16.2). Position rules, the size of the reply
//! and the slot's replay are here; what an operation does is in its own file.

use crate::budget::{Budget, Hold};
use crate::exports::{Export, Owner, PSEUDO, Tree};
use crate::fault::{Fault, caught};
use crate::handle::{self, Handle};
use crate::limits::{MOST_MESSAGE, WAIT_FOR_TURN};
use crate::operations::{self, Code};
use crate::rpc::{Credentials, SUCCESS_BYTES};
use crate::server::Server;
use crate::state::FileKey;
use crate::state::sessions::Channel;
use crate::status::Status;
use crate::wire::{ClientId, SessionId, Stateid};
use crate::xdr::{Decoder, Encoder, Malformed};
use bytes::Bytes;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use womm_vfs::{Attributes, Kind, NodeId, Vfs};

/// utf8str_cs of a compound, bytes: of no use to us, and in every reply.
const MOST_TAG: usize = 1024;
/// Room that an operation which changes something must have for its result beforehand, bytes.
const CHANGING_RESULT: usize = 160;
/// Of a reply, what is not counted: nearly all replies are smaller, bytes.
const SMALL_REPLY: usize = 4096;
/// What goes beyond it is counted in steps of so many bytes.
const REPLY_STEP: usize = 16 << 10;
/// Of a failed operation's result, bytes.
const FAILED_RESULT: usize = 8;

/// Who asks, from where.
#[derive(Debug)]
pub struct Caller {
    /// Who.
    pub credentials: Credentials,
    /// Where he is.
    pub address: IpAddr,
    /// Over which connection.
    pub connection: u64,
    /// Memory for the reply.
    pub budget: Budget,
}

/// A current or saved file handle.
#[derive(Debug)]
pub enum Object<V> {
    /// A folder of the pseudo file system.
    Folder(NodeId),
    /// A node of an export.
    Node(Arc<Export<V>>, NodeId),
}

impl<V> Clone for Object<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Folder(node) => Self::Folder(*node),
            Self::Node(export, node) => Self::Node(export.clone(), *node),
        }
    }
}

/// The slot that the compound holds, until it is done; given back without a reply if it is never done.
struct Slot<V: Vfs> {
    server: Server<V>,
    session: SessionId,
    slot: u32,
    reply: Option<Bytes>,
}

impl<V: Vfs> Drop for Slot<V> {
    fn drop(&mut self) {
        let reply = self.reply.take();
        self.server.with_state(|state, now| state.finish(self.session, self.slot, reply, now));
    }
}

/// The session that a compound is in.
pub struct Bound<V: Vfs> {
    /// Whose it is.
    pub client: ClientId,
    /// Which.
    pub session: SessionId,
    fore: Channel,
    cache: bool,
    slot: Slot<V>,
}

/// Why an operation failed.
#[derive(Debug)]
pub struct Failure {
    /// Its status.
    pub status: Status,
    /// What comes after the status, for the few that have something then.
    pub body: Option<Encoder>,
}

impl<S: Into<Status>> From<S> for Failure {
    fn from(status: S) -> Self {
        Self { status: status.into(), body: None }
    }
}

/// What an operation comes to: its result was written, or not.
pub type Outcome = Result<(), Failure>;

/// What SEQUENCE says of the whole compound.
pub enum Entry<V: Vfs> {
    /// It is to be done.
    New(Bound<V>),
    /// It was done, and this was the reply.
    Replay(Bytes),
    /// It was done, and its reply is gone.
    Uncached,
}

/// A compound that is being done.
pub struct Compound<'a, V: Vfs> {
    /// By whom it is done.
    pub server: &'a Server<V>,
    /// Who asks.
    pub caller: &'a Caller,
    /// 1 or 2.
    pub minor: u32,
    /// How many operations it has.
    pub operations: u32,
    /// Bytes of the call.
    pub bytes: usize,
    /// Of what it asks for, to tell a retry from another call.
    pub fingerprint: u64,
    /// Bytes of a reply that has no results yet.
    pub head: usize,
    /// All exports as they were when it began.
    pub tree: Arc<Tree<V>>,
    /// The session, after SEQUENCE.
    pub bound: Option<Bound<V>>,
    /// The current file handle.
    pub current: Option<Object<V>>,
    /// The saved one.
    pub saved: Option<Object<V>>,
    /// The current stateid.
    pub stateid: Option<Stateid>,
    /// The saved one.
    pub saved_stateid: Option<Stateid>,
    /// Bytes that the result of this operation may have.
    pub room: usize,
    /// Whether this operation is the last.
    pub last: bool,
    /// Memory of the reply.
    pub hold: Hold,
    /// Bytes of it that were counted.
    counted: usize,
    /// What was just learned of the current node, so that it is not asked for again.
    pub fresh: Option<Attributes>,
    turns: Vec<(u64, OwnedSemaphorePermit)>,
}

/// Does one; answers COMPOUND4res and the memory that is counted for it.
///
/// # Errors
/// The arguments can't be read (GARBAGE_ARGS).
pub async fn run<V: Vfs>(
    server: &Server<V>,
    caller: &Caller,
    mut arguments: Decoder,
) -> Result<(Encoder, Hold), Malformed> {
    let bytes = arguments.remaining();
    let (tag, minor) = (arguments.opaque(MOST_TAG)?, arguments.u32()?);
    let operations = arguments.u32()?;
    let refuse = |status| Ok((reply(status, &tag, 0, Encoder::new()), Hold::default()));
    if !(1..=2).contains(&minor) {
        return refuse(Status::MinorVersionMismatch);
    }
    if std::str::from_utf8(&tag).is_err() {
        return refuse(Status::Invalid);
    }
    let compound = Compound {
        server,
        caller,
        minor,
        operations,
        bytes: bytes + SUCCESS_BYTES,
        fingerprint: fingerprint(caller, &arguments),
        head: SUCCESS_BYTES + 12 + tag.len().next_multiple_of(4),
        tree: server.exports().now(),
        bound: None,
        current: None,
        saved: None,
        stateid: None,
        saved_stateid: None,
        room: 0,
        last: false,
        hold: Hold::default(),
        counted: 0,
        fresh: None,
        turns: Vec::new(),
    };
    compound.run(&tag, arguments).await
}

/// COMPOUND4res.
fn reply(status: Status, tag: &[u8], count: u32, results: Encoder) -> Encoder {
    let mut to = Encoder::new();
    to.u32(status as u32).opaque(tag).u32(count).append(results);
    to
}

/// Of who asks for what: of long calls the beginning and the length.
fn fingerprint(caller: &Caller, arguments: &Decoder) -> u64 {
    use std::hash::{Hash, Hasher};
    const ENOUGH: usize = 512;
    let rest = arguments.rest();
    let mut hasher = siphasher::sip::SipHasher13::new();
    (caller.credentials.user, rest.len(), &rest[..rest.len().min(ENOUGH)]).hash(&mut hasher);
    hasher.finish()
}

impl<V: Vfs> Compound<'_, V> {
    async fn run(mut self, tag: &[u8], mut arguments: Decoder) -> Result<(Encoder, Hold), Malformed> {
        let mut results = Encoder::new();
        let (mut done, mut status) = (0, Status::Ok);
        while done < self.operations && status == Status::Ok {
            self.last = done + 1 == self.operations;
            let number = match arguments.u32() {
                Ok(number) => number,
                // Less came than was announced. What was done before stays done, and is answered.
                Err(malformed) if done == 0 => return Err(malformed),
                Err(_) => {
                    results.u32(Code::Illegal as u32).u32(Status::BadXdr as u32);
                    (done, status) = (done + 1, Status::BadXdr);
                    break;
                }
            };
            let code = Code::from_number(number, self.minor);
            if done == 0 && code == Code::Sequence {
                let mut result = Encoder::new();
                match operations::sequence::admit(&self, &mut arguments, &mut result) {
                    Ok(Entry::New(bound)) => self.bound = Some(bound),
                    Ok(Entry::Replay(bytes)) => {
                        let mut to = Encoder::new();
                        to.fixed_opaque(&bytes);
                        return Ok((to, self.hold));
                    }
                    Ok(Entry::Uncached) => {
                        results.u32(number).u32(Status::Ok as u32).append(result);
                        let second = arguments.u32().map_or(Code::Illegal, |next| Code::from_number(next, self.minor));
                        results.u32(second as u32).u32(Status::RetryUncached as u32);
                        return Ok((reply(Status::RetryUncached, tag, 2, results), self.hold));
                    }
                    Err(refused) => status = refused,
                }
                results.u32(number).u32(status as u32);
                if status == Status::Ok {
                    results.append(result);
                }
                done += 1;
                continue;
            }
            status = self.one(code, done, &mut arguments, &mut results).await;
            done += 1;
        }
        let to = reply(status, tag, done, results);
        if let Some(bound) = &mut self.bound {
            // A SEQUENCE by itself costs nothing to keep.
            if bound.cache || self.operations == 1 {
                bound.slot.reply = Some(to.clone().into_bytes());
            }
        }
        Ok((to, self.hold))
    }

    /// Does one operation and writes its result.
    async fn one(&mut self, code: Code, done: u32, arguments: &mut Decoder, results: &mut Encoder) -> Status {
        let mut result = Encoder::new();
        let used = self.head + results.len() + FAILED_RESULT;
        let possible = match self.check_position(code, done).and_then(|()| self.check_room(code, used)) {
            Ok(()) if results.len() > self.counted + SMALL_REPLY => {
                self.hold_reply((results.len() - self.counted).next_multiple_of(REPLY_STEP)).await
            }
            possible => possible,
        };
        let outcome = match possible {
            Ok(()) => {
                // A bug in one operation is that operation's SERVERFAULT: without an answer its client would wait until it connects
                // anew, and its slot would forget the call.
                let operation = pin!(operations::run(code, self, arguments, &mut result));
                caught(operation).await.unwrap_or_else(|Fault| Err(Status::ServerFault.into()))
            }
            Err(status) => Err(status.into()),
        };
        if code.changes() && code != Code::Open {
            self.fresh = None; // OPEN knows better
        }
        if outcome.is_ok() && code.takes_from_others() {
            self.server.settle().await;
        }
        let outcome = match outcome {
            Ok(()) if result.len() > self.room => Err(self.too_big().into()),
            Err(Failure { body: Some(body), .. }) if body.len() > self.room => Err(self.too_big().into()),
            outcome => outcome,
        };
        results.u32(code as u32);
        match outcome {
            Ok(()) => {
                results.u32(Status::Ok as u32).append(result);
                Status::Ok
            }
            Err(Failure { status, body }) => {
                results.u32(status as u32).append(body.unwrap_or_default());
                status
            }
        }
    }

    /// RFC 8881, 2.10.2.1 and 18.46.3.
    fn check_position(&self, code: Code, done: u32) -> Result<(), Status> {
        match code {
            Code::Illegal => Err(Status::IllegalOperation),
            Code::Sequence => Err(Status::SequencePosition),
            _ if self.bound.is_none() && !code.stands_alone() => Err(Status::NotInSession),
            _ if self.bound.is_none() && self.operations != 1 => Err(Status::NotOnlyOperation),
            Code::BindConnToSession if done != 0 => Err(Status::NotOnlyOperation),
            _ => Ok(()),
        }
    }

    fn check_room(&mut self, code: Code, used: usize) -> Result<(), Status> {
        let most = match &self.bound {
            Some(Bound { fore, cache: true, .. }) => fore.response.min(fore.cached),
            Some(bound) => bound.fore.response,
            None => MOST_MESSAGE,
        };
        self.room = (most as usize).saturating_sub(used);
        let needed = if code.changes() { CHANGING_RESULT } else { 0 };
        if used > most as usize || self.room < needed { Err(self.too_big()) } else { Ok(()) }
    }

    /// Takes memory for so much more of the reply.
    ///
    /// # Errors
    /// DELAY if there is none for a while.
    pub async fn hold_reply(&mut self, bytes: usize) -> Result<(), Status> {
        self.hold.add(self.caller.budget.reply(bytes).await?);
        self.counted += bytes;
        Ok(())
    }

    /// The reply would be longer than its session has agreed on.
    pub fn too_big(&self) -> Status {
        match &self.bound {
            Some(Bound { fore, cache: true, .. }) if fore.cached < fore.response => Status::ReplyTooBigToCache,
            _ => Status::ReplyTooBig,
        }
    }

    /// A session for this compound.
    pub(crate) fn bound(
        &self,
        client: ClientId,
        session: SessionId,
        slot: u32,
        fore: Channel,
        cache: bool,
    ) -> Bound<V> {
        let slot = Slot { server: self.server.clone(), session, slot, reply: None };
        Bound { client, session, fore, cache, slot }
    }

    /// The client of the session.
    ///
    /// # Errors
    /// OP_NOT_IN_SESSION.
    pub fn client(&self) -> Result<ClientId, Status> {
        self.bound.as_ref().map(|bound| bound.client).ok_or(Status::NotInSession)
    }

    /// The current file handle.
    ///
    /// # Errors
    /// NOFILEHANDLE.
    pub fn object(&self) -> Result<&Object<V>, Status> {
        self.current.as_ref().ok_or(Status::NoFileHandle)
    }

    /// Makes another the current file handle. The current stateid goes with the old one (RFC 8881, 16.2.3.1.2).
    pub fn set_current(&mut self, object: Object<V>) {
        self.current = Some(object);
        self.stateid = None;
        self.fresh = None;
    }

    /// Who owns the current object.
    pub fn owner(&self) -> Owner {
        match &self.current {
            Some(Object::Node(export, _)) => export.terms.owner,
            Some(Object::Folder(_)) | None => Owner::default(),
        }
    }

    /// The current node of an export, to look at.
    ///
    /// # Errors
    /// NOFILEHANDLE; for the pseudo file system, what it has instead.
    pub fn node(&self, of_pseudo: Status) -> Result<(Arc<Export<V>>, NodeId), Status> {
        match self.object()? {
            Object::Folder(_) => Err(of_pseudo),
            Object::Node(export, node) => Ok((export.clone(), *node)),
        }
    }

    /// The same, to change: not in a read-only export.
    ///
    /// # Errors
    /// NOFILEHANDLE; ROFS.
    pub fn node_to_change(&self) -> Result<(Arc<Export<V>>, NodeId), Status> {
        let (export, node) = self.node(Status::ReadOnly)?;
        Self::check_change(&export)?;
        Ok((export, node))
    }

    /// Whether an export may be changed.
    ///
    /// # Errors
    /// ROFS; STALE once its task is over.
    pub fn check_change(export: &Export<V>) -> Result<(), Status> {
        match () {
            () if export.is_drained() => Err(Status::Stale),
            () if export.terms.read_only => Err(Status::ReadOnly),
            () => Ok(()),
        }
    }

    /// A stateid of the arguments: the current one if that is meant (RFC 8881, 16.2.3.1.2).
    ///
    /// # Errors
    /// BAD_STATEID if there is none.
    pub fn resolve(&self, stateid: Stateid) -> Result<Stateid, Status> {
        if stateid == Stateid::CURRENT { self.stateid.ok_or(Status::BadStateid) } else { Ok(stateid) }
    }

    /// Waits for a turn at an export's backend, once in a compound.
    ///
    /// # Errors
    /// DELAY if the client has enough calls waiting there.
    pub async fn turn(&mut self, export: &Export<V>) -> Result<(), Status> {
        if self.turns.iter().any(|(number, _)| *number == export.number) {
            return Ok(());
        }
        let client = self.client()?;
        let turns = self.server.with_state(|state, _| state.turns(client, export.number))?;
        let turn = match turns.clone().try_acquire_owned() {
            Ok(turn) => turn,
            Err(_) => {
                let waited = tokio::time::timeout(WAIT_FOR_TURN, turns.acquire_owned()).await;
                waited.map_err(|_| Status::Delay)?.map_err(|_| Status::Delay)?
            }
        };
        self.turns.push((export.number, turn));
        Ok(())
    }

    /// Attributes of an object. Those of a root come at once.
    ///
    /// # Errors
    /// Of the file system.
    pub async fn attributes(&mut self, object: &Object<V>) -> Result<Attributes, Status> {
        let (export, node) = match object {
            Object::Folder(node) => return Ok(self.server.exports().folder_attributes(*node)),
            Object::Node(export, node) => (export, *node),
        };
        if node != export.vfs.root() {
            self.turn(export).await?;
        }
        let context = self.server.context(self.client()?);
        let mut answers = export.vfs.getattr(&context, &[node]).await;
        Ok(answers.pop().ok_or(Status::ServerFault)??)
    }

    /// Attributes of the current object, as new as this compound.
    ///
    /// # Errors
    /// NOFILEHANDLE; of the file system.
    pub async fn current_attributes(&mut self) -> Result<Attributes, Status> {
        if let Some(fresh) = &self.fresh {
            return Ok(fresh.clone());
        }
        let object = self.object()?.clone();
        let attributes = self.attributes(&object).await?;
        self.fresh = Some(attributes.clone());
        Ok(attributes)
    }

    /// Whether the caller may do this to the object: bits as in a mode. To us he is the owner; root may do all that root may
    /// on a disk of its own.
    ///
    /// # Errors
    /// ACCESS; of the file system.
    pub async fn check_mode(&mut self, object: &Object<V>, bits: u32) -> Result<(), Status> {
        if self.caller.credentials.user == 0 {
            return Ok(());
        }
        let attributes = self.attributes(object).await?;
        if permitted(&attributes, self.caller.credentials.user) & bits == bits { Ok(()) } else { Err(Status::Access) }
    }

    /// The current object is a file: what OPEN, READ and the like are for.
    ///
    /// # Errors
    /// ISDIR, SYMLINK; NOFILEHANDLE; of the file system.
    pub async fn check_file(&mut self, otherwise: Status) -> Result<(), Status> {
        match self.current_attributes().await?.kind {
            Kind::File => Ok(()),
            Kind::Folder => Err(Status::IsDirectory),
            Kind::Symlink => Err(otherwise),
        }
    }

    /// The bytes of a handle.
    pub fn seal(&self, object: &Object<V>) -> [u8; handle::LENGTH] {
        let handle = match object {
            Object::Folder(node) => Handle { export: PSEUDO, node: *node, generation: 0 },
            Object::Node(export, node) => {
                Handle { export: export.number, node: *node, generation: export.vfs.generation() }
            }
        };
        self.server.folder().key.seal(&handle)
    }

    /// NOTDIR is SYMLINK for a symlink.
    pub async fn not_a_folder(&mut self, object: &Object<V>, status: Status) -> Status {
        if status != Status::NotDirectory && status != Status::Symlink {
            return status;
        }
        match self.attributes(object).await {
            Ok(attributes) if attributes.kind == Kind::Symlink => Status::Symlink,
            Ok(attributes) if attributes.kind == Kind::File => Status::NotDirectory,
            _ => status,
        }
    }
}

/// What a file is called in the state.
pub fn key<V>(export: &Export<V>, node: NodeId) -> FileKey {
    FileKey { export: export.number, node }
}

/// Bits of the mode that hold for a caller, as for the owner; root's are those of root.
pub fn permitted(attributes: &Attributes, user: u32) -> u32 {
    let owner = attributes.mode >> 6 & 7;
    if user != 0 {
        return owner;
    }
    let executable = attributes.mode & 0o111 != 0 || attributes.kind == Kind::Folder;
    0o6 | u32::from(executable)
}
