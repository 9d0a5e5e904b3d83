//! What the server knows of its clients: ids, sessions, opens, locks. No I/O and no waiting: every call is given the time and
//! answers at once; what is to be done outside is left in [`Effects`].
//!
//! | part | module |
//! |---|---|
//! | client ids, leases, revocation | [`clients`] |
//! | sessions | [`sessions`] |
//! | their slots | [`slots`] |
//! | opens, share reservations, stateids | [`opens`] |
//! | lock owners | [`lockers`] |
//! | byte ranges | [`locks`] |
//! | grace | [`grace`] |
//! | bounds of all this | [`room`] |

pub mod clients;
pub mod grace;
pub mod lockers;
pub mod locks;
pub mod opens;
mod room;
pub mod sessions;
pub mod slots;

use crate::journal::ClientRecord;
use crate::wire::{ClientId, Owner, SessionId};
use bytes::Bytes;
use clients::Client;
use grace::Grace;
use opens::{FileState, OpenState};
use sessions::Session;
use siphasher::sip::SipHasher24;
use std::collections::HashMap;
use std::hash::Hasher;
use std::time::Duration;
use womm_vfs::NodeId;

/// A file of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileKey {
    /// Its export's number.
    pub export: u64,
    /// Its node.
    pub node: NodeId,
}

/// What is given for the life of the server.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long a client may be silent.
    pub lease: Duration,
    /// Random, of this boot: Linux takes servers whose client ids match for one.
    pub boot: u32,
    /// Random, so that nobody guesses another's client id or session.
    pub secret: [u8; 16],
    /// Of all replies that are kept, bytes.
    pub most_kept: usize,
    /// Of all opens and locks, bytes.
    pub most_states: usize,
}

/// What a change of the state asks to be done outside.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Opens that ended.
    pub closed: Vec<FileKey>,
    /// Clients that have no state any more.
    pub forgotten: Vec<ClientRecord>,
    /// Whether the grace ended just now.
    pub grace_ended: bool,
}

/// All of it.
#[derive(Debug)]
pub struct State {
    settings: Settings,
    clients: HashMap<ClientId, Client>,
    by_owner: HashMap<Bytes, Vec<ClientId>>,
    sessions: HashMap<SessionId, Session>,
    files: HashMap<FileKey, FileState>,
    opens: HashMap<u64, OpenState>,
    lockers: HashMap<u64, lockers::LockState>,
    opens_by_owner: HashMap<(ClientId, Owner, FileKey), u64>,
    lockers_by_owner: HashMap<(ClientId, Owner, FileKey), u64>,
    grace: Grace,
    grace_ended: bool,
    effects: Effects,
    /// Bytes of replies that are kept.
    kept: usize,
    /// Bytes that opens and locks take.
    room: usize,
    /// Clients that are not confirmed.
    unconfirmed: usize,
    last_number: u64,
}

impl State {
    /// After a start, with the clients that had state before it.
    pub fn new(settings: Settings, records: impl IntoIterator<Item = ClientRecord>, now: Duration) -> Self {
        Self {
            settings,
            clients: HashMap::new(),
            by_owner: HashMap::new(),
            sessions: HashMap::new(),
            files: HashMap::new(),
            opens: HashMap::new(),
            lockers: HashMap::new(),
            opens_by_owner: HashMap::new(),
            lockers_by_owner: HashMap::new(),
            grace: Grace::new(records, now, settings.lease),
            grace_ended: false,
            effects: Effects::default(),
            kept: 0,
            room: 0,
            unconfirmed: 0,
            last_number: 0,
        }
    }

    /// What is to be done outside since the last time.
    pub fn take_effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// What the time alone changes: call it now and then.
    pub fn tick(&mut self, now: Duration) {
        self.in_grace(now);
        self.forget_silent(now);
    }

    /// Whether only reclaims are answered.
    pub fn in_grace(&mut self, now: Duration) -> bool {
        let over = self.grace.is_over(now);
        if over && !self.grace_ended {
            self.grace_ended = true;
            self.effects.grace_ended = true;
            let missing = self.grace.take_missing();
            self.effects.forgotten.extend(missing);
        }
        !over
    }

