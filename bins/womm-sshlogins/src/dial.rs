//! One stream to one pod, kept up as long as the pod stands at its place, over as many connections as that takes.

use crate::places::{Places, State};
use crate::say;
use futures::future::{BoxFuture, select_all};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use womm_cli::Failure;
use womm_engine::{Engine, Error, Wire};
use womm_stream::greeting::{GreetingError, Workstation};
use womm_stream::resumable::{Attached, Broke};
use womm_stream::session::Session;
use womm_wire::pod::Pod;
use womm_wire::record::Task;

#[cfg(test)]
pub mod tests;

/// From the start of a dial to the agent's greeting.
const DEADLINE: Duration = Duration::from_secs(20);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// A connection that lasted so long was a good one: the next break is no sign of worse.
const GOOD: Duration = Duration::from_secs(5);
/// A pod that can't be reached for so long is said to the user, once.
const WORTH_SAYING: Duration = Duration::from_secs(10);
/// Nothing came from a pod for so many keepalives: a second connection is tried, before the first is given up.
const SUSPICIOUS: u32 = 3;
/// What an engine must go on saying for so long before it is believed: one that has just been started may not know its pods,
/// or who may do what, yet.
const CERTAIN: Duration = Duration::from_secs(5);
/// How long those who watch pods may take to see that one was started again: longer than they take from list to list.
const TO_HEAR: Duration = Duration::from_secs(15);
/// The most connections to one pod that are tried at once.
const MOST_TRIES: usize = 4;

/// What makes wires to pods: an engine.
pub trait Dial: Send + Sync {
    /// A new one.
    fn dial<'a>(&'a self, task: &'a Task, pod: &'a Pod) -> BoxFuture<'a, Result<Box<dyn Wire>, Error>>;
}

impl Dial for Engine {
    fn dial<'a>(&'a self, task: &'a Task, pod: &'a Pod) -> BoxFuture<'a, Result<Box<dyn Wire>, Error>> {
        Box::pin(Self::dial(self, task, pod))
    }
}

