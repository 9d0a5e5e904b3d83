//! Files that GNU parallel brings to a host are in one pod, and gone with it. What comes for them finds that pod or is lost: in
//! another one a job might even succeed, with fewer files than it was meant to have.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use womm_wire::pod::Pod;

/// In which pods there are files, by place.
pub struct Brought {
    /// Files are brought once, before the first job (`--basefile`).
    for_all: bool,
    /// The most tries that are remembered of a place: there are no more at once than slots.
    most: usize,
    places: Vec<Mutex<Place>>,
}

#[derive(Default)]
struct Place {
    /// Where the first program of all went.
    first: Option<Pod>,
    /// Where the first program of each try of a job went: the last ones.
    tries: VecDeque<(Vec<u8>, Pod)>,
}

impl Brought {
    pub fn new(places: usize, slots: u32, for_all: bool) -> Self {
        Self { for_all, most: 2 * slots as usize, places: (0..places).map(|_| Mutex::default()).collect() }
    }

    /// Whether a program that belongs to this try of a job may run in this pod; else why not.
    pub fn check(&self, place: usize, attempt: &[u8], pod: &Pod) -> Result<(), String> {
        let mut place = self.places[place].lock().unwrap_or_else(PoisonError::into_inner);
        if self.for_all {
            let first = place.first.get_or_insert_with(|| pod.clone());
            if first.uid != pod.uid {
                return Err(format!("the files that --basefile brought are gone with pod {}", first.name));
            }
        }
        if attempt.is_empty() {
            return Ok(());
        }
        match place.tries.iter().find(|(known, _)| known == attempt) {
            Some((_, first)) if first.uid != pod.uid => {
                Err(format!("the files that were brought for it are gone with pod {}", first.name))
            }
            Some(_) => Ok(()),
            None => {
                if place.tries.len() >= self.most {
                    place.tries.pop_front();
                }
                place.tries.push_back((attempt.to_vec(), pod.clone()));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Pod {
        Pod { name: name.into(), uid: name.into(), node: None }
    }

    #[test]
    fn a_job_goes_where_its_files_are_or_nowhere() {
        let brought = Brought::new(2, 1, false);
        assert_eq!(brought.check(0, b"1.70", &pod("a")), Ok(()));
        assert_eq!(brought.check(0, b"1.70", &pod("a")), Ok(()));
        let gone = brought.check(0, b"1.70", &pod("b")).unwrap_err();
        assert_eq!(gone, "the files that were brought for it are gone with pod a");
        // Another try brings them again; another place has its own; who brings nothing goes anywhere.
        for (place, attempt) in [(0, &b"1.80"[..]), (1, b"1.70"), (0, b"")] {
            assert_eq!(brought.check(place, attempt, &pod("b")), Ok(()));
        }
    }

    #[test]
    fn only_the_last_tries_are_remembered() {
        let brought = Brought::new(1, 2, false);
        for attempt in 0..5_u8 {
            assert_eq!(brought.check(0, &[attempt], &pod("a")), Ok(()));
        }
        assert_eq!(brought.places[0].lock().unwrap().tries.len(), 4);
        assert!(brought.check(0, &[4], &pod("b")).is_err());
    }

    #[test]
    fn what_was_brought_once_is_in_the_first_pod_of_a_place() {
        let brought = Brought::new(2, 1, true);
        assert_eq!(brought.check(0, b"", &pod("a")), Ok(()));
        assert_eq!(brought.check(1, b"", &pod("b")), Ok(()));
        assert!(brought.check(0, b"9.9", &pod("c")).unwrap_err().ends_with("with pod a"));
    }
}
