//! Places: where pods stand. A host of GNU parallel is a place, not a pod; pods come to places and go from them.
//!
//! A place that stays empty (a quota, a full cluster) sends its jobs to another one as guests, the same while that lasts; a
//! place that is full sends them where there is room. No pod gets more jobs of the run at once than it has slots, guests
//! included. A job that was given up (GNU parallel's `--timeout`, `--halt now`) counts no more, though it may take its pod a
//! moment to end it: who came next would spend his own `--timeout` waiting for that. Runs whose files GNU parallel transfers
//! have no guests: a file must arrive where its job does.

use crate::brought::Brought;
use crate::dial::{self, Dial};
use crate::dials::Dials;
use crate::say;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use womm_stream::resumable::{Config, Writes};
use womm_stream::session::Session;
use womm_wire::pod::Pod;
use womm_wire::record::Task;

/// How long a place may be without a pod before its jobs go to others: at the start, pods come up one after the other.
const EMPTY: Duration = Duration::from_secs(1);

/// How long agents may take to hear that the run is over.
const TO_SAY_GOODBYE: Duration = Duration::from_millis(300);

/// Places that are without work at so many looks in a row are idle.
const IDLE_LOOKS: usize = 3;
const IDLE_LOOK: Duration = Duration::from_secs(1);

/// What a job that comes to a place finds.
#[derive(Debug, Clone)]
pub enum State {
    /// Nobody, or a pod that was never reached yet.
    Waiting,
    /// A pod whose connection broke. It is dialled again; jobs that run there go on, and jobs that are to come wait: files
    /// that GNU parallel brought for them are there.
    Cut,
    /// A pod, and what is written to its stream.
    Up(Pod, Session, Writes),
    /// Nobody, for good.
    Failed(String),
}

/// Where the files that jobs use come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// Not from GNU parallel: any pod will do.
    Elsewhere,
    /// There are none, but each pod is to be visited.
    Nowhere,
    /// GNU parallel brings them for each job.
    Brought,
    /// GNU parallel brings some of them once, for all jobs of a place.
    BroughtOnce,
}

/// All places of a task.
pub struct Places {
    pub task: Task,
    pub dialler: Box<dyn Dial>,
    pub dials: Dials,
    /// What no other process of ours ever is called.
    pub id: String,
    /// How streams to pods are made.
    pub stream: Config,
    /// How often a pod that can't be reached is tried again.
    pub pace: Duration,
    /// How often a lost job is run again.
    pub retries: u32,
    /// Whether the jobs of an empty place go to others.
    pub guests: bool,
    /// Where files are that GNU parallel brought, if it brings any.
    pub brought: Option<Brought>,
    /// Whether it was said that a place's files are gone.
    said_gone: Vec<AtomicBool>,
    /// Whether a job was sent to a pod.
    pub started: AtomicBool,
    leaving: watch::Sender<bool>,
    /// Why no pod is left, once that is so for good.
    deserted: watch::Sender<Option<String>>,
    states: Vec<watch::Sender<State>>,
    slots: Vec<Arc<Semaphore>>,
    pods: Mutex<Pods>,
}

#[derive(Default)]
struct Pods {
    /// Who stands at each place.
    standing: Vec<Option<Standing>>,
    /// Since when each place has been without a pod that can be reached.
    empty_since: Vec<Instant>,
    /// Pods that found all places taken: more of them exist for a while than were asked for.
    spare: VecDeque<Pod>,
    /// Empty places, and the places where their jobs are guests.
    hosts: HashMap<usize, usize>,
    /// Why pods went, the last few.
    gone: VecDeque<(Pod, String)>,
    /// Nobody reports pods or replaces them any more.
    unwatched: bool,
}

struct Standing {
    pod: Pod,
    dialler: tokio::task::AbortHandle,
}

/// Half a second; more for many pods, which go by one API server.
pub fn pace(pods: u32) -> Duration {
    Duration::from_millis(500).mul_f64((f64::from(pods) / 100.0).max(1.0))
}

/// How many pods' ends are remembered for jobs that are about to ask.
const REMEMBERED: usize = 4096;

