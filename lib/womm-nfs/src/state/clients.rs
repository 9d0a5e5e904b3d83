//! Client ids: how they are got, confirmed, kept and lost (RFC 8881, 18.35, 18.36, 18.50; leases: 8.3, 8.4).

use super::State;
use crate::journal::ClientRecord;
use crate::limits::{COURTESY, MOST_WAITING};
use crate::rpc::Principal;
use crate::status::Status;
use crate::wire::{ClientId, SessionId};
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// A client that introduces itself.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// co_ownerid.
    pub owner: Bytes,
    /// co_verifier: another after a reboot.
    pub verifier: [u8; 8],
    /// Who it is to RPC.
    pub principal: Principal,
    /// Where it is.
    pub address: IpAddr,
    /// EXCHGID4_FLAG_UPD_CONFIRMED_REC_A.
    pub update: bool,
}

/// What EXCHANGE_ID answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub id: ClientId,
    /// For its first CREATE_SESSION.
    pub sequence: u32,
    /// Whether it has had one.
    pub confirmed: bool,
}

/// A client.
#[derive(Debug)]
pub struct Client {
    pub(super) owner: Bytes,
    pub(super) verifier: [u8; 8],
    pub(super) principal: Principal,
    pub(super) address: IpAddr,
    pub(super) confirmed: bool,
    /// When it was heard of last.
    pub(super) renewed: Duration,
    /// The confirmed one that this one's confirmation ends: itself before a reboot.
    replaces: Option<ClientId>,
    pub(super) create_sequence: u32,
    pub(super) create_reply: Option<Bytes>,
    pub(super) sessions: Vec<SessionId>,
    pub(super) reclaim_complete: bool,
    /// It had state before the server's restart.
    pub(super) may_reclaim: bool,
    /// It is in the journal.
    pub(super) recorded: bool,
    /// It has made a call in a session.
    pub(super) calls: bool,
    /// Its opens.
    pub(super) opens: BTreeSet<u64>,
    /// Bytes that its opens and locks take.
    pub(super) room: usize,
    /// Bytes of replies that are kept for it.
    pub(super) kept: usize,
    /// Turns at each export's backend.
    turns: HashMap<u64, Arc<Semaphore>>,
}

impl Client {
    fn record(&self) -> ClientRecord {
        ClientRecord {
            owner: self.owner.clone(),
            verifier: self.verifier,
            principal: self.principal.clone(),
            address: self.address,
        }
    }

    fn has_state(&self) -> bool {
        self.room > 0 || !self.sessions.is_empty()
    }
}

impl State {
    /// EXCHANGE_ID; the cases are those of RFC 8881, 18.35.4, "IMPLEMENTATION".
    ///
    /// # Errors
    /// CLID_INUSE, NOENT, NOT_SAME, PERM as there; DELAY.
    pub fn exchange_id(&mut self, arrival: &Arrival, now: Duration) -> Result<Known, Status> {
        let confirmed = self.find_confirmed(arrival, now);
        let Some((id, client)) = confirmed.and_then(|id| self.clients.get(&id).map(|client| (id, client))) else {
            if arrival.update {
                return Err(Status::NoEntry); // case 7
            }
            return self.introduce(arrival, None, now); // cases 1 and 4
        };
        let (same_verifier, same_principal) =
            (client.verifier == arrival.verifier, client.principal == arrival.principal);
        let known = Known { id, sequence: client.create_sequence.wrapping_add(1), confirmed: true };
        match (arrival.update, same_verifier, same_principal) {
            (true, false, _) => Err(Status::NotSame),       // case 8
            (true, true, false) => Err(Status::Permission), // case 9
            (true, true, true) => Ok(known),                // case 6
            (false, true, true) => {
                self.drop_unconfirmed(arrival);
                Ok(known) // case 2
            }
            (false, false, true) => self.introduce(arrival, Some(id), now), // case 5
            (false, _, false) => {
                // case 3
                if client.has_state() && !self.is_silent(id, now) {
                    return Err(Status::ClientIdInUse);
                }
                self.remove_client(id);
                self.introduce(arrival, None, now)
            }
        }
    }

