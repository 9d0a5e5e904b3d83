//! Opens, share reservations and stateids (RFC 8881, 8.2, 9.7, 18.16–18.18).

use super::locks::Locks;
use super::room::open_bytes;
use super::{FileKey, State};
use crate::appends::MOST_CLIENTS;
use crate::status::Status;
use crate::wire::{ClientId, Owner, Stateid};
use std::collections::BTreeSet;
use std::time::Duration;

/// OPEN4_SHARE_ACCESS_READ, and DENY_READ.
pub const READ: u32 = 1;
/// OPEN4_SHARE_ACCESS_WRITE, and DENY_WRITE.
pub const WRITE: u32 = 2;

/// What one open-owner has of one file.
#[derive(Debug)]
pub struct OpenState {
    pub(super) client: ClientId,
    pub(super) owner: Owner,
    pub(super) file: FileKey,
    seqid: u32,
    pub(super) access: u32,
    deny: u32,
    /// Each {access, deny} that was opened, as a bit: OPEN_DOWNGRADE goes to a union of some of them.
    opened: u16,
    /// Lock owners that lock through it.
    pub(super) lockers: BTreeSet<u64>,
}

/// Who has a file.
#[derive(Debug, Default)]
pub struct FileState {
    opens: BTreeSet<u64>,
    /// How many of them deny something.
    denying: usize,
    pub(super) locks: Locks,
    pub(super) lockers: usize,
}

/// What a stateid names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    Open(u64),
    Locker(u64),
}

/// What OPEN comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// To use it by.
    pub stateid: Stateid,
    /// Whether its owner did not have the file before.
    pub new: bool,
}

fn bit(access: u32, deny: u32) -> u16 {
    1 << ((access & 3) * 4 + (deny & 3))
}

impl State {
    /// For {boot, number}, so that those from before a restart are known.
    pub(super) fn stateid(&self, number: u64, seqid: u32) -> Stateid {
        let mut other = [0; 12];
        other[..4].copy_from_slice(&self.settings.boot.to_be_bytes());
        other[4..].copy_from_slice(&number.to_be_bytes());
        Stateid { seqid, other }
    }

    /// What a client's stateid names.
    ///
    /// # Errors
    /// STALE_STATEID from before a restart; OLD_STATEID; BAD_STATEID.
    pub(super) fn named(&self, client: ClientId, stateid: &Stateid, file: Option<FileKey>) -> Result<Named, Status> {
        let (boot, number) = stateid.other.split_at(4);
        if stateid.other == [0; 12] || stateid.other == [0xff; 12] {
            return Err(Status::BadStateid);
        }
        if boot != self.settings.boot.to_be_bytes() {
            return Err(Status::StaleStateid);
        }
        let number = u64::from_be_bytes(number.try_into().map_err(|_| Status::ServerFault)?);
        let (named, owner, of, seqid) = if let Some(open) = self.opens.get(&number) {
            (Named::Open(number), open.client, open.file, open.seqid)
        } else if let Some(locker) = self.lockers.get(&number) {
            (Named::Locker(number), locker.client, locker.file, locker.seqid)
        } else {
            return Err(Status::BadStateid);
        };
        if owner != client || file.is_some_and(|file| file != of) {
            return Err(Status::BadStateid);
        }
        match stateid.seqid {
            0 => Ok(named),
            sent if sent == seqid => Ok(named),
            sent if sent < seqid => Err(Status::OldStateid),
            _ => Err(Status::BadStateid),
        }
    }

    /// Whether a stateid lets its client read or write the file.
    ///
    /// # Errors
    /// As for the stateid; OPENMODE; LOCKED against a share reservation, GRACE for the special stateids.
    pub fn check_io(
        &mut self,
        client: ClientId,
        stateid: &Stateid,
        file: FileKey,
        write: bool,
        now: Duration,
    ) -> Result<(), Status> {
        if *stateid == Stateid::ANONYMOUS || *stateid == Stateid::BYPASS {
            if self.in_grace(now) {
                return Err(Status::Grace);
            }
            let bypasses = *stateid == Stateid::BYPASS && !write;
            let access = if write { WRITE } else { READ };
            return if bypasses {
                Ok(())
            } else {
                self.check_shares(client, None, file, access, 0, now, Status::Locked)
            };
        }
        let open = match self.named(client, stateid, Some(file))? {
            Named::Open(number) => number,
            Named::Locker(number) => self.lockers.get(&number).ok_or(Status::BadStateid)?.open,
        };
        let access = self.opens.get(&open).ok_or(Status::BadStateid)?.access;
        // Reading is let through for an open for writing: a client reads the page that it writes a part of (18.22.4).
        if write && access & WRITE == 0 { Err(Status::OpenMode) } else { Ok(()) }
    }

