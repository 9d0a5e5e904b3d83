//! Finds a pod and a slot for a job.

use crate::places::{Places, State};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use womm_stream::resumable::Writes;
use womm_stream::session::{Ended, Stream};
use womm_wire::pod::Pod;

/// How often is looked whether a place that was left empty has found its jobs a host.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A stream to a pod, and the slot of it that the job has until it ends.
pub struct Found {
    pub pod: Pod,
    pub stream: Stream,
    /// Says why the stream broke, if the pod's agent or we are the reason.
    pub session: Ended,
    pub slot: Option<OwnedSemaphorePermit>,
    /// The job's, and those of others that come later.
    pub writes: Writes,
}

/// Waits for a pod at the place, or one elsewhere if it stays empty, for a slot there, and opens a stream. Opening sends
/// nothing, so it may be tried again.
pub async fn find(places: &Places, place: usize, of_run: bool) -> Result<Found, String> {
    let gone = |_| "the run has ended".to_owned();
    let mut own_rx = places.subscribe(place).ok_or("no such place")?;
    loop {
        let own = own_rx.borrow_and_update().clone();
        let at = match own {
            State::Failed(why) => return Err(why),
            State::Up(..) => {
                places.is_guest_no_more(place);
                Some(place)
            }
            State::Waiting => places.host_of(place),
            State::Cut => None,
        };
        let Some(at) = at else {
            tokio::select! {
                changed = own_rx.changed() => changed.map_err(gone)?,
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            continue;
        };
        let mut at_rx = places.subscribe(at).ok_or("no such place")?;
        at_rx.mark_unchanged();
        let (at, slot) = tokio::select! {
            biased;
            slot = places.slots(at).acquire_owned(), if of_run => (at, Some(slot.map_err(|e| e.to_string())?)),
            free = free_elsewhere(places, at), if of_run && places.guests => (free.0, Some(free.1)),
            changed = own_rx.changed(), if of_run => {
                changed.map_err(gone)?;
                continue;
            }
            changed = at_rx.changed(), if of_run => {
                changed.map_err(gone)?;
                continue;
            }
            () = std::future::ready(()), if !of_run => (at, None),
        };
        if let Some(State::Up(pod, session, writes)) = places.state(at) {
            match session.open().await {
                Ok(stream) => {
                    return Ok(Found { pod, stream, session: session.ended(), slot, writes: writes.from_now() });
                }
                // Its successor, or the end of the pod, is about to be known.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

/// A slot that is free at another place. A pod that had guests before theirs came is full of them; who waited for one of
/// them to end, hours maybe, would leave the pod idle that came for them.
async fn free_elsewhere(places: &Places, full: usize) -> (usize, OwnedSemaphorePermit) {
    let mut pause = LOOK_AGAIN;
    loop {
        tokio::time::sleep(pause).await;
        if let Some(free) = places.free_slot(full) {
            return free;
        }
        // Thousands may wait, and each looks at all places.
        pause = (pause * 2).min(LOOK_AGAIN * 10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::tests::{Fake, Two, places_of, pod, second_pod};
    use crate::places::Files;
    use std::sync::Arc;

    async fn found(places: &Arc<Places>, place: usize) -> Found {
        let found = tokio::time::timeout(Duration::from_secs(60), find(places, place, true)).await;
        found.expect("in time").expect("a pod")
    }

    #[tokio::test]
    async fn a_job_whose_place_is_full_of_guests_goes_to_the_pod_that_came_for_them() {
        let (_run, places) = places_of(Box::new(Two(Fake::new(), Fake::new())), 2, Files::Elsewhere);
        places.add(pod());
        let guest = found(&places, 1).await;
        assert_eq!(guest.pod, pod(), "nobody else is there yet");
        let late = tokio::time::timeout(LOOK_AGAIN * 5, find(&places, 0, true)).await;
        assert!(late.is_err(), "there is no other pod with room");
        places.add(second_pod());
        let elsewhere = found(&places, 0).await;
        assert_eq!(elsewhere.pod, second_pod());
        drop(guest);
        assert_eq!(found(&places, 0).await.pod, pod(), "its own is the first choice");
    }

    #[tokio::test]
    async fn a_job_of_a_run_without_guests_waits_for_its_own_place() {
        let (_run, places) = places_of(Box::new(Two(Fake::new(), Fake::new())), 2, Files::Brought);
        places.add(pod());
        places.add(second_pod());
        let first = found(&places, 0).await;
        let second = tokio::time::timeout(LOOK_AGAIN * 5, find(&places, 0, true)).await;
        assert!(second.is_err(), "another pod has no files of its");
        drop(first);
        assert_eq!(found(&places, 0).await.pod, pod());
    }
}
