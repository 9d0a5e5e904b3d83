//! One stream to one pod, kept up as long as the pod stands at its place, over as many connections as that takes.

use crate::places::{Places, State};
use crate::say;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use womm_cli::Failure;
use womm_engine::Wire;
use womm_stream::greeting::{GreetingError, Workstation};
use womm_stream::resumable::{Attached, Broke};
use womm_stream::session::Session;
use womm_wire::pod::Pod;

/// From the start of a dial to the agent's greeting.
const DEADLINE: Duration = Duration::from_secs(20);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A connection that lasted so long was a good one: the next break is no sign of worse.
const GOOD: Duration = Duration::from_secs(5);
/// A pod that can't be reached for so long is said to the user, once.
const WORTH_SAYING: Duration = Duration::from_secs(10);

/// Dials, again and again; aborted when the pod is gone.
pub async fn keep(places: Arc<Places>, place: usize, pod: Pod) {
    let mut stream = new_stream(&places);
    let mut at_work: Option<Session> = None;
    let mut pause = FIRST_PAUSE;
    let mut cut_since = Instant::now();
    let mut said = false;
    let mut leaving = places.leaving();
    loop {
        let dialled = tokio::select! {
            dialled = dial(&places, &pod, &mut stream) => dialled,
            () = left(&mut leaving) => return,
        };
        match dialled {
            Ok((first, attached)) => {
                at_work = first.or(at_work);
                if let Some(session) = &at_work {
                    places.set(place, &pod, State::Up(pod.clone(), session.clone()));
                }
                if said {
                    say(&format!("pod {} can be reached again", pod.name));
                }
                let begun = Instant::now();
                let running = attached.run();
                tokio::pin!(running);
                let broke = tokio::select! {
                    broke = &mut running => broke,
                    () = left(&mut leaving) => {
                        stream.finish("the run is over");
                        running.await;
                        return;
                    }
                };
                places.set(place, &pod, State::Cut);
                (cut_since, said) = (Instant::now(), false);
                if begun.elapsed() > GOOD {
                    pause = FIRST_PAUSE;
                }
                if let Broke::Over(_) = broke {
                    (stream, at_work) = (new_stream(&places), None);
                }
            }
            Err(Outcome::Never(why)) => {
                say(&format!("pod {}: {why}", pod.name));
                places.set(place, &pod, State::Failed(why));
                return;
            }
            Err(Outcome::Anew(why)) => {
                // Its jobs hear why their pod's streams end.
                stream.finish(&why);
                (stream, at_work) = (new_stream(&places), None);
            }
            Err(Outcome::NotNow(why)) => {
                if !said && cut_since.elapsed() > WORTH_SAYING {
                    say(&format!("pod {} can't be reached, trying on: {why}", pod.name));
                    said = true;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(jittered(pause, &pod, cut_since)) => {}
            () = left(&mut leaving) => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn left(leaving: &mut tokio::sync::watch::Receiver<bool>) {
    let _ = leaving.wait_for(|leaving| *leaving).await;
}

/// With an id that no other stream has: of this process's start and a number.
fn new_stream(places: &Places) -> Workstation {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = format!("{}-{}", places.id, NEXT.fetch_add(1, Ordering::Relaxed));
    Workstation::new(places.task.id.clone(), id, places.stream)
}

enum Outcome {
    NotNow(String),
    /// The agent is another one than before, or the stream is over for another reason.
    Anew(String),
    Never(String),
}

async fn dial(
    places: &Places,
    pod: &Pod,
    stream: &mut Workstation,
) -> Result<(Option<Session>, Attached<Box<dyn Wire>>), Outcome> {
    let not_now = |e: &dyn std::fmt::Display| Outcome::NotNow(e.to_string());
    let _permit = places.dials.acquire().await.map_err(|e| not_now(&e))?;
    let connected = async {
        let wire = places.engine.dial(&places.task, pod).await.map_err(|e| not_now(&Failure::from(e)))?;
        let greeted = stream.greet(wire).await;
        match greeted {
            Ok(greeted) => Ok(greeted),
            Err(e @ GreetingError::Version { .. }) => Err(Outcome::Never(e.to_string())),
            Err(e @ GreetingError::Unknown) => Err(Outcome::Anew(e.to_string())),
            Err(GreetingError::TooLate(why)) => Err(Outcome::Anew(why)),
            // Foreign: also what an engine says on the wire about a container that ends at this moment.
            Err(e @ (GreetingError::Foreign(_) | GreetingError::Wire(_) | GreetingError::Owned)) => Err(not_now(&e)),
        }
    };
    match tokio::time::timeout(DEADLINE, connected).await {
        Ok(result) => result,
        Err(_) => Err(Outcome::NotNow(format!("no greeting from the agent within {} s", DEADLINE.as_secs()))),
    }
}

/// Between half and the whole of a pause, so that the pods of a node that came back are not all dialled at once.
fn jittered(pause: Duration, pod: &Pod, since: Instant) -> Duration {
    let seed = pod.uid.bytes().fold(u64::from(since.elapsed().subsec_nanos()), |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    pause / 2 + pause.mul_f64((seed % 1000) as f64 / 2000.0)
}
