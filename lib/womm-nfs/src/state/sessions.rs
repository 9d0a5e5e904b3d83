//! Sessions (RFC 8881, 18.36, 18.37, 18.46).

use super::State;
use super::slots::{Admission, Slots};
use crate::limits::{
    LEAST_MESSAGE, LEAST_OPERATIONS, MOST_CACHED, MOST_MESSAGE, MOST_OPERATIONS, MOST_SESSIONS_OF_CLIENT, MOST_SLOTS,
    OWN_KEPT_BYTES,
};
use crate::rpc::Principal;
use crate::status::Status;
use crate::wire::{ClientId, SessionId};
use crate::xdr::{Decoder, Encoder, Malformed};
use bytes::Bytes;
use std::time::Duration;

/// channel_attrs4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel {
    /// The longest call, bytes.
    pub request: u32,
    /// The longest reply, bytes.
    pub response: u32,
    /// The longest reply that is kept, bytes.
    pub cached: u32,
    /// Operations of a compound.
    pub operations: u32,
    /// Calls at once.
    pub slots: u32,
}

impl Channel {
    /// # Errors
    /// It is not there.
    pub fn decode(from: &mut Decoder) -> Result<Self, Malformed> {
        from.u32()?; // ca_headerpadsize: none
        let channel = Self {
            request: from.u32()?,
            response: from.u32()?,
            cached: from.u32()?,
            operations: from.u32()?,
            slots: from.u32()?,
        };
        from.list(1, Decoder::u32)?; // ca_rdma_ird
        Ok(channel)
    }

    /// Writes it.
    pub fn encode(&self, to: &mut Encoder) {
        to.u32(0).u32(self.request).u32(self.response).u32(self.cached).u32(self.operations).u32(self.slots).u32(0);
    }

    /// As much of it as we give.
    fn negotiated(self) -> Self {
        Self {
            request: self.request.min(MOST_MESSAGE),
            response: self.response.min(MOST_MESSAGE),
            cached: self.cached.min(MOST_CACHED),
            operations: self.operations.min(MOST_OPERATIONS),
            slots: self.slots.min(MOST_SLOTS),
        }
    }

    fn is_too_small(&self) -> bool {
        self.request < LEAST_MESSAGE
            || self.response < LEAST_MESSAGE
            || self.operations < LEAST_OPERATIONS
            || self.slots == 0
    }
}

/// What CREATE_SESSION comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Made {
    /// A session.
    New(SessionId),
    /// A retry: what was answered before.
    Before(Bytes),
}

/// A session.
#[derive(Debug)]
pub struct Session {
    /// Whose it is.
    pub client: ClientId,
    /// What was agreed on.
    pub fore: Channel,
    /// The same for callbacks, of which we make none.
    pub back: Channel,
    slots: Slots,
    connections: Vec<u64>,
}

/// A reply that is to be kept, before it is known, bytes.
const LIKELY_REPLY: usize = 512;
/// Connections of a session that are remembered: those that it was used on last.
const MOST_BOUND: usize = 64;

impl Session {
    /// Whether it was used on the connection.
    pub fn is_bound(&self, connection: u64) -> bool {
        self.connections.contains(&connection)
    }

    fn bind(&mut self, connection: u64) {
        if self.connections.last() == Some(&connection) {
            return;
        }
        self.connections.retain(|other| *other != connection);
        if self.connections.len() == MOST_BOUND {
            self.connections.remove(0);
        }
        self.connections.push(connection);
    }
}

/// A call as its SEQUENCE describes it.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// sa_sessionid.
    pub session: SessionId,
    /// sa_slotid.
    pub slot: u32,
    /// sa_sequenceid.
    pub sequence: u32,
    /// sa_highest_slotid.
    pub highest: u32,
    /// Its operations.
    pub operations: u32,
    /// Its bytes.
    pub bytes: usize,
    /// The least that its reply has, bytes.
    pub least_reply: usize,
    /// sa_cachethis.
    pub cache: bool,
    /// Of what it asks for.
    pub fingerprint: u64,
    /// What it came over.
    pub connection: u64,
}

/// A call that was let in.
#[derive(Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Whose it is.
    pub client: ClientId,
    /// What its session agreed on.
    pub fore: Channel,
    /// How it goes on.
    pub admission: Admission,
}

