//! Lock owners and their stateids (RFC 8881, 9, 18.10–18.12).

use super::locks::{Held, Locks, Range};
use super::opens::{self, Named, READ, WRITE};
use super::room::{RANGE_BYTES, locker_bytes};
use super::{FileKey, State};
use crate::limits::MOST_LOCKS_OF_FILE;
use crate::status::Status;
use crate::wire::{ClientId, Owner, Stateid};
use std::time::Duration;

/// What one lock-owner has of one file.
#[derive(Debug)]
pub struct LockState {
    pub(super) client: ClientId,
    pub(super) owner: Owner,
    pub(super) file: FileKey,
    /// The open that it locks through.
    pub(super) open: u64,
    pub(super) seqid: u32,
}

/// Who locks.
#[derive(Debug, Clone)]
pub enum Locker {
    /// An owner, through an open.
    New(Stateid, Owner),
    /// One who has a stateid.
    Known(Stateid),
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Which bytes.
    pub range: Range,
    /// Alone.
    pub write: bool,
    /// It was held before the server's restart.
    pub reclaim: bool,
}

/// Who is in the way (LOCK4denied).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// What he holds.
    pub held: Held,
    /// Whose client.
    pub client: ClientId,
    /// Who.
    pub owner: Owner,
}

/// Why there is no lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoLock {
    /// DENIED.
    Denied(Denied),
    /// Anything else.
    Refused(Status),
}

impl From<Status> for NoLock {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

impl State {
    /// LOCK.
    ///
    /// # Errors
    /// DENIED; as for the stateid; OPENMODE; GRACE, NO_GRACE, RECLAIM_BAD.
    pub fn lock(
        &mut self,
        client: ClientId,
        locker: &Locker,
        file: FileKey,
        wanted: Wanted,
        now: Duration,
    ) -> Result<Stateid, NoLock> {
        let (open, known) = self.locker(client, locker, file)?;
        self.may_get_state(client, wanted.reclaim, now)?;
        let access = self.opens.get(&open).ok_or(Status::BadStateid)?.access;
        if access & if wanted.write { WRITE } else { READ } == 0 {
            return Err(Status::OpenMode.into());
        }
        if let Some(denied) = self.in_the_way(client, known, file, wanted.range, wanted.write, now) {
            return Err(if wanted.reclaim { Status::ReclaimConflict.into() } else { NoLock::Denied(denied) });
        }
        if self.has_enough_locks(client, file, wanted.reclaim) {
            return Err(Status::Delay.into());
        }
        let number = match (known, locker) {
            (Some(number), _) => number,
            (None, Locker::New(_, owner)) => self.new_locker(client, owner, file, open, wanted.reclaim)?,
            (None, Locker::Known(_)) => return Err(Status::BadStateid.into()),
        };
        self.change_locks(client, file, |locks| locks.lock(number, wanted.range, wanted.write));
        Ok(self.counted_up(number)?)
    }

    fn has_enough_locks(&self, client: ClientId, file: FileKey, reclaims: bool) -> bool {
        let of_file = self.files.get(&file).map_or(0, |state| state.locks.count());
        of_file >= MOST_LOCKS_OF_FILE || self.has_enough_states(client, reclaims)
    }

    /// Changes a client's locked ranges, and counts what they take.
    fn change_locks(&mut self, client: ClientId, file: FileKey, change: impl FnOnce(&mut Locks)) {
        let Some(state) = self.files.get_mut(&file) else { return };
        let before = state.locks.count();
        change(&mut state.locks);
        let after = state.locks.count();
        self.change_room(client, before * RANGE_BYTES, after * RANGE_BYTES);
    }

    /// The open that is locked through, and the lock state if there is one.
    fn locker(&self, client: ClientId, locker: &Locker, file: FileKey) -> Result<(u64, Option<u64>), Status> {
        match locker {
            Locker::New(stateid, owner) => {
                let Named::Open(open) = self.named(client, stateid, Some(file))? else {
                    return Err(Status::BadStateid);
                };
                Ok((open, self.lockers_by_owner.get(&(client, owner.clone(), file)).copied()))
            }
            Locker::Known(stateid) => {
                let Named::Locker(number) = self.named(client, stateid, Some(file))? else {
                    return Err(Status::BadStateid);
                };
                let open = self.lockers.get(&number).ok_or(Status::BadStateid)?.open;
                Ok((open, Some(number)))
            }
        }
    }