impl Places {
    pub fn new(task: &Task, dialler: Box<dyn Dial>, id: String, stream: Config, retries: u32, files: Files) -> Self {
        let count = task.pods as usize;
        Self {
            task: task.clone(),
            dialler,
            dials: Dials::new(),
            id,
            stream,
            pace: pace(task.pods),
            retries,
            guests: files == Files::Elsewhere,
            brought: match files {
                Files::Elsewhere | Files::Nowhere => None,
                brought => Some(Brought::new(count, brought == Files::BroughtOnce)),
            },
            said_gone: (0..count).map(|_| AtomicBool::new(false)).collect(),
            started: AtomicBool::new(false),
            leaving: watch::Sender::new(false),
            deserted: watch::Sender::new(None),
            slots: (0..count).map(|_| Arc::new(Semaphore::new(task.procs_per_pod as usize))).collect(),
            states: (0..count).map(|_| watch::Sender::new(State::Waiting)).collect(),
            pods: Mutex::new(Pods {
                standing: (0..count).map(|_| None).collect(),
                empty_since: vec![Instant::now(); count],
                ..Pods::default()
            }),
        }
    }

    fn pods(&self) -> MutexGuard<'_, Pods> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is, and becomes, of a place.
    pub fn subscribe(&self, place: usize) -> Option<watch::Receiver<State>> {
        self.states.get(place).map(watch::Sender::subscribe)
    }

    /// What is of a place now.
    pub fn state(&self, place: usize) -> Option<State> {
        self.states.get(place).map(|state| state.borrow().clone())
    }

    /// The slots of the pod at a place.
    pub fn slots(&self, place: usize) -> Arc<Semaphore> {
        self.slots[place].clone()
    }

    /// Where the jobs of a place that has been empty for long are guests: another place with a pod, if there is one.
    pub fn host_of(&self, guest: usize) -> Option<usize> {
        let mut pods = self.pods();
        if !self.guests || pods.empty_since[guest].elapsed() < EMPTY {
            return None;
        }
        let is_up = |place: usize| matches!(*self.states[place].borrow(), State::Up(..));
        if let Some(host) = pods.hosts.get(&guest).copied().filter(|host| is_up(*host)) {
            return Some(host);
        }
        let mut guests = vec![0; self.states.len()];
        pods.hosts.iter().filter(|(other, _)| **other != guest).for_each(|(_, host)| guests[*host] += 1);
        let host = (0..self.states.len()).filter(|place| is_up(*place)).min_by_key(|place| guests[*place])?;
        pods.hosts.insert(guest, host);
        Some(host)
    }

    /// A slot of a pod at another place, if one is free.
    pub fn free_slot(&self, full: usize) -> Option<(usize, OwnedSemaphorePermit)> {
        let others = (0..self.states.len()).filter(|place| *place != full);
        let mut up = others.filter(|place| matches!(*self.states[*place].borrow(), State::Up(..)));
        up.find_map(|place| Some((place, self.slots(place).try_acquire_owned().ok()?)))
    }

    /// Waits until no other place has work, with a word to the user: a host whose jobs all fail at once would get all that
    /// are left.
    pub async fn others_are_idle(&self, place: usize, host: &str, why: &str) {
        let idle = || {
            let others = (0..self.states.len()).filter(|other| *other != place && !self.is_said_gone(*other));
            let mut up = others.filter(|other| matches!(*self.states[*other].borrow(), State::Up(..) | State::Cut));
            up.all(|other| self.slots[other].available_permits() == self.task.procs_per_pod as usize)
        };
        if !self.said_gone[place].swap(true, Ordering::Relaxed) && !idle() {
            say(&format!(
                "{host}: {why}: a job there fails once the other hosts are idle, GNU parallel's --retries runs it again"
            ));
        }
        // From one job to the next a host is idle for a moment.
        let mut looks = 0;
        while looks < IDLE_LOOKS {
            looks = if idle() { looks + 1 } else { 0 };
            tokio::time::sleep(IDLE_LOOK).await;
        }
    }

    fn is_said_gone(&self, place: usize) -> bool {
        self.said_gone[place].load(Ordering::Relaxed)
    }

    /// The place has a pod of its own.
    pub fn is_guest_no_more(&self, place: usize) {
        self.pods().hosts.remove(&place);
    }

    /// Says what is at a place now, if that pod still stands there.
    pub fn set(&self, place: usize, pod: &Pod, state: State) {
        let mut pods = self.pods();
        if pods.standing[place].as_ref().is_some_and(|standing| standing.pod == *pod) {
            self.change(&mut pods, place, state);
        }
    }