impl State {
    /// CREATE_SESSION; [`State::keep_session_reply`] is due after a new one.
    ///
    /// # Errors
    /// STALE_CLIENTID, SEQ_MISORDERED, CLID_INUSE, TOOSMALL, NOSPC, DELAY: none of them uses up the sequence number.
    #[expect(clippy::too_many_arguments, reason = "CREATE_SESSION has so many")]
    pub fn create_session(
        &mut self,
        id: ClientId,
        sequence: u32,
        principal: &Principal,
        fore: Channel,
        back: Channel,
        connection: u64,
        now: Duration,
    ) -> Result<Made, Status> {
        let lease = self.settings.lease;
        let client = self.client_mut(id)?;
        if !client.confirmed && now > client.renewed + lease {
            self.remove_client(id);
            return Err(Status::StaleClientId);
        }
        if sequence == client.create_sequence {
            return client.create_reply.clone().map(Made::Before).ok_or(Status::Misordered);
        }
        if sequence != client.create_sequence.wrapping_add(1) {
            return Err(Status::Misordered);
        }
        if !client.confirmed && client.principal != *principal {
            return Err(Status::ClientIdInUse);
        }
        if fore.is_too_small() || back.is_too_small() {
            return Err(Status::TooSmall);
        }
        if client.sessions.len() >= MOST_SESSIONS_OF_CLIENT {
            return Err(Status::NoSpace);
        }
        self.room_for_session(id, now)?;
        let client = self.client_mut(id)?;
        client.create_sequence = sequence;
        client.create_reply = None;
        client.renewed = now;
        self.confirm(id);
        let mut name = [0; 16];
        name[..8].copy_from_slice(&id.0.to_be_bytes());
        name[8..].copy_from_slice(&self.unguessable().to_be_bytes());
        let session = SessionId(name);
        let fore = fore.negotiated();
        let slots = Slots::new(fore.slots);
        // Of the back channel nothing is changed: a Linux client refuses less, and we don't use it.
        self.sessions.insert(session, Session { client: id, fore, back, slots, connections: vec![connection] });
        self.client_mut(id)?.sessions.push(session);
        Ok(Made::New(session))
    }