    fn new_locker(
        &mut self,
        client: ClientId,
        owner: &Owner,
        file: FileKey,
        open: u64,
        reclaims: bool,
    ) -> Result<u64, Status> {
        self.take_room(client, locker_bytes(owner), reclaims)?;
        let number = self.number();
        self.lockers.insert(number, LockState { client, owner: owner.clone(), file, open, seqid: 0 });
        self.lockers_by_owner.insert((client, owner.clone(), file), number);
        self.files.entry(file).or_default().lockers += 1;
        if let Some(open) = self.opens.get_mut(&open) {
            open.lockers.insert(number);
        }
        Ok(number)
    }

    fn counted_up(&mut self, number: u64) -> Result<Stateid, Status> {
        let state = self.lockers.get_mut(&number).ok_or(Status::BadStateid)?;
        state.seqid = opens::next(state.seqid);
        let seqid = state.seqid;
        Ok(self.stateid(number, seqid))
    }

    /// LOCKT: who would be in the way of a lock.
    pub fn test_lock(
        &mut self,
        client: ClientId,
        owner: &Owner,
        file: FileKey,
        range: Range,
        write: bool,
        now: Duration,
    ) -> Option<Denied> {
        let own = self.lockers_by_owner.get(&(client, owner.clone(), file)).copied();
        self.in_the_way(client, own, file, range, write, now)
    }

    fn in_the_way(
        &mut self,
        client: ClientId,
        own: Option<u64>,
        file: FileKey,
        range: Range,
        write: bool,
        now: Duration,
    ) -> Option<Denied> {
        loop {
            let held = self.files.get(&file)?.locks.conflict(own, range, write)?;
            let holder = self.lockers.get(&held.holder)?;
            let (other, owner) = (holder.client, holder.owner.clone());
            if other == client || !self.is_silent(other, now) {
                return Some(Denied { held, client: other, owner });
            }
            self.remove_client(other);
        }
    }

    /// LOCKU. It never waits.
    ///
    /// # Errors
    /// As for the stateid; LOCK_RANGE if there would be one more range than there is room for.
    pub fn unlock(
        &mut self,
        client: ClientId,
        stateid: &Stateid,
        file: FileKey,
        range: Range,
    ) -> Result<Stateid, Status> {
        let Named::Locker(number) = self.named(client, stateid, Some(file))? else { return Err(Status::BadStateid) };
        let splits = self.files.get(&file).is_some_and(|state| state.locks.splits(number, range));
        if splits && self.has_enough_locks(client, file, false) {
            return Err(Status::LockRange);
        }
        self.change_locks(client, file, |locks| locks.unlock(number, range));
        self.counted_up(number)
    }

    pub(super) fn holds_locks(&self, number: u64) -> bool {
        let file = self.lockers.get(&number).map(|locker| locker.file);
        file.and_then(|file| self.files.get(&file)).is_some_and(|state| state.locks.holds(number))
    }

    pub(super) fn remove_locker(&mut self, number: u64) {
        let Some(locker) = self.lockers.remove(&number) else { return };
        self.change_locks(locker.client, locker.file, |locks| locks.release(number));
        if let Some(state) = self.files.get_mut(&locker.file) {
            state.lockers -= 1;
        }
        if let Some(open) = self.opens.get_mut(&locker.open) {
            open.lockers.remove(&number);
        }
        self.change_room(locker.client, locker_bytes(&locker.owner), 0);
        self.lockers_by_owner.remove(&(locker.client, locker.owner, locker.file));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LEASE, client, state};
    use super::*;
    use womm_vfs::NodeId;

    const NOW: Duration = Duration::from_secs(5);
    const FILE: FileKey = FileKey { export: 1, node: NodeId(7) };