    /// Whether an open would get along with the others. A client whose lease is over does not stand in the way: it loses all
    /// that it has.
    ///
    /// # Errors
    /// SHARE_DENIED.
    pub fn check_open(
        &mut self,
        client: ClientId,
        owner: &Owner,
        file: FileKey,
        (access, deny): (u32, u32),
        now: Duration,
    ) -> Result<(), Status> {
        let own = self.opens_by_owner.get(&(client, owner.clone(), file)).copied();
        self.check_shares(client, own, file, access, deny, now, Status::ShareDenied)
    }

    #[expect(clippy::too_many_arguments, reason = "an open is described by so much")]
    fn check_shares(
        &mut self,
        client: ClientId,
        own: Option<u64>,
        file: FileKey,
        access: u32,
        deny: u32,
        now: Duration,
        refusal: Status,
    ) -> Result<(), Status> {
        let Some(state) = self.files.get(&file) else { return Ok(()) };
        if deny == 0 && state.denying == 0 {
            return Ok(());
        }
        let conflicts = |number: &&u64| {
            let conflicts = |open: &OpenState| access & open.deny != 0 || deny & open.access != 0;
            Some(**number) != own && self.opens.get(number).is_some_and(conflicts)
        };
        let mut holders = Vec::new();
        for number in state.opens.iter().filter(conflicts) {
            let holder = self.opens.get(number).map_or(client, |open| open.client);
            if holder == client || !self.is_silent(holder, now) {
                return Err(refusal);
            }
            holders.push(holder);
        }
        for holder in holders {
            self.remove_client(holder);
        }
        Ok(())
    }

    /// Opens, after [`State::check_open`]. The file is to be opened in its file system once for each new one.
    ///
    /// # Errors
    /// DELAY if the client has too many; STALE_CLIENTID.
    pub fn open(
        &mut self,
        client: ClientId,
        owner: &Owner,
        file: FileKey,
        access: u32,
        deny: u32,
        reclaims: bool,
    ) -> Result<Opened, Status> {
        let key = (client, owner.clone(), file);
        if let Some(number) = self.opens_by_owner.get(&key).copied()
            && let Some(open) = self.opens.get_mut(&number)
        {
            let before = open.deny;
            open.access |= access;
            open.deny |= deny;
            open.opened |= bit(access, deny);
            let denies_now = before == 0 && open.deny != 0;
            if denies_now && let Some(state) = self.files.get_mut(&file) {
                state.denying += 1;
            }
            open.seqid = next(open.seqid);
            let seqid = open.seqid;
            return Ok(Opened { stateid: self.stateid(number, seqid), new: false });
        }
        self.take_room(client, open_bytes(owner), reclaims)?;
        let number = self.number();
        let opened = bit(access, deny);
        let (owner, lockers) = (owner.clone(), BTreeSet::new());
        let open = OpenState { client, owner, file, seqid: 1, access, deny, opened, lockers };
        self.opens.insert(number, open);
        self.opens_by_owner.insert(key, number);
        self.client_mut(client)?.opens.insert(number);
        let state = self.files.entry(file).or_default();
        state.opens.insert(number);
        state.denying += usize::from(deny != 0);
        Ok(Opened { stateid: self.stateid(number, 1), new: true })
    }

    /// Other clients that have the file open to write; of many, some.
    pub fn others_who_write(&self, client: ClientId, file: FileKey) -> Vec<ClientId> {
        let Some(state) = self.files.get(&file).filter(|state| state.opens.len() > 1) else { return Vec::new() };
        let opens = state.opens.iter().take(MOST_CLIENTS).filter_map(|number| self.opens.get(number));
        let others = opens.filter(|open| open.client != client && open.access & WRITE != 0);
        others.map(|open| open.client).collect()
    }

    /// OPEN_DOWNGRADE.
    ///
    /// # Errors
    /// As for the stateid; INVAL if what is asked for is not a union of opens.
    pub fn downgrade(
        &mut self,
        client: ClientId,
        stateid: &Stateid,
        file: FileKey,
        access: u32,
        deny: u32,
    ) -> Result<Stateid, Status> {
        let Named::Open(number) = self.named(client, stateid, Some(file))? else { return Err(Status::BadStateid) };
        let open = self.opens.get_mut(&number).ok_or(Status::BadStateid)?;
        let within = |bits: u16| (0..16u32).filter(move |i| bits & (1 << i) != 0).map(|i| (i / 4, i % 4));
        let kept = within(open.opened).filter(|(a, d)| a & !access == 0 && d & !deny == 0);
        let (mut union, mut opened) = ((0, 0), 0);
        for (a, d) in kept {
            union = (union.0 | a, union.1 | d);
            opened |= bit(a, d);
        }
        if union != (access, deny) {
            return Err(Status::Invalid);
        }
        let denies_no_more = open.deny != 0 && deny == 0;
        (open.access, open.deny, open.opened) = (access, deny, opened);
        if denies_no_more && let Some(state) = self.files.get_mut(&file) {
            state.denying -= 1;
        }
        open.seqid = next(open.seqid);
        let seqid = open.seqid;
        Ok(self.stateid(number, seqid))
    }