    /// The confirmed client that the arrival means: this instance of it, or another at its address, or one at another address
    /// that has gone silent. One that lives elsewhere under the same name is a client of its own: pods can replay a node's name.
    fn find_confirmed(&self, arrival: &Arrival, now: Duration) -> Option<ClientId> {
        let ids = self.by_owner.get(&arrival.owner)?;
        let find = |is: &dyn Fn(&Client) -> bool| {
            let found = ids.iter().find(|id| self.clients.get(id).is_some_and(|client| client.confirmed && is(client)));
            found.copied()
        };
        find(&|client| client.verifier == arrival.verifier)
            .or_else(|| find(&|client| client.address == arrival.address))
            .or_else(|| find(&|client| now > client.renewed + self.settings.lease))
    }

    fn drop_unconfirmed(&mut self, arrival: &Arrival) {
        let ids = self.by_owner.get(&arrival.owner).cloned().unwrap_or_default();
        for id in ids {
            let is = |client: &Client| !client.confirmed && client.address == arrival.address;
            if self.clients.get(&id).is_some_and(is) {
                self.remove_client(id);
            }
        }
    }

    fn introduce(&mut self, arrival: &Arrival, replaces: Option<ClientId>, now: Duration) -> Result<Known, Status> {
        self.drop_unconfirmed(arrival);
        self.room_for_client(arrival.address, now)?;
        let id = loop {
            let id = ClientId(u64::from(self.settings.boot) << 32 | self.unguessable() >> 32);
            if !self.clients.contains_key(&id) {
                break id;
            }
        };
        let client = Client {
            owner: arrival.owner.clone(),
            verifier: arrival.verifier,
            principal: arrival.principal.clone(),
            address: arrival.address,
            confirmed: false,
            renewed: now,
            replaces,
            create_sequence: 0,
            create_reply: None,
            sessions: Vec::new(),
            reclaim_complete: false,
            may_reclaim: false,
            recorded: false,
            calls: false,
            opens: BTreeSet::new(),
            room: 0,
            kept: 0,
            turns: HashMap::new(),
        };
        self.clients.insert(id, client);
        self.unconfirmed += 1;
        self.by_owner.entry(arrival.owner.clone()).or_default().push(id);
        Ok(Known { id, sequence: 1, confirmed: false })
    }

