//! Dialling against agents and engines that misbehave, on a clock of their own.

use super::*;
use crate::places::{Files, pace};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::task::AbortHandle;
use womm_stream::frames;
use womm_stream::greeting::{Agent, Greeted as Met};
use womm_stream::resumable::Config;
use womm_wire::frame::{End, How, Kind};

/// One agent, and how it is reached.
pub struct Fake {
    agent: Agent,
    /// What the engine says in its place.
    error: Mutex<Option<fn() -> Error>>,
    /// How long it takes from a dial to the agent.
    delay: Mutex<Duration>,
    dialled: AtomicUsize,
    /// Wires that the agent took.
    taken: AtomicUsize,
    wires: Mutex<Vec<AbortHandle>>,
    /// Whether it denies all jobs, as if its pod were told to end.
    pub denies: AtomicBool,
    /// Counts how often the wires that were there fell silent.
    pub silences: tokio::sync::watch::Sender<usize>,
}

impl Fake {
    pub fn new() -> Arc<Self> {
        Self::called("instance")
    }

    /// One of another agent's instance.
    pub fn called(instance: &str) -> Arc<Self> {
        Arc::new(Self {
            agent: Agent::new(instance),
            error: Mutex::default(),
            delay: Mutex::default(),
            dialled: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            wires: Mutex::default(),
            denies: AtomicBool::default(),
            silences: tokio::sync::watch::Sender::new(0),
        })
    }

    /// Carries a wire's bytes to the agent, until it falls silent.
    async fn carry(self: Arc<Self>, mut near: DuplexStream) {
        let mut silence = self.silences.subscribe();
        let (mut far, agents) = duplex(64 << 10);
        let served = tokio::spawn(self.serve(agents));
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
            _ = silence.changed() => {}
        }
        let _ = served.await; // the agent gives it up, and we don't say so
        std::future::pending().await
    }

    async fn serve(self: Arc<Self>, wire: DuplexStream) {
        let delay = *self.delay.lock().expect("no panic");
        tokio::time::sleep(delay).await;
        match self.agent.greet(wire).await {
            Ok(Met::Owner(session, mut incoming, attached)) => {
                self.taken.fetch_add(1, Ordering::Relaxed);
                // What comes on a stream goes back on it.
                tokio::spawn(async move {
                    while let Some(stream) = incoming.recv().await {
                        let denies = self.denies.load(Ordering::Relaxed);
                        tokio::spawn(async move {
                            let (mut from, mut to) = tokio::io::split(stream);
                            if denies {
                                let mut frame = Vec::new();
                                let _ = frames::read(&mut from, &mut frame).await;
                                let end = End::without_output(How::Denied, "it ends").encode();
                                frames::write(&mut to, Kind::End, &end).await.expect("alive");
                            }
                            tokio::io::copy(&mut from, &mut to).await
                        });
                    }
                    drop(session);
                });
                attached.run().await;
            }
            Ok(Met::Again(attached)) => {
                self.taken.fetch_add(1, Ordering::Relaxed);
                attached.run().await;
            }
            _ => {}
        }
    }

    pub fn says(&self, error: Option<fn() -> Error>) {
        *self.error.lock().expect("no panic") = error;
    }

    /// Breaks all wires.
    pub fn cut(&self) {
        self.wires.lock().expect("no panic").drain(..).for_each(|wire| wire.abort());
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Dial for Arc<Fake> {
    fn dial<'a>(&'a self, _: &'a Task, _: &'a Pod) -> BoxFuture<'a, Result<Box<dyn Wire>, Error>> {
        self.dialled.fetch_add(1, Ordering::Relaxed);
        if let Some(error) = *self.error.lock().expect("no panic") {
            return Box::pin(async move { Err(error()) });
        }
        let (near, far) = duplex(64 << 10);
        let serving = tokio::spawn(self.clone().carry(far));
        self.wires.lock().expect("no panic").push(serving.abort_handle());
        Box::pin(async { Ok(Box::new(near) as Box<dyn Wire>) })
    }
}

/// The first pod's agent and the second's.
pub struct Two(pub Arc<Fake>, pub Arc<Fake>);

impl Dial for Two {
    fn dial<'a>(&'a self, task: &'a Task, at: &'a Pod) -> BoxFuture<'a, Result<Box<dyn Wire>, Error>> {
        if *at == pod() { self.0.dial(task, at) } else { self.1.dial(task, at) }
    }
}