    /// CLOSE. Byte ranges locked through it are unlocked (RFC 8881, 18.2.3).
    ///
    /// # Errors
    /// As for the stateid.
    pub fn close(&mut self, client: ClientId, stateid: &Stateid, file: FileKey) -> Result<(), Status> {
        let Named::Open(number) = self.named(client, stateid, Some(file))? else { return Err(Status::BadStateid) };
        self.remove_open(number);
        Ok(())
    }

    pub(super) fn remove_open(&mut self, number: u64) {
        let Some(open) = self.opens.remove(&number) else { return };
        let file = open.file;
        for locker in open.lockers {
            self.remove_locker(locker);
        }
        if let Some(state) = self.files.get_mut(&file) {
            state.opens.remove(&number);
            state.denying -= usize::from(open.deny != 0);
        }
        self.drop_unused(file);
        self.change_room(open.client, open_bytes(&open.owner), 0);
        if let Some(client) = self.clients.get_mut(&open.client) {
            client.opens.remove(&number);
        }
        self.opens_by_owner.remove(&(open.client, open.owner, file));
        self.effects.closed.push(file);
    }

    fn drop_unused(&mut self, file: FileKey) {
        if self.files.get(&file).is_some_and(|state| state.opens.is_empty() && state.lockers == 0) {
            self.files.remove(&file);
        }
    }

    /// TEST_STATEID, for one.
    pub fn test_stateid(&self, client: ClientId, stateid: &Stateid) -> Status {
        self.named(client, stateid, None).err().unwrap_or(Status::Ok)
    }

    /// FREE_STATEID.
    ///
    /// # Errors
    /// As for the stateid; LOCKS_HELD for all but a lock owner that has none.
    pub fn free_stateid(&mut self, client: ClientId, stateid: &Stateid) -> Result<(), Status> {
        let Named::Locker(number) = self.named(client, stateid, None)? else { return Err(Status::LocksHeld) };
        if self.holds_locks(number) {
            return Err(Status::LocksHeld);
        }
        self.remove_locker(number);
        Ok(())
    }

    /// All that a client has.
    pub(super) fn release_all(&mut self, client: ClientId) {
        let opens = self.clients.get(&client).map(|client| client.opens.clone());
        for number in opens.unwrap_or_default() {
            self.remove_open(number);
        }
    }
}

