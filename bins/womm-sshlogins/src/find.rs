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
        let slot = tokio::select! {
            biased;
            slot = places.slots(at).acquire_owned(), if of_run => Some(slot.map_err(|e| e.to_string())?),
            changed = own_rx.changed(), if of_run => {
                changed.map_err(gone)?;
                continue;
            }
            changed = at_rx.changed(), if of_run => {
                changed.map_err(gone)?;
                continue;
            }
            () = std::future::ready(()), if !of_run => None,
        };
        let state = at_rx.borrow().clone();
        if let State::Up(pod, session, writes) = state {
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