    fn change(&self, pods: &mut Pods, place: usize, state: State) {
        let was_empty = matches!(self.states[place].send_replace(state), State::Waiting);
        if !was_empty && matches!(*self.states[place].borrow(), State::Waiting) {
            pods.empty_since[place] = Instant::now();
        }
    }

    /// A pod is ready: it gets the first free place.
    pub fn add(self: &Arc<Self>, pod: Pod) {
        let mut pods = self.pods();
        let known = pods.standing.iter().flatten().any(|standing| standing.pod == pod) || pods.spare.contains(&pod);
        if !known {
            match pods.standing.iter().position(Option::is_none) {
                Some(place) => self.stand(&mut pods, place, pod),
                None => pods.spare.push_back(pod),
            }
        }
    }

    fn stand(self: &Arc<Self>, pods: &mut Pods, place: usize, pod: Pod) {
        let dialler = tokio::spawn(dial::keep(self.clone(), place, pod.clone())).abort_handle();
        pods.standing[place] = Some(Standing { pod, dialler });
    }

    /// A pod is gone: its jobs are lost with their streams, its place is given to the next one.
    pub fn remove(self: &Arc<Self>, pod: &Pod, reason: String) {
        let mut pods = self.pods();
        pods.spare.retain(|spare| spare.uid != pod.uid);
        pods.gone.push_back((pod.clone(), reason));
        if pods.gone.len() > REMEMBERED {
            pods.gone.pop_front();
        }
        let stood = |standing: &Option<Standing>| standing.as_ref().is_some_and(|s| s.pod.uid == pod.uid);
        if let Some(place) = pods.standing.iter().position(stood) {
            if let Some(standing) = pods.standing[place].take() {
                standing.dialler.abort(); // and with it the session's last handle but the jobs'
            }
            self.change(&mut pods, place, State::Waiting);
            if let Some(next) = pods.spare.pop_front() {
                self.stand(&mut pods, place, next);
            }
        }
        self.settle(&mut pods);
    }

    /// Whether somebody reports pods that come and go.
    pub fn is_watched(&self) -> bool {
        !self.pods().unwatched
    }

    /// No pod will come any more; those that are there go on.
    pub fn unwatched(&self) {
        let mut pods = self.pods();
        pods.unwatched = true;
        self.settle(&mut pods);
    }

    /// Without anybody who watches, a place that is empty stays so.
    fn settle(&self, pods: &mut Pods) {
        if !pods.unwatched {
            return;
        }
        let nobody = "and nobody makes another one: womm-pods watch has ended";
        if pods.standing.iter().all(Option::is_none) {
            self.deserted.send_replace(Some(format!("no pod is left, {nobody}")));
        } else if !self.guests {
            for place in 0..self.states.len() {
                if pods.standing[place].is_none() {
                    self.change(pods, place, State::Failed(format!("its pod is gone, {nobody}")));
                }
            }
        }
    }

    /// Ready when no pod is left and none will come: why.
    pub async fn deserted(&self) -> String {
        let mut deserted_rx = self.deserted.subscribe();
        match deserted_rx.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await, // never: the sender is ours
        }
    }

    /// The run is over: agents are told, so that they end what still runs and are free for another owner.
    pub async fn leave(&self) {
        {
            let mut pods = self.pods();
            pods.spare.clear();
            (0..self.states.len()).for_each(|place| self.change(&mut pods, place, State::Waiting));
        }
        self.leaving.send_replace(true);
        // Each dialler drops its receiver when it is done.
        let _ = tokio::time::timeout(TO_SAY_GOODBYE, self.leaving.closed()).await;
    }

    /// Ready when the run is over.
    pub fn leaving(&self) -> watch::Receiver<bool> {
        self.leaving.subscribe()
    }

    /// Why a pod is gone, if it is.
    pub fn why_gone(&self, pod: &Pod) -> Option<String> {
        self.pods().gone.iter().rev().find(|(gone, _)| gone.uid == pod.uid).map(|(_, why)| why.clone())
    }

    /// No pod will come: whoever waits is told.
    pub fn fail(&self, reason: String) {
        for state in &self.states {
            state.send_if_modified(|state| {
                let waits = matches!(state, State::Waiting);
                if waits {
                    *state = State::Failed(reason.clone());
                }
                waits
            });
        }
    }
}