/// seqid goes round without 0, which means the newest (RFC 8881, 8.2.2).
pub(super) fn next(seqid: u32) -> u32 {
    seqid.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LEASE, client, state};
    use super::*;
    use womm_vfs::NodeId;

    const NOW: Duration = Duration::from_secs(5);
    const FILE: FileKey = FileKey { export: 1, node: NodeId(7) };
    const OTHER: FileKey = FileKey { export: 1, node: NodeId(8) };

    fn owner(name: &'static str) -> Owner {
        Owner::from_static(name.as_bytes())
    }

    fn open(state: &mut State, client: ClientId, name: &'static str, access: u32, deny: u32) -> Result<Opened, Status> {
        state.check_open(client, &owner(name), FILE, (access, deny), NOW)?;
        state.open(client, &owner(name), FILE, access, deny, false)
    }

    #[test]
    fn share_reservations() {
        let mut state = state();
        let (a, b) = (client(&mut state, b"a", NOW), client(&mut state, b"b", NOW));
        let first = open(&mut state, a, "x", READ, WRITE).expect("alone");
        assert_eq!(open(&mut state, a, "y", WRITE, 0), Err(Status::ShareDenied));
        assert_eq!(open(&mut state, b, "x", READ | WRITE, 0), Err(Status::ShareDenied));
        assert_eq!(open(&mut state, b, "x", READ, READ), Err(Status::ShareDenied));
        open(&mut state, b, "x", READ, WRITE).expect("they get along");
        let anonymous = Stateid::ANONYMOUS;
        assert_eq!(state.check_io(b, &anonymous, FILE, true, NOW), Err(Status::Locked));
        assert_eq!(state.check_io(b, &anonymous, FILE, false, NOW), Ok(()));
        assert_eq!(state.check_io(a, &first.stateid, FILE, true, NOW), Err(Status::OpenMode));
        state.close(a, &first.stateid, FILE).expect("it is open");
        assert_eq!(state.take_effects().closed, [FILE]);
    }

    #[test]
    fn reading_past_reservations_is_for_the_bypass_stateid() {
        let mut state = state();
        let a = client(&mut state, b"a", NOW);
        open(&mut state, a, "x", READ | WRITE, READ | WRITE).expect("alone");
        assert_eq!(state.check_io(a, &Stateid::ANONYMOUS, FILE, false, NOW), Err(Status::Locked));
        assert_eq!(state.check_io(a, &Stateid::BYPASS, FILE, false, NOW), Ok(()));
        assert_eq!(state.check_io(a, &Stateid::BYPASS, FILE, true, NOW), Err(Status::Locked));
    }

    #[test]
    fn stateids_are_counted_up_and_checked() {
        let mut state = state();
        let (a, b) = (client(&mut state, b"a", NOW), client(&mut state, b"b", NOW));
        let first = open(&mut state, a, "x", READ, 0).expect("alone");
        let second = open(&mut state, a, "x", WRITE, 0).expect("its own");
        assert!(first.new && !second.new);
        assert_eq!((first.stateid.seqid, second.stateid.seqid), (1, 2));
        assert_eq!(state.check_io(a, &first.stateid, FILE, true, NOW), Err(Status::OldStateid));
        assert_eq!(state.check_io(a, &Stateid { seqid: 3, ..first.stateid }, FILE, true, NOW), Err(Status::BadStateid));
        assert_eq!(state.check_io(a, &Stateid { seqid: 0, ..first.stateid }, FILE, true, NOW), Ok(()));
        assert_eq!(state.check_io(a, &second.stateid, OTHER, true, NOW), Err(Status::BadStateid));
        assert_eq!(state.check_io(b, &second.stateid, FILE, true, NOW), Err(Status::BadStateid));
        let mut before = second.stateid;
        before.other[0] ^= 1;
        assert_eq!(state.test_stateid(a, &before), Status::StaleStateid);
        assert_eq!(state.test_stateid(a, &Stateid::INVALID), Status::BadStateid);
        assert_eq!(state.test_stateid(a, &second.stateid), Status::Ok);
        assert_eq!(state.free_stateid(a, &second.stateid), Err(Status::LocksHeld));
        state.close(a, &second.stateid, FILE).expect("it is open");
        assert_eq!(state.test_stateid(a, &second.stateid), Status::BadStateid);
        assert!(state.files.is_empty() && state.opens_by_owner.is_empty());
    }

    #[test]
    fn a_downgrade_goes_to_what_was_opened() {
        let mut state = state();
        let a = client(&mut state, b"a", NOW);
        let both = open(&mut state, a, "x", READ | WRITE, 0).expect("alone").stateid;
        assert_eq!(state.downgrade(a, &both, FILE, READ, 0), Err(Status::Invalid), "it was never opened so");
        let both = open(&mut state, a, "x", READ, WRITE).expect("its own").stateid;
        let less = state.downgrade(a, &both, FILE, READ, WRITE).expect("it was opened so");
        assert_eq!(less.seqid, 3);
        assert_eq!(state.check_io(a, &less, FILE, true, NOW), Err(Status::OpenMode));
    }

    #[test]
    fn a_silent_client_loses_its_state_to_a_conflict_only() {
        let mut state = state();
        let (a, b) = (client(&mut state, b"a", NOW), client(&mut state, b"b", NOW));
        open(&mut state, a, "x", READ, WRITE).expect("alone");
        let late = NOW + LEASE + Duration::from_secs(1);
        state.tick(late);
        assert_eq!(state.check_open(b, &owner("x"), FILE, (READ, 0), late), Ok(()));
        assert!(state.client(a).is_ok(), "nothing stood in the way");
        assert_eq!(state.check_open(b, &owner("x"), FILE, (WRITE, 0), late), Ok(()));
        assert_eq!(state.client(a).map(|_| ()), Err(Status::StaleClientId));
        assert_eq!(state.take_effects().closed, [FILE]);
    }

    #[test]
    fn nothing_is_taken_while_somebody_who_lives_is_in_the_way() {
        let mut state = state();
        let (a, b) = (client(&mut state, b"a", NOW), client(&mut state, b"b", NOW));
        open(&mut state, a, "x", READ, WRITE).expect("alone");
        let late = NOW + LEASE + Duration::from_secs(1);
        let c = client(&mut state, b"c", late);
        open(&mut state, c, "x", READ, WRITE).expect("they get along");
        assert_eq!(state.check_open(b, &owner("x"), FILE, (WRITE, 0), late), Err(Status::ShareDenied));
        assert!(state.client(a).is_ok());
    }

    #[test]
    fn a_client_that_ends_leaves_nothing() {
        let mut state = state();
        let a = client(&mut state, b"a", NOW);
        open(&mut state, a, "x", READ, 0).expect("alone");
        assert_eq!(state.destroy_client(a), Err(Status::ClientIdBusy));
        state.remove_client(a);
        assert!(state.files.is_empty() && state.opens.is_empty() && state.sessions.is_empty());
        assert!(state.by_owner.is_empty());
    }
}
