//! Memory of what is known of clients has a bound: of sessions and client ids as many as there is room for what is kept for them, of
//! opens and locks so many bytes.

use super::State;
use super::clients::Client;
use crate::limits::{LEAST_CLIENTS_WITH_STATE, OWN_KEPT_BYTES};
use crate::status::Status;
use crate::wire::{ClientId, Owner};
use std::net::IpAddr;
use std::time::Duration;

/// An open without its owner's name, with its places in all maps, bytes.
const OPEN_BYTES: usize = 768;
/// The same of a lock owner's.
const LOCKER_BYTES: usize = 512;
/// A locked range.
pub(super) const RANGE_BYTES: usize = 80;
/// When there is no room, so many parts of what there may be are given up at once: to look for them takes long.
const AT_ONCE: usize = 32;

pub(super) fn open_bytes(owner: &Owner) -> usize {
    OPEN_BYTES + owner.len()
}

pub(super) fn locker_bytes(owner: &Owner) -> usize {
    LOCKER_BYTES + owner.len()
}

impl State {
    /// Sessions of all clients.
    pub(super) fn most_sessions(&self) -> usize {
        (self.settings.most_kept / 2 / OWN_KEPT_BYTES).max(1)
    }

    /// Client ids: some have no session yet, or none any more.
    fn most_clients(&self) -> usize {
        2 * self.most_sessions()
    }

    /// Room for one more session, if need be that of others ([`State::give_up`]).
    ///
    /// # Errors
    /// DELAY: all who have one use it.
    pub(super) fn room_for_session(&mut self, id: ClientId, now: Duration) -> Result<(), Status> {
        if self.sessions.len() < self.most_sessions() {
            return Ok(());
        }
        let address = self.client(id)?.address;
        self.give_up(address, now, |other, client| other != id && !client.sessions.is_empty())
    }

    /// Room for one more client id. Who only introduces itself takes that of others who did.
    ///
    /// # Errors
    /// DELAY: all who have one use it.
    pub(super) fn room_for_client(&mut self, address: IpAddr, now: Duration) -> Result<(), Status> {
        if self.unconfirmed >= self.most_clients() / 2 {
            self.give_up(address, now, |_, client| !client.confirmed)?;
        }
        if self.clients.len() < self.most_clients() {
            return Ok(());
        }
        self.give_up(address, now, |_, _| true)
    }

    /// Ends some of these clients: those whose lease is over first, then those that hold nothing, so that they need only introduce
    /// themselves again. Of these, those at the newcomer's address go first, then those that never made a call; of all, those that were
    /// silent for longest.
    ///
    /// # Errors
    /// DELAY: there are none such.
    fn give_up(
        &mut self,
        address: IpAddr,
        now: Duration,
        may: impl Fn(ClientId, &Client) -> bool,
    ) -> Result<(), Status> {
        let lease = self.settings.lease;
        let candidates = self.clients.iter().filter_map(|(id, client)| {
            let lives = now <= client.renewed + lease;
            let is_one = may(*id, client) && (!lives || client.room == 0);
            let rank = lives.then_some((client.address != address, client.calls));
            is_one.then_some((rank, client.renewed, *id))
        });
        let mut candidates: Vec<_> = candidates.collect();
        let count = (self.most_sessions() / AT_ONCE).clamp(1, candidates.len().max(1));
        if candidates.len() > count {
            candidates.select_nth_unstable(count - 1);
        }
        let gone = candidates.iter().take(count);
        let ids: Vec<_> = gone.map(|(.., id)| *id).collect();
        if ids.is_empty() {
            return Err(Status::Delay);
        }
        ids.into_iter().for_each(|id| self.remove_client(id));
        Ok(())
    }