    /// What the last CREATE_SESSION was answered, for a retry.
    pub fn keep_session_reply(&mut self, id: ClientId, reply: Bytes) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.create_reply = Some(reply);
        }
    }

    /// # Errors
    /// BADSESSION.
    pub fn session(&self, id: SessionId) -> Result<&Session, Status> {
        self.sessions.get(&id).ok_or(Status::BadSession)
    }

    /// BIND_CONN_TO_SESSION.
    ///
    /// # Errors
    /// BADSESSION.
    pub fn bind(&mut self, id: SessionId, connection: u64) -> Result<(), Status> {
        self.sessions.get_mut(&id).ok_or(Status::BadSession)?.bind(connection);
        Ok(())
    }

    /// DESTROY_SESSION.
    ///
    /// # Errors
    /// BADSESSION.
    pub fn destroy_session(&mut self, id: SessionId) -> Result<(), Status> {
        let owner = self.session(id)?.client;
        self.remove_session(id);
        if let Some(client) = self.clients.get_mut(&owner) {
            client.sessions.retain(|other| *other != id);
        }
        Ok(())
    }

    pub(super) fn remove_session(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.remove(&id) {
            let kept = session.slots.kept();
            self.kept -= kept;
            if let Some(client) = self.clients.get_mut(&session.client) {
                client.kept -= kept;
            }
        }
    }

    /// Whether there is room for a client to have more replies kept. Half of what there is, is for whoever comes first; of the other half
    /// each session has its own part, so that one who fills all there is does not stop the others.
    fn may_keep(&self, client: ClientId, more: usize, shared: usize) -> bool {
        let own = self.clients.get(&client);
        let (kept, parts) = own.map_or((0, 0), |client| (client.kept, client.sessions.len()));
        self.kept + more <= shared || kept + more <= parts * OWN_KEPT_BYTES
    }

    /// SEQUENCE: lets a call in, renews the lease.
    ///
    /// # Errors
    /// BADSESSION, BADSLOT, BAD_HIGH_SLOT, TOO_MANY_OPS, REQ_TOO_BIG, SEQ_MISORDERED, SEQ_FALSE_RETRY, DELAY.
    pub fn sequence(&mut self, call: &Call, now: Duration) -> Result<Admitted, Status> {
        let of_slot = self.session(call.session)?.slots.kept_of(call.slot);
        // Well before there is no room for those on the way. What the slot gives back may be kept in its place: so a client that keeps a
        // little in each slot, as a Linux client does, is never told to wait before it may give something back.
        let more = LIKELY_REPLY.saturating_sub(of_slot);
        let full = more > 0 && !self.may_keep(self.session(call.session)?.client, more, self.settings.most_kept / 4);
        let session = self.sessions.get_mut(&call.session).ok_or(Status::BadSession)?;
        let (client, fore) = (session.client, session.fore);
        if call.slot >= session.slots.count() {
            return Err(Status::BadSlot);
        }
        if call.highest >= session.slots.count() {
            return Err(Status::BadHighSlot);
        }
        if call.bytes > fore.request as usize {
            return Err(Status::RequestTooBig);
        }
        if call.operations > fore.operations {
            return Err(Status::TooManyOperations);
        }
        if call.least_reply > fore.response as usize {
            return Err(Status::ReplyTooBig);
        }
        if call.cache && call.least_reply > fore.cached as usize {
            return Err(Status::ReplyTooBigToCache);
        }
        if call.cache && full {
            return Err(Status::Delay);
        }
        let (admission, freed) = session.slots.begin(call.slot, call.sequence, call.fingerprint)?;
        session.bind(call.connection);
        self.kept -= freed;
        if let Some(client) = self.clients.get_mut(&client) {
            client.renewed = now;
            client.calls = true;
            client.kept -= freed;
        }
        Ok(Admitted { client, fore, admission })
    }

    /// The call was done; the reply is kept if there is one. A lease does not run out while a call is worked on.
    pub fn finish(&mut self, session: SessionId, slot: u32, reply: Option<Bytes>, now: Duration) {
        let Some(owner) = self.sessions.get(&session).map(|session| session.client) else { return };
        // Without room, the retry of a call that many others overtook is told that it was done (RETRY_UNCACHED_REP).
        let reply = reply.filter(|reply| self.may_keep(owner, reply.len(), self.settings.most_kept / 2));
        let Some(session) = self.sessions.get_mut(&session) else { return };
        let kept = reply.as_ref().map_or(0, Bytes::len);
        self.kept += kept;
        session.slots.finish(slot, reply);
        if let Some(client) = self.clients.get_mut(&session.client) {
            client.renewed = now;
            client.kept += kept;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{arrival, channel, join, state};
    use super::*;

    const NOW: Duration = Duration::from_secs(5);

    fn call(session: SessionId) -> Call {
        Call {
            session,
            slot: 0,
            sequence: 1,
            highest: 0,
            operations: 2,
            bytes: 200,
            least_reply: 100,
            cache: true,
            fingerprint: 0,
            connection: 1,
        }
    }

    #[test]
    fn limits_are_negotiated() {
        let much = Channel { request: u32::MAX, response: u32::MAX, cached: u32::MAX, operations: 9999, slots: 9999 };
        let given = much.negotiated();
        assert_eq!(given.request, MOST_MESSAGE);
        assert_eq!((given.operations, given.slots, given.cached), (MOST_OPERATIONS, MOST_SLOTS, MOST_CACHED));
        assert_eq!(channel().negotiated(), channel());
    }

    #[test]
    fn a_retry_of_create_session_gets_the_first_reply() {
        let mut state = state();
        let (id, _) = join(&mut state, &arrival(b"a", 1), NOW);
        state.keep_session_reply(id, Bytes::from_static(b"first"));
        let mut create =
            |sequence| state.create_session(id, sequence, &Principal::User(7), channel(), channel(), 1, NOW);
        assert_eq!(create(1), Ok(Made::Before(Bytes::from_static(b"first"))));
        assert_eq!(create(0), Err(Status::Misordered));
        assert_eq!(create(3), Err(Status::Misordered));
        assert!(matches!(create(2), Ok(Made::New(_))), "once confirmed, any user may");
    }

    #[test]
    fn what_is_refused_uses_up_no_sequence_number() {
        let mut state = state();
        let known = state.exchange_id(&arrival(b"a", 1), NOW).expect("taken");
        let mut create = |sequence, user, fore| {
            state.create_session(known.id, sequence, &Principal::User(user), fore, channel(), 1, NOW)
        };
        let small = Channel { response: 0, ..channel() };
        assert_eq!(create(0, 0, channel()), Err(Status::Misordered), "there was none before it");
        assert_eq!(create(1, 1, channel()), Err(Status::ClientIdInUse));
        assert_eq!(create(1, 0, small), Err(Status::TooSmall));
        assert!(matches!(create(1, 0, channel()), Ok(Made::New(_))));
    }

    #[test]
    fn a_call_beyond_what_was_agreed_is_refused() {
        let mut state = state();
        let (_, session) = join(&mut state, &arrival(b"a", 1), NOW);
        let refused = |state: &mut State, call: Call| state.sequence(&call, NOW).expect_err("refused");
        assert_eq!(refused(&mut state, call(SessionId([0; 16]))), Status::BadSession);
        assert_eq!(refused(&mut state, Call { slot: 8, highest: 8, ..call(session) }), Status::BadSlot);
        assert_eq!(refused(&mut state, Call { highest: 8, ..call(session) }), Status::BadHighSlot);
        assert_eq!(refused(&mut state, Call { bytes: 8193, ..call(session) }), Status::RequestTooBig);
        assert_eq!(refused(&mut state, Call { operations: 17, ..call(session) }), Status::TooManyOperations);
        assert_eq!(refused(&mut state, Call { least_reply: 4097, ..call(session) }), Status::ReplyTooBigToCache);
        let admitted = state.sequence(&call(session), NOW).expect("let in");
        assert_eq!(admitted.admission, Admission::New);
    }

    /// Lets a call in and answers it.
    fn answered(state: &mut State, call: Call, bytes: usize) -> Result<(), Status> {
        state.sequence(&call, NOW)?;
        state.finish(call.session, call.slot, Some(Bytes::from(vec![0; bytes])), NOW);
        Ok(())
    }

    /// Fills what is for whoever comes first: those of eight slots of each session.
    fn fill(state: &mut State, client: ClientId, first: SessionId, bytes: usize) -> Vec<SessionId> {
        let mut sessions = vec![first];
        for sequence in 2.. {
            for slot in 0..8 {
                let call = Call { slot, ..call(sessions[sessions.len() - 1]) };
                if answered(state, call, bytes) == Err(Status::Delay) {
                    return sessions;
                }
            }
            let made = state.create_session(client, sequence, &Principal::User(0), channel(), channel(), 1, NOW);
            let Ok(Made::New(session)) = made else { panic!("{made:?}") };
            sessions.push(session);
        }
        sessions
    }

    #[test]
    fn replies_that_are_kept_have_a_bound() {
        let mut state = state();
        let most = state.settings.most_kept;
        let (id, first) = join(&mut state, &arrival(b"greedy", 1), NOW);
        let sessions = fill(&mut state, id, first, 60 << 10);
        assert!(state.kept <= most / 2);
        // What was let in already may find no room: then it is not kept.
        let (_, other) = join(&mut state, &arrival(b"other", 1), NOW);
        let calls: Vec<_> = (0..8).map(|slot| Call { slot, ..call(other) }).collect();
        calls.iter().for_each(|call| assert!(state.sequence(call, NOW).is_ok()));
        for call in &calls {
            state.finish(other, call.slot, Some(Bytes::from(vec![0; 8 << 10])), NOW);
        }
        assert_eq!(
            state.sequence(&calls[0], NOW).map(|admitted| admitted.admission),
            Ok(Admission::Replay(vec![0; 8 << 10].into()))
        );
        assert!(state.kept <= most);
        let all = sessions.iter().chain([&other]);
        all.for_each(|session| state.destroy_session(*session).expect("it is there"));
        assert_eq!((state.kept, state.clients.values().map(|client| client.kept).sum::<usize>()), (0, 0));
    }

    #[test]
    fn who_keeps_a_little_is_never_told_to_wait() {
        let mut state = state();
        let (greedy, first) = join(&mut state, &arrival(b"greedy", 1), NOW);
        let (_, other) = join(&mut state, &arrival(b"other", 1), NOW);
        let sessions = fill(&mut state, greedy, first, 60 << 10);
        for sequence in 1..20 {
            for slot in 0..8 {
                let call = Call { sequence, slot, ..call(other) };
                assert_eq!(answered(&mut state, call, 500), Ok(()), "{sequence} in {slot}");
                assert!(matches!(state.sequence(&call, NOW), Ok(Admitted { admission: Admission::Replay(_), .. })));
            }
        }
        // Who has too much may go on in a slot that gives as much back.
        let full = *sessions.last().expect("there is one");
        let slots = &state.session(full).expect("it is there").slots;
        let free = (0..8).find(|slot| slots.kept_of(*slot) == 0).expect("one was refused");
        let used = (0..8).find(|slot| slots.kept_of(*slot) > 0).map(|slot| (full, slot)).unwrap_or((first, 0));
        assert_eq!(answered(&mut state, Call { slot: free, ..call(full) }, 500), Err(Status::Delay));
        assert_eq!(answered(&mut state, Call { sequence: 2, slot: used.1, ..call(used.0) }, 500), Ok(()));
    }
}