    /// Whether that is over and was told ([`Effects::grace_ended`]).
    pub fn grace_has_ended(&self) -> bool {
        self.grace_ended
    }

    /// A number that nothing else of this boot has.
    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// A number that nobody can guess.
    fn unguessable(&mut self) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.settings.secret);
        hasher.write_u64(self.number());
        hasher.finish()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rpc::Principal;
    use crate::status::Status;
    use clients::{Arrival, Known};
    use sessions::Channel;
    use std::net::IpAddr;

    pub const LEASE: Duration = Duration::from_secs(60);
    pub const HERE: [u8; 4] = [10, 0, 0, 1];

    pub fn state() -> State {
        state_after([], Duration::ZERO)
    }

    pub fn state_after(records: impl IntoIterator<Item = ClientRecord>, now: Duration) -> State {
        let settings =
            Settings { lease: LEASE, boot: 0xb007, secret: [5; 16], most_kept: 1 << 20, most_states: 1 << 18 };
        State::new(settings, records, now)
    }

    pub fn arrival(name: &'static [u8], verifier: u8) -> Arrival {
        Arrival {
            owner: Bytes::from_static(name),
            verifier: [verifier; 8],
            principal: Principal::User(0),
            address: IpAddr::from(HERE),
            update: false,
        }
    }

    /// A client that is confirmed and has said that it reclaims nothing.
    pub fn client(state: &mut State, name: &'static [u8], now: Duration) -> ClientId {
        let (id, _) = join(state, &arrival(name, 1), now);
        let _ = state.reclaim_complete(id, now);
        id
    }

    pub fn join(state: &mut State, arrival: &Arrival, now: Duration) -> (ClientId, SessionId) {
        let Known { id, sequence, .. } = state.exchange_id(arrival, now).expect("it is taken");
        let principal = &arrival.principal;
        let session = state.create_session(id, sequence, principal, channel(), channel(), 1, now);
        match session.expect("it is made") {
            sessions::Made::New(session) => {
                state.keep_session_reply(id, Bytes::new());
                (id, session)
            }
            sessions::Made::Before(_) => panic!("a new one"),
        }
    }

    pub fn channel() -> Channel {
        Channel { request: 8192, response: 8192, cached: 4096, operations: 16, slots: 8 }
    }

    #[test]
    fn two_clients_with_one_name_from_two_addresses() {
        let mut state = state();
        let now = Duration::ZERO;
        let (first, session) = join(&mut state, &arrival(b"node", 1), now);
        let elsewhere = Arrival { address: IpAddr::from([10, 0, 0, 2]), ..arrival(b"node", 2) };
        let (second, _) = join(&mut state, &elsewhere, now);
        assert_ne!(first, second);
        assert!(state.session(session).is_ok(), "the first lives on");
        // Here it restarts, and there it lives on.
        let (third, _) = join(&mut state, &arrival(b"node", 3), now);
        assert_eq!(state.session(session).map(|_| ()), Err(Status::BadSession));
        assert!(state.client(first).is_err() && state.client(second).is_ok() && state.client(third).is_ok());
        // Once its lease is over, its name is free: a node may get another address.
        let moved = Arrival { address: IpAddr::from([10, 0, 0, 3]), ..arrival(b"node", 4) };
        join(&mut state, &moved, 2 * LEASE);
        assert_eq!(state.clients.len(), 2);
    }

    #[test]
    fn client_ids_carry_the_boot() {
        let mut state = state();
        let known = state.exchange_id(&arrival(b"a", 1), Duration::ZERO).expect("it is taken");
        assert_eq!(known.id.0 >> 32, 0xb007);
        let next = state.exchange_id(&arrival(b"b", 1), Duration::ZERO).expect("it is taken");
        assert!(next.id.0.abs_diff(known.id.0) > 16, "the next one can't be guessed");
    }
}