    /// Whether a client has enough opens and locks. Half of the room is for whoever comes first; of the other half each client has an
    /// equal part. What is taken back after a restart is let in as long as there is room.
    pub(super) fn has_enough_states(&self, client: ClientId, reclaims: bool) -> bool {
        let most = self.settings.most_states;
        let part = most / 2 / self.clients.len().max(LEAST_CLIENTS_WITH_STATE);
        let own = self.clients.get(&client).map_or(0, |client| client.room);
        self.room >= most || (!reclaims && self.room >= most / 2 && own >= part)
    }

    /// Counts what an open or lock owner takes.
    ///
    /// # Errors
    /// DELAY if the client has enough; STALE_CLIENTID.
    pub(super) fn take_room(&mut self, id: ClientId, bytes: usize, reclaims: bool) -> Result<(), Status> {
        if self.has_enough_states(id, reclaims) {
            return Err(Status::Delay);
        }
        self.client_mut(id)?.room += bytes;
        self.room += bytes;
        Ok(())
    }

    /// It takes so much less, then so much more.
    pub(super) fn change_room(&mut self, id: ClientId, less: usize, more: usize) {
        self.room = self.room + more - less;
        if let Some(client) = self.clients.get_mut(&id) {
            client.room = client.room + more - less;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::FileKey;
    use super::super::clients::Arrival;
    use super::super::lockers::{Locker, NoLock, Wanted};
    use super::super::locks::Range;
    use super::super::opens::{READ, WRITE};
    use super::super::sessions::Call;
    use super::super::tests::{LEASE, arrival, client, join, state};
    use super::*;
    use bytes::Bytes;
    use womm_vfs::NodeId;

    const NOW: Duration = Duration::from_secs(5);
    const FILE: FileKey = FileKey { export: 1, node: NodeId(7) };

    fn named(number: usize, address: u8) -> Arrival {
        let mut arrival = arrival(b"", 1);
        arrival.owner = number.to_be_bytes().to_vec().into();
        arrival.address = IpAddr::from([10, 0, 0, address]);
        arrival
    }

    fn owner(number: usize) -> Owner {
        number.to_be_bytes().to_vec().into()
    }

    #[test]
    fn sessions_have_a_bound_and_who_holds_something_keeps_its_own() {
        let mut state = state();
        let most = state.most_sessions();
        let (holder, session) = join(&mut state, &named(0, 1), NOW);
        state.open(holder, &owner(0), FILE, READ, 0, false).expect("there is room");
        let (elsewhere, _) = join(&mut state, &named(1, 2), NOW);
        for number in 2..20 * most {
            let now = NOW + Duration::from_millis(number as u64);
            let (_, newest) = join(&mut state, &named(number, 1), now);
            assert!(state.sessions.len() <= most && state.clients.len() <= 2 * most);
            assert!(state.session(newest).is_ok());
        }
        assert!(state.session(session).is_ok() && state.client(holder).is_ok());
        assert!(state.client(elsewhere).is_ok(), "a flood ends those at its own address");
    }

    #[test]
    fn who_made_a_call_is_not_ended_by_those_who_make_none() {
        let mut state = state();
        let (id, session) = join(&mut state, &named(0, 1), NOW);
        let call = Call {
            session,
            slot: 0,
            sequence: 1,
            highest: 0,
            operations: 1,
            bytes: 100,
            least_reply: 100,
            cache: false,
            fingerprint: 0,
            connection: 1,
        };
        state.sequence(&call, NOW).expect("let in");
        for number in 1..20 * state.most_sessions() {
            join(&mut state, &named(number, 1), NOW + Duration::from_millis(number as u64));
        }
        assert!(state.client(id).is_ok() && state.session(session).is_ok());
    }

    #[test]
    fn a_session_is_not_taken_from_who_uses_it() {
        let mut state = state();
        for number in 0..state.most_sessions() {
            let (id, _) = join(&mut state, &named(number, 1), NOW);
            state.open(id, &owner(0), FILE, READ, 0, false).expect("there is room");
        }
        let create = |state: &mut State, now| {
            let known = state.exchange_id(&named(5000, 1), now).expect("it is taken");
            let channel = super::super::tests::channel();
            state.create_session(known.id, 1, &named(0, 1).principal, channel, channel, 1, now).map(drop)
        };
        assert_eq!(create(&mut state, NOW), Err(Status::Delay));
        assert_eq!(create(&mut state, NOW + LEASE + Duration::from_secs(1)), Ok(()), "their leases are over");
        assert!(state.sessions.len() <= state.most_sessions());
    }

    #[test]
    fn who_only_introduces_itself_does_not_fill_memory() {
        let mut state = state();
        let (id, _) = join(&mut state, &named(0, 1), NOW);
        for number in 1..20 * state.most_clients() {
            state.exchange_id(&named(number, 2), NOW).expect("taken");
            assert!(state.clients.len() <= state.most_clients());
        }
        assert!(state.client(id).is_ok());
        let unconfirmed = state.clients.values().filter(|client| !client.confirmed).count();
        assert_eq!(state.unconfirmed, unconfirmed);
    }

    #[test]
    fn opens_and_locks_have_a_bound_and_one_client_does_not_get_all_of_it() {
        let mut state = state();
        let (greedy, other) = (client(&mut state, b"greedy", NOW), client(&mut state, b"other", NOW));
        let mut stateids = Vec::new();
        let refused = loop {
            match state.open(greedy, &owner(stateids.len()), FILE, READ | WRITE, 0, false) {
                Ok(opened) => stateids.push(opened.stateid),
                Err(status) => break status,
            }
        };
        assert_eq!(refused, Status::Delay);
        assert!(state.room <= state.settings.most_states / 2 + state.settings.most_states / 16);
        let opened = state.open(other, &owner(0), FILE, READ | WRITE, 0, false).expect("it has its part").stateid;
        let range = |first: u64| Wanted { range: Range { first, last: first }, write: true, reclaim: false };
        let locker = Locker::New(opened, owner(0));
        let mut locked = state.lock(other, &locker, FILE, range(0), NOW).expect("it has its part");
        let refused = (1..).map(|number| state.lock(other, &locker, FILE, range(2 * number), NOW));
        let refused = refused.inspect(|result| {
            if let Ok(stateid) = result {
                locked = *stateid;
            }
        });
        assert_eq!(refused.filter_map(Result::err).next(), Some(NoLock::Refused(Status::Delay)));
        assert!(state.room <= state.settings.most_states);
        // To give back never fails, but for what would take more than it gives.
        let all = Range { first: 0, last: u64::MAX };
        let freed = state.unlock(other, &locked, FILE, range(2).range).expect("it is its own");
        let freed = state.unlock(other, &freed, FILE, all).expect("it is its own");
        let whole = Wanted { range: all, write: true, reclaim: false };
        let freed = state.lock(other, &Locker::Known(freed), FILE, whole, NOW).expect("there is room again");
        state.room += state.settings.most_states;
        assert_eq!(state.unlock(other, &freed, FILE, range(9).range), Err(Status::LockRange));
        state.room -= state.settings.most_states;
        state.unlock(other, &freed, FILE, range(9).range).expect("there is room");
        state.close(other, &opened, FILE).expect("it is open");
        for stateid in stateids {
            state.close(greedy, &stateid, FILE).expect("it is open");
        }
        assert_eq!((state.room, state.files.len(), state.lockers.len()), (0, 0, 0));
        assert!(state.clients.values().all(|client| client.room == 0 && client.opens.is_empty()));
    }

    #[test]
    fn what_is_taken_back_is_not_told_to_wait() {
        let mut state = state();
        let id = client(&mut state, b"a", NOW);
        let refused = (0..).find(|number| state.open(id, &owner(*number), FILE, READ, 0, false).is_err());
        let name = Bytes::from_static(b"another");
        assert!(refused.is_some_and(|number| number > 10));
        assert!(state.open(id, &name, FILE, READ, 0, true).is_ok());
    }
}