pub fn pod() -> Pod {
    Pod { name: "pod-1".into(), uid: "uid-1".into(), node: None }
}

pub fn second_pod() -> Pod {
    Pod { name: "pod-2".into(), uid: "uid-2".into(), node: None }
}

/// One place, and the run folder, which is there as long as it is held.
pub fn places(dialler: Box<dyn Dial>) -> (tempfile::TempDir, Arc<Places>) {
    places_of(dialler, 1, Files::Elsewhere)
}

/// So many places, for one job each.
pub fn places_of(dialler: Box<dyn Dial>, pods: u32, files: Files) -> (tempfile::TempDir, Arc<Places>) {
    let run = tempfile::tempdir().expect("a folder");
    let path = run.path().to_string_lossy().into_owned();
    let task = Task { id: "abcdefgh".into(), run: path, pods, procs_per_pod: 1, ..Task::default() };
    let stream = Config { interval: pace(1) * 2, ..Config::default() };
    (run, Arc::new(Places::new(&task, dialler, "id".into(), stream, 0, files)))
}

/// The session at the first place, as soon as there is one.
pub async fn up(places: &Places) -> Session {
    up_at(places, 0).await
}

async fn up_at(places: &Places, place: usize) -> Session {
    let mut state = places.subscribe(place).expect("there");
    let up = async {
        match &*state.wait_for(|state| matches!(state, State::Up(..))).await.expect("places live") {
            State::Up(_, session, _) => session.clone(),
            _ => unreachable!("waited for"),
        }
    };
    tokio::time::timeout(Duration::from_secs(60), up).await.expect("reached")
}

async fn echoes(session: &Session) {
    use tokio::io::AsyncReadExt;
    let mut stream = session.open().await.expect("alive");
    stream.write_all(b"ping").await.expect("alive");
    let mut got = [0; 4];
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_exact(&mut got)).await;
    read.expect("in time").expect("alive");
    assert_eq!(&got, b"ping");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_slow_to_answer_is_reached_once() {
    for delay in [1500, 4000, 9000] {
        let fake = Fake::new();
        let (_run, places) = places(Box::new(fake.clone()));
        places.add(pod());
        let session = up(&places).await;
        *fake.delay.lock().expect("no panic") = Duration::from_millis(delay);
        for cut in 1..=3 {
            fake.cut();
            echoes(&session).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(fake.taken(), 1 + cut, "wires after {cut} cuts, {delay} ms");
        }
    }
}

/// Pods of a cluster that starts one process after the other, for wires that were given up, too; or that nothing reaches.
struct Cluster {
    pods: Vec<(Pod, Arc<Fake>)>,
    processor: Arc<tokio::sync::Mutex<()>>,
    /// What a process costs.
    cost: Mutex<Duration>,
    is_away: AtomicBool,
    /// It resets each connection at once.
    resets: AtomicBool,
    dialled: AtomicUsize,
}

impl Dial for Arc<Cluster> {
    fn dial<'a>(&'a self, _: &'a Task, at: &'a Pod) -> BoxFuture<'a, Result<Box<dyn Wire>, Error>> {
        if self.is_away.load(Ordering::Relaxed) {
            return Box::pin(std::future::pending());
        }
        self.dialled.fetch_add(1, Ordering::Relaxed);
        let (near, far) = duplex(64 << 10);
        if self.resets.load(Ordering::Relaxed) {
            drop(far);
            return Box::pin(async { Ok(Box::new(near) as Box<dyn Wire>) });
        }
        let fake = self.pods.iter().find(|(pod, _)| pod == at).expect("one of ours").1.clone();
        let (processor, cost) = (self.processor.clone(), *self.cost.lock().expect("no panic"));
        tokio::spawn(async move {
            {
                let _turn = processor.lock().await;
                tokio::time::sleep(cost).await;
            }
            let carried = tokio::spawn(fake.clone().carry(far));
            fake.wires.lock().expect("no panic").push(carried.abort_handle());
        });
        Box::pin(async { Ok(Box::new(near) as Box<dyn Wire>) })
    }
}