    fn owner(name: &'static str) -> Owner {
        Owner::from_static(name.as_bytes())
    }

    fn wanted(offset: u64, length: u64, write: bool) -> Wanted {
        Wanted { range: Range::new(offset, length).expect("a range"), write, reclaim: false }
    }

    fn opened(state: &mut State, client: ClientId) -> Stateid {
        state.open(client, &owner("o"), FILE, READ | WRITE, 0, false).expect("few").stateid
    }

    #[test]
    fn a_lock_from_open_to_close() {
        let mut state = state();
        let (a, b) = (client(&mut state, b"a", NOW), client(&mut state, b"b", NOW));
        let (in_a, in_b) = (opened(&mut state, a), opened(&mut state, b));
        let new_a = Locker::New(in_a, owner("p"));
        let first = state.lock(a, &new_a, FILE, wanted(0, 10, true), NOW).expect("alone");
        assert_eq!(first.seqid, 1);
        let new_b = Locker::New(in_b, owner("p"));
        let Err(NoLock::Denied(denied)) = state.lock(b, &new_b, FILE, wanted(5, 10, false), NOW) else {
            panic!("denied")
        };
        assert_eq!((denied.client, denied.owner, denied.held.range.last), (a, owner("p"), 9));
        assert!(state.test_lock(b, &owner("p"), FILE, wanted(9, 1, false).range, false, NOW).is_some());
        assert!(state.test_lock(a, &owner("p"), FILE, wanted(9, 1, false).range, true, NOW).is_none());
        let again = state.lock(a, &Locker::Known(first), FILE, wanted(10, 10, true), NOW).expect("its own");
        assert_eq!(again.seqid, 2);
        assert_eq!(state.free_stateid(a, &again), Err(Status::LocksHeld));
        let none = state.unlock(a, &again, FILE, wanted(0, u64::MAX, true).range).expect("it has some");
        assert_eq!(state.free_stateid(a, &none), Ok(()));
        state.lock(b, &new_b, FILE, wanted(0, 10, true), NOW).expect("free");
        state.close(b, &in_b, FILE).expect("open");
        assert!(state.lockers.is_empty() && state.lockers_by_owner.is_empty());
        state.lock(a, &new_a, FILE, wanted(0, 10, true), NOW).expect("free again");
    }

    #[test]
    fn a_lock_needs_an_open_of_its_kind() {
        let mut state = state();
        let a = client(&mut state, b"a", NOW);
        let read = state.open(a, &owner("o"), FILE, READ, 0, false).expect("few").stateid;
        let new = Locker::New(read, owner("p"));
        let result = state.lock(a, &new, FILE, wanted(0, 1, true), NOW);
        assert_eq!(result, Err(NoLock::Refused(Status::OpenMode)));
        let locked = state.lock(a, &new, FILE, wanted(0, 1, false), NOW).expect("to read");
        assert_eq!(state.close(a, &locked, FILE), Err(Status::BadStateid), "it is no open");
        let reclaim = Wanted { reclaim: true, ..wanted(0, 1, false) };
        assert_eq!(state.lock(a, &new, FILE, reclaim, NOW), Err(NoLock::Refused(Status::NoGrace)));
    }

    #[test]
    fn a_silent_clients_lock_gives_way() {
        let mut state = state();
        let a = client(&mut state, b"a", NOW);
        let in_a = opened(&mut state, a);
        state.lock(a, &Locker::New(in_a, owner("p")), FILE, wanted(0, 10, true), NOW).expect("alone");
        let late = NOW + LEASE + Duration::from_secs(1);
        let b = client(&mut state, b"b", late);
        let in_b = opened(&mut state, b);
        state.lock(b, &Locker::New(in_b, owner("p")), FILE, wanted(20, 1, true), late).expect("elsewhere");
        assert!(state.client(a).is_ok());
        state.lock(b, &Locker::New(in_b, owner("p")), FILE, wanted(0, 1, true), late).expect("it gives way");
        assert!(state.client(a).is_err());
    }
}