/// Dials, again and again; aborted when the pod is gone.
pub async fn keep(places: Arc<Places>, place: usize, pod: Pod) {
    let mut stream = new_stream(&places);
    let mut at_work: Option<Session> = None;
    let mut pause = FIRST_PAUSE;
    let mut cut_since = Instant::now();
    let mut said = false;
    let mut refusals = Refusals::default();
    let mut leaving = places.leaving();
    loop {
        let greeted = tokio::select! {
            greeted = reach(&places, &pod, &stream) => greeted,
            () = left(&mut leaving) => return,
        };
        match refusals.judge(&places, greeted) {
            Ok((first, mut attached)) => {
                at_work = first.or(at_work);
                if said {
                    say(&format!("pod {} can be reached again", pod.name));
                }
                let begun = Instant::now();
                let broke = loop {
                    if let (Some(session), Some(writes)) = (&at_work, stream.writes()) {
                        places.set(place, &pod, State::Up(pod.clone(), session.clone(), writes));
                    }
                    let again = second(&places, &pod, &stream);
                    let running = attached.run();
                    tokio::pin!(again, running);
                    let next = tokio::select! {
                        broke = &mut running => match broke {
                            // For the second one, which is about to be there: the agent answers.
                            Broke::Replaced => tokio::select! {
                                next = tokio::time::timeout(DEADLINE, again) => next.ok().flatten(),
                                () = left(&mut leaving) => {
                                    stream.finish("the run is over");
                                    return;
                                }
                            },
                            broke => break broke,
                        },
                        next = &mut again => next,
                        () = left(&mut leaving) => {
                            stream.finish("the run is over");
                            running.await;
                            return;
                        }
                    };
                    match next {
                        Some(next) => attached = next,
                        None => break Broke::Replaced,
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
            Err(Outcome::Gone(_)) => {
                places.remove(&pod, "it does not exist any more".into());
                return;
            }
            Err(Outcome::Anew(why)) => {
                // Its jobs hear why their pod's streams end.
                stream.finish(&why);
                (stream, at_work) = (new_stream(&places), None);
            }
            Err(Outcome::Another(why)) => {
                stream.finish(&why);
                (stream, at_work) = (new_stream(&places), None);
                // The pod's container was started again, and so is another pod for whoever watches; a job that went there
                // before that is said would go on without us, being lost with the old one.
                if places.is_watched() {
                    tokio::select! {
                        () = tokio::time::sleep(TO_HEAR) => {}
                        () = left(&mut leaving) => return,
                    }
                }
            }
            Err(Outcome::NotNow(why) | Outcome::Forbidden(why)) => {
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
        pause = (pause * 2).min(places.dials.slowed(places.pace));
    }
}

/// A second wire for a stream whose first one has fallen silent. Most such wires are dead, though TCP would find out
/// only after minutes; one that speaks again keeps its place. `None`: the pod or its agent is another one, so the first is dead.
async fn second(places: &Places, pod: &Pod, stream: &Workstation) -> Option<Attached<Box<dyn Wire>>> {
    let suspicious = places.stream.interval * SUSPICIOUS;
    loop {
        let silent = stream.silent_for();
        if silent < suspicious {
            tokio::time::sleep(suspicious - silent).await;
            continue;
        }
        match reach(places, pod, stream).await {
            Ok((_, attached)) => return Some(attached),
            Err(Outcome::NotNow(_) | Outcome::Gone(_) | Outcome::Forbidden(_)) => {
                tokio::time::sleep(places.dials.slowed(places.pace)).await;
            }
            // It is found out again once the first wire is given up.
            Err(Outcome::Another(_) | Outcome::Anew(_) | Outcome::Never(_)) => return None,
        }
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
    /// The agent is another one than before.
    Another(String),
    /// The stream is over for another reason.
    Anew(String),
    Never(String),
    /// There is no such pod, says the engine.
    Gone(String),
    /// We may not reach it, says the engine, and never have.
    Forbidden(String),
}

/// What the engine refuses, and since when.
#[derive(Default)]
struct Refusals {
    since: Option<Instant>,
}

impl Refusals {
    /// Takes the engine at its word once it has said so for long. Of pods that are gone it is not asked as long as somebody
    /// watches them, who knows why they went and replaces them.
    fn judge(&mut self, places: &Places, greeted: Result<Greeted, Outcome>) -> Result<Greeted, Outcome> {
        if !matches!(greeted, Err(Outcome::Gone(_) | Outcome::Forbidden(_))) {
            self.since = None;
            return greeted;
        }
        let certain = self.since.get_or_insert_with(Instant::now).elapsed() >= CERTAIN;
        greeted.map_err(|outcome| match outcome {
            Outcome::Forbidden(why) if certain => Outcome::Never(why),
            Outcome::Gone(why) if !certain || places.is_watched() => Outcome::NotNow(why),
            other => other,
        })
    }
}

type Greeted = (Option<Session>, Attached<Box<dyn Wire>>);

/// A wire to a pod, greeted over. One that is not there soon may wait for a packet that was lost, and longer with each, so
/// others are tried beside it: a network that is back is noticed at the next try. Not the first time, as a pod that has
/// just started may be slow.
async fn reach(places: &Places, pod: &Pod, stream: &Workstation) -> Result<Greeted, Outcome> {
    let (dials, node, pace) = (&places.dials, pod.node.as_deref(), places.pace);
    let one = |permit| {
        Box::pin(async move {
            let _permit = match permit {
                Some(permit) => permit,
                None => dials.one(node).await,
            };
            let timed = async {
                let began = Instant::now();
                let tried = try_once(places, pod, stream).await;
                tried.inspect(|_| dials.got_through(began))
            };
            dials.run(pace, timed).await
        })
    };
    let deadline = Instant::now() + DEADLINE;
    let mut tries = vec![one(None)];
    let mut failed = None;
    loop {
        let newest = Instant::now();
        let another = async {
            match stream.is_known() {
                true => dials.another(node, newest, pace).await,
                false => std::future::pending().await,
            }
        };
        tokio::pin!(another);
        let permit = loop {
            tokio::select! {
                permit = &mut another => break permit,
                (tried, number, _) = select_all(tries.iter_mut()) => {
                    drop(tries.remove(number));
                    match tried {
                        Err(Outcome::NotNow(why)) if tries.is_empty() => return Err(Outcome::NotNow(why)),
                        Err(Outcome::NotNow(why)) => failed = Some(why),
                        other => return other,
                    }
                }
                () = tokio::time::sleep_until(deadline) => {
                    let silent = || format!("no greeting from the agent within {} s", DEADLINE.as_secs());
                    return Err(Outcome::NotNow(failed.unwrap_or_else(silent)));
                }
            }
        };
        if tries.len() == MOST_TRIES {
            // It may wait for a packet that was lost. The oldest goes on: a cluster may be that slow.
            drop(tries.remove(1));
        }
        tries.push(one(Some(permit)));
    }
}

async fn try_once(places: &Places, pod: &Pod, stream: &Workstation) -> Result<Greeted, Outcome> {
    let greet = || async {
        let dialled = places.dialler.dial(&places.task, pod).await;
        let wire = dialled.map_err(|e| not_dialled(e, stream.is_known()))?;
        places.dials.was_answered();
        Ok(stream.greet(wire).await)
    };
    let greeted = match greet().await? {
        // By one that was given up, most likely: its answer is not waited for any more.
        Err(GreetingError::Stale) => greet().await?,
        greeted => greeted,
    };
    greeted.map_err(|e| match e {
        GreetingError::Version { .. } => Outcome::Never(e.to_string()),
        GreetingError::Unknown => Outcome::Another(e.to_string()),
        GreetingError::TooLate(why) if stream.over().is_some() => Outcome::Anew(why),
        // Foreign: also what an engine says on the wire about a container that ends at this moment.
        GreetingError::Foreign(_)
        | GreetingError::Wire(_)
        | GreetingError::Owned
        | GreetingError::Stale
        | GreetingError::TooLate(_) => Outcome::NotNow(e.to_string()),
    })
}

/// What an engine's words mean for a pod that was reached before, or not.
fn not_dialled(error: Error, reached: bool) -> Outcome {
    let outcome = match error {
        Error::Missing { .. } => Outcome::Gone,
        Error::Forbidden { .. } if !reached => Outcome::Forbidden,
        _ => Outcome::NotNow,
    };
    outcome(Failure::from(error).to_string())
}

/// Between half and the whole of a pause, so that the pods of a node that came back are not all dialled at once.
fn jittered(pause: Duration, pod: &Pod, since: Instant) -> Duration {
    let seed = pod.uid.bytes().fold(u64::from(since.elapsed().subsec_nanos()), |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    pause / 2 + pause.mul_f64((seed % 1000) as f64 / 2000.0)
}