    /// The client was used for a session of its own.
    pub(super) fn confirm(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id).filter(|client| !client.confirmed) else { return };
        client.confirmed = true;
        self.unconfirmed -= 1;
        let record = client.record();
        let replaced = client.replaces.take();
        if self.grace.came(&record) {
            client.may_reclaim = true;
            client.recorded = true;
        }
        let restarted = self.grace.restarted(&record);
        self.effects.forgotten.extend(restarted);
        if let Some(replaced) = replaced {
            self.remove_client(replaced);
        }
    }

    /// A client that is confirmed or not.
    ///
    /// # Errors
    /// STALE_CLIENTID.
    pub fn client(&self, id: ClientId) -> Result<&Client, Status> {
        self.clients.get(&id).ok_or(Status::StaleClientId)
    }

    /// Where it is, if it has not gone.
    pub fn address(&self, id: ClientId) -> Option<IpAddr> {
        self.clients.get(&id).map(|client| client.address)
    }

    pub(super) fn client_mut(&mut self, id: ClientId) -> Result<&mut Client, Status> {
        self.clients.get_mut(&id).ok_or(Status::StaleClientId)
    }

    /// DESTROY_CLIENTID.
    ///
    /// # Errors
    /// STALE_CLIENTID, CLIENTID_BUSY.
    pub fn destroy_client(&mut self, id: ClientId) -> Result<(), Status> {
        if self.client(id)?.has_state() {
            return Err(Status::ClientIdBusy);
        }
        self.remove_client(id);
        Ok(())
    }

    /// RECLAIM_COMPLETE for all file systems.
    ///
    /// # Errors
    /// COMPLETE_ALREADY.
    pub fn reclaim_complete(&mut self, id: ClientId, now: Duration) -> Result<(), Status> {
        let client = self.client_mut(id)?;
        if client.reclaim_complete {
            return Err(Status::CompleteAlready);
        }
        client.reclaim_complete = true;
        let record = client.record();
        self.grace.done(&record);
        self.in_grace(now);
        Ok(())
    }

    /// Whether the client may get state that it did not have before (RFC 8881, 8.4.2.1 and 18.51.3), or take back what it had.
    ///
    /// # Errors
    /// GRACE; for a reclaim NO_GRACE and RECLAIM_BAD.
    pub fn may_get_state(&mut self, id: ClientId, reclaim: bool, now: Duration) -> Result<(), Status> {
        let in_grace = self.in_grace(now);
        let client = self.client(id)?;
        match reclaim {
            true if !in_grace || client.reclaim_complete => Err(Status::NoGrace),
            true if !client.may_reclaim => Err(Status::ReclaimBad),
            false if in_grace || !client.reclaim_complete => Err(Status::Grace),
            _ => Ok(()),
        }
    }

    /// The record that must be on disk before the client gets state, if it is not there yet.
    ///
    /// # Errors
    /// STALE_CLIENTID.
    pub fn unrecorded(&self, id: ClientId) -> Result<Option<ClientRecord>, Status> {
        let client = self.client(id)?;
        Ok((!client.recorded).then(|| client.record()))
    }

    /// It is there now. A client that has gone meanwhile is forgotten again.
    pub fn recorded(&mut self, id: ClientId, record: ClientRecord) {
        match self.clients.get_mut(&id) {
            Some(client) => client.recorded = true,
            None => self.effects.forgotten.push(record),
        }
    }

    /// Its turns at an export's backend: so many of its calls may wait there.
    ///
    /// # Errors
    /// STALE_CLIENTID.
    pub fn turns(&mut self, id: ClientId, export: u64) -> Result<Arc<Semaphore>, Status> {
        let client = self.client_mut(id)?;
        Ok(client.turns.entry(export).or_insert_with(|| Arc::new(Semaphore::new(MOST_WAITING))).clone())
    }

    /// Whether its lease is over.
    pub(super) fn is_silent(&self, id: ClientId, now: Duration) -> bool {
        self.clients.get(&id).is_none_or(|client| now > client.renewed + self.settings.lease)
    }

    /// Ends a client with all that it has.
    pub(super) fn remove_client(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        for session in std::mem::take(&mut client.sessions) {
            self.remove_session(session);
        }
        self.release_all(id);
        let Some(client) = self.clients.remove(&id) else { return };
        self.unconfirmed -= usize::from(!client.confirmed);
        if let Some(ids) = self.by_owner.get_mut(&client.owner) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_owner.remove(&client.owner);
            }
        }
        if client.recorded {
            let record = client.record();
            self.grace.done(&record);
            self.effects.forgotten.push(record);
        }
    }

    /// Those who were only introduced and never confirmed (RFC 8881, 18.35.4), and those silent for a day.
    pub(super) fn forget_silent(&mut self, now: Duration) {
        let lease = self.settings.lease;
        let gone = |client: &Client| {
            let most = if client.confirmed { lease + COURTESY } else { lease };
            now > client.renewed + most
        };
        let ids: Vec<_> = self.clients.iter().filter(|(_, client)| gone(client)).map(|(id, _)| *id).collect();
        for id in ids {
            self.remove_client(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LEASE, arrival, join, state, state_after};
    use super::*;

    const NOW: Duration = Duration::from_secs(5);

    fn other_user(arrival: Arrival) -> Arrival {
        Arrival { principal: Principal::User(1111), ..arrival }
    }

    fn update(arrival: Arrival) -> Arrival {
        Arrival { update: true, ..arrival }
    }

    #[test]
    fn an_unconfirmed_record_is_replaced_whatever_comes() {
        for second in [arrival(b"a", 1), arrival(b"a", 2), other_user(arrival(b"a", 1)), other_user(arrival(b"a", 2))] {
            let mut state = state();
            let first = state.exchange_id(&arrival(b"a", 1), NOW).expect("taken");
            let again = state.exchange_id(&second, NOW).expect("taken");
            assert_ne!(first.id, again.id);
            assert_eq!(state.clients.len(), 1);
            let updated = state.exchange_id(&update(second), NOW);
            assert_eq!(updated, Err(Status::NoEntry));
        }
    }

    #[test]
    fn a_confirmed_record() {
        let mut state = state();
        let (id, session) = join(&mut state, &arrival(b"a", 1), NOW);
        let known = state.exchange_id(&arrival(b"a", 1), NOW).expect("case 2");
        assert_eq!((known.id, known.confirmed), (id, true));
        assert_eq!(state.exchange_id(&update(arrival(b"a", 1)), NOW).map(|known| known.id), Ok(id), "case 6");
        assert_eq!(state.exchange_id(&update(arrival(b"a", 2)), NOW), Err(Status::NotSame), "case 8");
        assert_eq!(state.exchange_id(&update(other_user(arrival(b"a", 1))), NOW), Err(Status::Permission), "case 9");
        assert_eq!(state.exchange_id(&other_user(arrival(b"a", 1)), NOW), Err(Status::ClientIdInUse), "case 3");
        let restarted = state.exchange_id(&arrival(b"a", 2), NOW).expect("case 5");
        assert!(restarted.id != id && state.session(session).is_ok(), "until it is confirmed");
        join(&mut state, &arrival(b"a", 2), NOW);
        assert!(state.client(id).is_err() && state.session(session).is_err());
    }

    #[test]
    fn another_user_takes_the_name_of_one_without_state() {
        let mut state = state();
        let (id, session) = join(&mut state, &arrival(b"a", 1), NOW);
        state.destroy_session(session).expect("it is there");
        let known = state.exchange_id(&other_user(arrival(b"a", 1)), NOW).expect("case 3");
        assert!(known.id != id && state.client(id).is_err());
    }

    #[test]
    fn who_never_confirms_is_forgotten_after_a_lease() {
        let mut state = state();
        let known = state.exchange_id(&arrival(b"a", 1), NOW).expect("taken");
        state.tick(NOW + LEASE);
        assert!(state.client(known.id).is_ok());
        state.tick(NOW + LEASE + Duration::from_secs(1));
        assert!(state.client(known.id).is_err());
    }

    #[test]
    fn a_silent_client_is_kept_for_a_day() {
        let mut state = state();
        let (id, _) = join(&mut state, &arrival(b"a", 1), NOW);
        state.tick(NOW + COURTESY);
        assert!(state.client(id).is_ok());
        state.tick(NOW + COURTESY + 2 * LEASE);
        assert!(state.client(id).is_err());
    }

    #[test]
    fn state_is_got_outside_of_the_grace_and_taken_back_within() {
        let record = ClientRecord {
            owner: Bytes::from_static(b"a"),
            verifier: [1; 8],
            principal: Principal::User(0),
            address: arrival(b"a", 1).address,
        };
        let mut state = state_after([record.clone()], NOW);
        let (a, _) = join(&mut state, &arrival(b"a", 1), NOW);
        let (b, _) = join(&mut state, &arrival(b"b", 1), NOW);
        assert_eq!(state.may_get_state(a, false, NOW), Err(Status::Grace));
        assert_eq!(state.may_get_state(a, true, NOW), Ok(()));
        assert_eq!(state.may_get_state(b, true, NOW), Err(Status::ReclaimBad));
        assert_eq!(state.unrecorded(a), Ok(None), "it is in the journal already");
        assert!(!state.take_effects().grace_ended);
        state.reclaim_complete(a, NOW).expect("once");
        assert_eq!(state.reclaim_complete(a, NOW), Err(Status::CompleteAlready));
        assert!(state.take_effects().grace_ended, "all who had state are done");
        assert_eq!(state.may_get_state(a, true, NOW), Err(Status::NoGrace));
        assert_eq!(state.may_get_state(a, false, NOW), Ok(()));
        assert_eq!(state.may_get_state(b, false, NOW), Err(Status::Grace), "it may still have something to reclaim");
    }

    #[test]
    fn who_missed_the_grace_is_forgotten() {
        let record = ClientRecord::for_tests(b"gone", 1);
        let mut state = state_after([record.clone()], NOW);
        state.tick(NOW + LEASE);
        let effects = state.take_effects();
        assert!(effects.grace_ended);
        assert_eq!(effects.forgotten, [record]);
    }
}