impl Cluster {
    fn of(pods: usize) -> Arc<Self> {
        let pod = |n| Pod { name: format!("pod-{n}"), uid: format!("uid-{n}"), node: Some(format!("node-{}", n % 3)) };
        Arc::new(Self {
            pods: (0..pods).map(|n| (pod(n), Fake::new())).collect(),
            processor: Arc::default(),
            cost: Mutex::default(),
            is_away: AtomicBool::default(),
            resets: AtomicBool::default(),
            dialled: AtomicUsize::default(),
        })
    }

    /// Sessions of all pods.
    async fn up(self: &Arc<Self>) -> (tempfile::TempDir, Vec<Session>) {
        let (run, places) =
            places_of(Box::new(self.clone()), u32::try_from(self.pods.len()).expect("few"), Files::Elsewhere);
        self.pods.iter().for_each(|(pod, _)| places.add(pod.clone()));
        let sessions = futures::future::join_all((0..self.pods.len()).map(|place| up_at(&places, place))).await;
        (run, sessions)
    }

    fn cut(&self) {
        self.pods.iter().for_each(|(_, fake)| fake.cut());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_can_not_keep_up_is_left_to_catch_up() {
    let cluster = Cluster::of(5);
    let (_run, sessions) = cluster.up().await;
    let cost = Duration::from_millis(250);
    *cluster.cost.lock().expect("no panic") = cost;
    // It is behind already, by more than a try may take.
    let processor = cluster.processor.clone();
    tokio::spawn(async move {
        let _turn = processor.lock().await;
        tokio::time::sleep(DEADLINE + Duration::from_secs(5)).await;
    });
    tokio::time::sleep(cost).await;
    cluster.cut();
    let all = futures::future::join_all(sessions.iter().map(echoes));
    tokio::time::timeout(DEADLINE * 3, all).await.expect("all are reached");
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_all_reset_are_made_ever_less_often() {
    let cluster = Cluster::of(5);
    let (_run, sessions) = cluster.up().await;
    cluster.resets.store(true, Ordering::Relaxed);
    cluster.cut();
    let before = cluster.dialled.load(Ordering::Relaxed);
    pass(100).await;
    let dialled = cluster.dialled.load(Ordering::Relaxed) - before;
    assert!((50..=200).contains(&dialled), "{dialled} times in 100 s, all pods together");
    cluster.resets.store(false, Ordering::Relaxed);
    let all = futures::future::join_all(sessions.iter().map(echoes));
    tokio::time::timeout(pace(5) * 16 + Duration::from_secs(1), all).await.expect("all are reached");
}

#[tokio::test(start_paused = true)]
async fn a_network_that_is_back_is_noticed_for_all_pods() {
    let cluster = Cluster::of(60);
    let (_run, sessions) = cluster.up().await;
    cluster.is_away.store(true, Ordering::Relaxed);
    cluster.cut();
    pass(50).await;
    cluster.is_away.store(false, Ordering::Relaxed);
    let begun = Instant::now();
    futures::future::join_all(sessions.iter().map(echoes)).await;
    assert!(begun.elapsed() <= pace(60) * 4, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_wire_that_falls_silent_is_replaced_by_a_second_one_and_no_third() {
    for delay in [0, 200, 1500] {
        let fake = Fake::new();
        let (_run, places) = places(Box::new(fake.clone()));
        places.add(pod());
        let session = up(&places).await;
        *fake.delay.lock().expect("no panic") = Duration::from_millis(delay);
        for silence in 1..=3 {
            pass(30).await;
            fake.silences.send_modify(|silences| *silences += 1);
            let begun = Instant::now();
            echoes(&session).await;
            let most = places.stream.interval * (SUSPICIOUS + 1) + Duration::from_millis(delay);
            assert!(begun.elapsed() <= most, "after {:?}", begun.elapsed());
            assert_eq!(fake.taken(), 1 + silence, "wires after {silence} silences, {delay} ms");
        }
    }
}

pub fn missing() -> Error {
    Error::Missing { what: "pod \"pod-1\"".into(), on: Some("any more".into()), help: "wait".into() }
}

fn forbidden() -> Error {
    let deed = "create pods/exec in namespace \"team\"";
    Error::Forbidden { deed: deed.into(), reason: "user \"u\" has no such right".into(), help: "ask".into() }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn state(places: &Places) -> State {
    places.state(0).expect("there")
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_gone_is_removed_once_nobody_watches() {
    let fake = Fake::new();
    let (_run, places) = places(Box::new(fake.clone()));
    places.add(pod());
    let mut session = up(&places).await.ended();
    fake.says(Some(missing));
    fake.cut();
    pass(60).await;
    assert!(places.why_gone(&pod()).is_none() && matches!(state(&places), State::Cut), "its watcher may know more");
    places.unwatched();
    let why = tokio::time::timeout(Duration::from_secs(10), places.deserted()).await.expect("noticed");
    assert!(why.contains("no pod is left"), "{why}");
    assert!(places.why_gone(&pod()).is_some() && matches!(state(&places), State::Waiting));
    session.wait().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_know_its_pods_yet_is_not_believed() {
    for error in [missing, forbidden] {
        let fake = Fake::new();
        let (_run, places) = places(Box::new(fake.clone()));
        fake.says(Some(error));
        places.add(pod());
        places.unwatched();
        pass(3).await;
        fake.says(None);
        up(&places).await;
        fake.cut();
        fake.says(Some(error));
        pass(3).await;
        fake.says(None);
        up(&places).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_may_not_reach_pods_is_told_what_they_may_not() {
    let fake = Fake::new();
    let (_run, places) = places(Box::new(fake.clone()));
    fake.says(Some(forbidden));
    places.add(pod());
    pass(20).await;
    match state(&places) {
        State::Failed(why) => assert!(why.contains("create pods/exec in namespace \"team\" is forbidden"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_taken_away_ends_no_job() {
    let fake = Fake::new();
    let (_run, places) = places(Box::new(fake.clone()));
    places.add(pod());
    let session = up(&places).await;
    fake.says(Some(forbidden));
    fake.cut();
    pass(60).await;
    assert!(matches!(state(&places), State::Cut));
    fake.says(None);
    echoes(&session).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_watcher_no_job_waits_for_a_pod_that_can_not_come() {
    let (_run, places) = places(Box::new(Fake::new()));
    places.unwatched();
    tokio::time::timeout(Duration::from_secs(1), places.deserted()).await.expect("there never was one");
}

/// First one agent, then the other, at the same pod.
struct Restarted(Arc<Fake>, Arc<Fake>, Arc<AtomicBool>);

impl Dial for Restarted {
    fn dial<'a>(&'a self, task: &'a Task, at: &'a Pod) -> BoxFuture<'a, Result<Box<dyn Wire>, Error>> {
        if self.2.load(Ordering::Relaxed) { self.1.dial(task, at) } else { self.0.dial(task, at) }
    }
}

/// A pod whose container is started again, and what is there then; half of what those who watch may take has passed.
async fn restarted() -> (tempfile::TempDir, Arc<Places>, Arc<Fake>) {
    let (old, new, is_new) = (Fake::new(), Fake::called("new"), Arc::new(AtomicBool::new(false)));
    let (run, places) = places(Box::new(Restarted(old.clone(), new.clone(), is_new.clone())));
    places.add(pod());
    let session = up(&places).await;
    is_new.store(true, Ordering::Relaxed);
    old.cut();
    session.ended().wait().await;
    tokio::time::sleep(TO_HEAR / 2).await;
    (run, places, new)
}

#[tokio::test(start_paused = true)]
async fn a_container_that_was_started_again_gets_no_job_before_that_is_said() {
    let (_run, places, new) = restarted().await;
    assert_eq!(new.taken(), 0, "its jobs would be lost with the old one");
    places.remove(&pod(), "its container was started again".into());
    places.add(second_pod());
    echoes(&up(&places).await).await;
    assert_eq!(new.taken(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_was_started_again_is_used_although_nobody_says_so() {
    let (_run, places, _new) = restarted().await;
    tokio::time::sleep(TO_HEAR).await;
    echoes(&up(&places).await).await;
}

#[tokio::test(start_paused = true)]
async fn pauses_are_between_half_and_all() {
    let begun = Instant::now();
    let mut seen = std::collections::HashSet::new();
    for number in 0..2000 {
        let pod = Pod { uid: format!("uid-{number}"), ..pod() };
        tokio::time::advance(Duration::from_nanos(number)).await;
        let pause = Duration::from_secs(1);
        let jittered = jittered(pause, &pod, begun);
        assert!(pause / 2 <= jittered && jittered <= pause, "{jittered:?}");
        seen.insert(jittered);
    }
    assert!(seen.len() > 500, "{} of 1000", seen.len());
}
