//! Files that GNU parallel brings to a host are in one pod, and gone with it. What comes for them finds that pod or is lost: in
//! another one a job might even succeed, with fewer files than it was meant to have.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use womm_wire::pod::Pod;

/// The most tries that are remembered of a place: many times what GNU parallel has under way on one host.
const MOST: usize = 4096;

/// In which pods there are files, by place.
pub struct Brought {
    /// Some are brought once, before the first job (`--basefile`).
    for_all: bool,
    places: Vec<Mutex<Place>>,
}

#[derive(Default)]
struct Place {
    /// What was brought for all.
    all: Option<Bound>,
    /// What was brought for each try of a job: the last ones.
    tries: VecDeque<(Vec<u8>, Bound)>,
}

/// Where the first program went.
struct Bound {
    pod: Pod,
    /// It began there; else there are no files.
    begun: bool,
    /// That the job is lost has been written down.
    noted: bool,
}

impl Bound {
    fn new(pod: &Pod) -> Self {
        Self { pod: pod.clone(), begun: false, noted: false }
    }

    /// Whether there are files in another pod than this one.
    fn is_elsewhere(&mut self, pod: &Pod) -> bool {
        if self.pod.uid == pod.uid {
            return false;
        }
        if !self.begun {
            self.pod = pod.clone();
        }
        self.begun
    }
}

/// Files are gone.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone {
    /// In words.
    pub why: String,
    /// All jobs of the place miss them.
    pub for_all: bool,
    /// That the job is lost is still to be written down.
    pub note: bool,
}

impl Place {
    /// What is known of a try.
    fn of(&mut self, attempt: &[u8], pod: &Pod) -> &mut Bound {
        let known = self.tries.iter().rposition(|(known, _)| known == attempt);
        let at = known.unwrap_or_else(|| {
            if self.tries.len() >= MOST {
                self.tries.pop_front();
            }
            self.tries.push_back((attempt.to_vec(), Bound::new(pod)));
            self.tries.len() - 1
        });
        &mut self.tries[at].1
    }
}

impl Brought {
    pub fn new(places: usize, for_all: bool) -> Self {
        Self { for_all, places: (0..places).map(|_| Mutex::default()).collect() }
    }

    fn place(&self, place: usize) -> MutexGuard<'_, Place> {
        self.places[place].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a program that belongs to this try of a job, if it is not empty, may run in this pod.
    pub fn check(&self, place: usize, attempt: &[u8], pod: &Pod) -> Result<(), Gone> {
        let mut place = self.place(place);
        let all = self.for_all.then(|| place.all.get_or_insert_with(|| Bound::new(pod)));
        let for_all = all.and_then(|all| all.is_elsewhere(pod).then(|| all.pod.name.clone()));
        if attempt.is_empty() {
            return for_all.map_or(Ok(()), |from| Err(gone(&from, true, false)));
        }
        let bound = place.of(attempt, pod);
        let from = match for_all {
            None if !bound.is_elsewhere(pod) => return Ok(()),
            None => bound.pod.name.clone(),
            Some(ref from) => from.clone(),
        };
        Err(gone(&from, for_all.is_some(), !std::mem::replace(&mut bound.noted, true)))
    }

    /// A program has begun in that pod, or may have.
    pub fn begun(&self, place: usize, attempt: &[u8], pod: &Pod) {
        let mut place = self.place(place);
        let all = place.all.iter_mut().filter(|all| all.pod.uid == pod.uid);
        all.for_each(|all| all.begun = true);
        if !attempt.is_empty() {
            place.of(attempt, pod).begun = true;
        }
    }

    /// A program of this try was lost, and that was written down.
    pub fn noted(&self, place: usize, attempt: &[u8], pod: &Pod) {
        if !attempt.is_empty() {
            self.place(place).of(attempt, pod).noted = true;
        }
    }
}

fn gone(from: &str, for_all: bool, note: bool) -> Gone {
    let which = if for_all { "that --basefile brought" } else { "that were brought for it" };
    Gone { why: format!("the files {which} are gone with pod {from}"), for_all, note }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Pod {
        Pod { name: name.into(), uid: name.into(), node: None }
    }

    #[test]
    fn a_job_goes_where_its_files_are_or_nowhere() {
        let brought = Brought::new(2, false);
        assert_eq!(brought.check(0, b"1.70", &pod("a")), Ok(()));
        brought.begun(0, b"1.70", &pod("a"));
        assert_eq!(brought.check(0, b"1.70", &pod("a")), Ok(()));
        let gone = brought.check(0, b"1.70", &pod("b")).unwrap_err();
        assert_eq!((gone.why.as_str(), gone.note), ("the files that were brought for it are gone with pod a", true));
        assert!(!brought.check(0, b"1.70", &pod("b")).unwrap_err().note, "it is one job");
        // Another try brings them again; another place has its own; who brings nothing goes anywhere.
        for (place, attempt) in [(0, &b"1.80"[..]), (1, b"1.70"), (0, b"")] {
            assert_eq!(brought.check(place, attempt, &pod("b")), Ok(()));
        }
    }

    #[test]
    fn what_did_not_begin_has_brought_nothing() {
        for for_all in [false, true] {
            let brought = Brought::new(1, for_all);
            assert_eq!(brought.check(0, b"1.70", &pod("a")), Ok(()));
            assert_eq!(brought.check(0, b"1.70", &pod("b")), Ok(()), "a has denied it");
            brought.begun(0, b"1.70", &pod("b"));
            let gone = brought.check(0, b"1.70", &pod("c")).unwrap_err();
            assert!(gone.why.ends_with("with pod b") && gone.for_all == for_all, "{gone:?}");
        }
    }

    #[test]
    fn a_loss_that_was_noted_is_not_noted_again() {
        let brought = Brought::new(1, false);
        assert_eq!(brought.check(0, b"1.70", &pod("a")), Ok(()));
        brought.begun(0, b"1.70", &pod("a"));
        brought.noted(0, b"1.70", &pod("a"));
        assert!(!brought.check(0, b"1.70", &pod("b")).unwrap_err().note);
    }

    #[test]
    fn only_the_last_tries_are_remembered() {
        let brought = Brought::new(1, false);
        for attempt in 0..=MOST {
            assert_eq!(brought.check(0, attempt.to_string().as_bytes(), &pod("a")), Ok(()));
        }
        assert_eq!(brought.place(0).tries.len(), MOST);
    }

    #[test]
    fn what_was_brought_once_is_in_the_first_pod_of_a_place() {
        let brought = Brought::new(2, true);
        for (place, name) in [(0, "a"), (1, "b")] {
            assert_eq!(brought.check(place, b"", &pod(name)), Ok(()));
            brought.begun(place, b"", &pod(name));
        }
        let gone = brought.check(0, b"9.9", &pod("c")).unwrap_err();
        assert!(gone.why.ends_with("with pod a") && gone.for_all && gone.note, "{gone:?}");
        assert!(!brought.check(0, b"", &pod("c")).unwrap_err().note, "--cleanup is no job");
    }
}
