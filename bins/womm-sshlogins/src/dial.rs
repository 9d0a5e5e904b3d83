//! One connection to one pod, kept up as long as the pod stands at its place.

use crate::places::{Places, State};
use crate::say;
use std::sync::Arc;
use std::time::{Duration, Instant};
use womm_cli::Failure;
use womm_stream::hello::{Hello, HelloError};
use womm_stream::session::Session;
use womm_wire::pod::Pod;

/// From the start of a dial to the agent's greeting.
const DEADLINE: Duration = Duration::from_secs(20);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A pod that can't be reached for so long is said to the user, once.
const WORTH_SAYING: Duration = Duration::from_secs(10);

/// Dials, again and again; aborted when the pod is gone.
pub async fn keep(places: Arc<Places>, place: usize, pod: Pod) {
    let mut pause = FIRST_PAUSE;
    let mut trying_since = Instant::now();
    let mut said = false;
    loop {
        match dial(&places, &pod).await {
            Ok(session) => {
                places.set(place, &pod, State::Up(pod.clone(), session.clone()));
                session.broken().await;
                places.set(place, &pod, State::Waiting);
                (pause, trying_since, said) = (FIRST_PAUSE, Instant::now(), false);
            }
            Err(Outcome::Never(why)) => {
                say(&format!("pod {}: {why}", pod.name));
                places.set(place, &pod, State::Failed(why));
                return;
            }
            Err(Outcome::NotNow(why)) => {
                if !said && trying_since.elapsed() > WORTH_SAYING {
                    say(&format!("pod {} can't be reached, trying on: {why}", pod.name));
                    said = true;
                }
            }
        }
        tokio::time::sleep(jittered(pause, &pod, trying_since)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

enum Outcome {
    NotNow(String),
    Never(String),
}

async fn dial(places: &Places, pod: &Pod) -> Result<Session, Outcome> {
    let not_now = |e: &dyn std::fmt::Display| Outcome::NotNow(e.to_string());
    let _permit = places.dials.acquire().await.map_err(|e| not_now(&e))?;
    let connected = async {
        let wire = places.engine.dial(&places.task, pod).await.map_err(|e| not_now(&Failure::from(e)))?;
        match womm_stream::connect(wire, &Hello::ours(places.task.id.clone())).await {
            Ok((_, session)) => Ok(session),
            Err(e @ HelloError::Version { .. }) => Err(Outcome::Never(e.to_string())),
            // Foreign: also what an engine says on the wire about a container that ends at this moment.
            Err(e @ (HelloError::Foreign(_) | HelloError::Wire(_))) => Err(not_now(&e)),
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
