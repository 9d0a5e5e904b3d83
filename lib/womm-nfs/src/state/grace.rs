//! After a restart: clients that had state may take it back before anybody else gets some (RFC 8881, 8.4.2).

use crate::journal::ClientRecord;
use std::collections::HashSet;
use std::time::Duration;

/// Who is waited for, and until when.
#[derive(Debug, Default)]
pub struct Grace {
    awaited: HashSet<ClientRecord>,
    /// Those of them that have come and not yet said that they are done.
    reclaiming: HashSet<ClientRecord>,
    began: Duration,
    lease: Duration,
    over: bool,
}

impl Grace {
    /// For clients with these records; none, no grace.
    pub fn new(records: impl IntoIterator<Item = ClientRecord>, now: Duration, lease: Duration) -> Self {
        let awaited: HashSet<_> = records.into_iter().collect();
        let over = awaited.is_empty();
        Self { awaited, reclaiming: HashSet::new(), began: now, lease, over }
    }

    /// Whether it is over. A lease long, and another while somebody is in the middle of it.
    pub fn is_over(&mut self, now: Duration) -> bool {
        let most = if self.reclaiming.is_empty() { self.lease } else { 2 * self.lease };
        self.over |= now >= self.began + most;
        self.over
    }

    /// A client has come; answers whether it had state.
    pub fn came(&mut self, record: &ClientRecord) -> bool {
        let had = !self.over && self.awaited.contains(record);
        if had {
            self.reclaiming.insert(record.clone());
        }
        had
    }

    /// A client has nothing more to reclaim.
    pub fn done(&mut self, record: &ClientRecord) {
        self.reclaiming.remove(record);
        self.awaited.remove(record);
        self.over |= self.awaited.is_empty();
    }

    /// The clients of this name that restarted have nothing to reclaim.
    pub fn restarted(&mut self, record: &ClientRecord) -> Vec<ClientRecord> {
        let same = |old: &&ClientRecord| old.owner == record.owner && *old != record && old.address == record.address;
        let gone: Vec<_> = self.awaited.iter().filter(same).cloned().collect();
        for old in &gone {
            self.done(old);
        }
        gone
    }

    /// Those who never came, once it is over: what they had is lost, and they may not take it back after another restart.
    pub fn take_missing(&mut self) -> Vec<ClientRecord> {
        let reclaiming = std::mem::take(&mut self.reclaiming);
        std::mem::take(&mut self.awaited).into_iter().filter(|record| !reclaiming.contains(record)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    fn record(name: &'static [u8]) -> ClientRecord {
        ClientRecord::for_tests(name, 1)
    }

    #[test]
    fn none_without_records() {
        assert!(Grace::new([], Duration::ZERO, LEASE).is_over(Duration::ZERO));
    }

    #[test]
    fn over_when_all_are_done() {
        let mut grace = Grace::new([record(b"a"), record(b"b")], Duration::ZERO, LEASE);
        assert!(grace.came(&record(b"a")) && !grace.came(&record(b"c")));
        grace.done(&record(b"a"));
        assert!(!grace.is_over(Duration::ZERO));
        grace.done(&record(b"b"));
        assert!(grace.is_over(Duration::ZERO));
        assert!(grace.take_missing().is_empty());
    }

    #[test]
    fn a_client_that_is_reclaiming_gets_more_time() {
        let mut grace = Grace::new([record(b"a"), record(b"b")], Duration::ZERO, LEASE);
        grace.came(&record(b"a"));
        assert!(!grace.is_over(LEASE));
        assert!(grace.is_over(2 * LEASE));
        assert_eq!(grace.take_missing(), [record(b"b")]);
    }

    #[test]
    fn a_client_that_restarted_is_not_waited_for() {
        let mut grace = Grace::new([record(b"a")], Duration::ZERO, LEASE);
        let restarted = ClientRecord::for_tests(b"a", 2);
        assert!(!grace.came(&restarted));
        assert_eq!(grace.restarted(&restarted), [record(b"a")]);
        assert!(grace.is_over(Duration::ZERO));
    }
}
