//! How many connections to pods are tried at once, and begun.
//!
//! A try holds its permit until it has an outcome, so a node that hangs, or a network that is away, keeps many. Half of
//! them is the most for one node, and the second and further tries of a pod are made only while half of that is free: so
//! the pods of other nodes find some.
//!
//! From here a network that swallows packets looks like a cluster that is slow. For the first, a new try often is right:
//! it gets through as soon as the network is back, when those before it still wait for TCP to send again. For the second
//! it is poison: each costs the cluster a process, also when it was given up here long ago, and with more of them than the
//! cluster can start, none ever gets through. So tries beside others take turns, one for all pods at a time, and whoever
//! sees that a later one got through where his own still waits needs no turn. Only an engine that answers has work by a
//! try: the more it has answered of which none got through, the longer the turns, and the pauses of pods whose tries fail.

use std::collections::HashMap;
use std::future::pending;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// The most that are under way.
const MOST: usize = 256;
/// The most of them to the pods of one node.
const MOST_OF_NODE: usize = MOST / 2;
/// The most that begin at once: an API server and a workstation's Docker take that many well.
const MOST_BEGIN: usize = 32;

/// So many tries that were answered in vain double the turns, and so often at most.
const BEFORE_SLOWER: u32 = 4;
const MOST_SLOWED: u32 = 4;

pub struct Dials {
    all: Arc<Semaphore>,
    nodes: Mutex<HashMap<Option<String>, Arc<Node>>>,
    begin: Semaphore,
    /// When the next try beside others may begin. tokio's mutexes are fair: who asked first is next.
    turn: tokio::sync::Mutex<Instant>,
    /// What is known of the try that got through last.
    through: watch::Sender<Option<Through>>,
    /// How many tries since then have had an answer of the engine, so a cost for the node.
    answered: AtomicU32,
}

struct Node {
    permits: Arc<Semaphore>,
    /// Held by the one of its pods that waits for a turn: so nodes take turns, not pods.
    first: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy)]
struct Through {
    began: Instant,
    took: Duration,
}

/// For one try.
pub struct Permit(#[expect(dead_code, reason = "held")] [OwnedSemaphorePermit; 2]);

impl Dials {
    pub fn new() -> Self {
        Self {
            all: Arc::new(Semaphore::new(MOST)),
            nodes: Mutex::default(),
            begin: Semaphore::new(MOST_BEGIN),
            turn: tokio::sync::Mutex::new(Instant::now()),
            through: watch::Sender::new(None),
            answered: AtomicU32::new(0),
        }
    }

    fn node(&self, name: Option<&str>) -> Arc<Node> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let new =
            || Arc::new(Node { permits: Arc::new(Semaphore::new(MOST_OF_NODE)), first: tokio::sync::Mutex::new(()) });
        nodes.entry(name.map(str::to_owned)).or_insert_with(new).clone()
    }

    /// For the only try of a pod at this time.
    pub async fn one(&self, node: Option<&str>) -> Permit {
        match (self.node(node).permits.clone().acquire_owned().await, self.all.clone().acquire_owned().await) {
            (Ok(of_node), Ok(of_all)) => Permit([of_node, of_all]),
            _ => pending().await, // they are never closed
        }
    }

    /// For another try beside those of which the last began at `newest`, once that is worth its cost.
    pub async fn another(&self, node: Option<&str>, newest: Instant, pace: Duration) -> Permit {
        loop {
            tokio::select! {
                () = self.has_turn(node, newest, pace) => {}
                () = self.is_overtaken(newest, pace) => {}
            }
            if let Some(permit) = self.one_more(node) {
                return permit;
            }
            sleep(pace).await;
        }
    }

    async fn has_turn(&self, node: Option<&str>, newest: Instant, pace: Duration) {
        sleep_until(newest + pace).await;
        let node = self.node(node);
        let _first = node.first.lock().await;
        let mut next = self.turn.lock().await;
        sleep_until(*next).await;
        *next = Instant::now() + self.slowed(pace);
    }

    /// A try that began later got through, and `newest` has had twice the time that it took.
    async fn is_overtaken(&self, newest: Instant, pace: Duration) {
        let mut through = self.through.subscribe();
        loop {
            let by = through.borrow_and_update().filter(|through| through.began > newest);
            let due = async {
                match by {
                    Some(by) => sleep_until(newest + pace + by.took * 2).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = due => return,
                Ok(()) = through.changed() => {}
            }
        }
    }

    /// The engine has answered a try, whose outcome is open.
    pub fn was_answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// A pace, slower the more tries cost the cluster something and came to nothing.
    pub fn slowed(&self, pace: Duration) -> Duration {
        pace * (1 << (self.answered.load(Ordering::Relaxed) / BEFORE_SLOWER).min(MOST_SLOWED))
    }

    /// A try that began then has got through.
    pub fn got_through(&self, began: Instant) {
        self.answered.store(0, Ordering::Relaxed);
        self.through.send_replace(Some(Through { began, took: began.elapsed() }));
    }

    /// For another try beside the first, if there is room for luxury.
    fn one_more(&self, node: Option<&str>) -> Option<Permit> {
        let of_node = self.node(node).permits.clone();
        if of_node.available_permits() <= MOST_OF_NODE / 2 || self.all.available_permits() <= MOST / 2 {
            return None;
        }
        Some(Permit([of_node.try_acquire_owned().ok()?, self.all.clone().try_acquire_owned().ok()?]))
    }

    /// Runs a try, as one of those that begin for a while, but not for longer: one that hangs burdens nobody.
    pub async fn run<T>(&self, begins_for: Duration, one: impl Future<Output = T>) -> T {
        let begins = self.begin.acquire().await;
        tokio::pin!(one);
        match tokio::time::timeout(begins_for, &mut one).await {
            Ok(done) => done,
            Err(_) => {
                drop(begins);
                one.await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_that_hangs_leaves_room_for_others() {
        let dials = Dials::new();
        let mut hang = Vec::new();
        // Each pod's first try, and a second one where there is room.
        while dials.node(Some("a")).permits.available_permits() > 0 {
            hang.push(dials.one(Some("a")).await);
            hang.extend(dials.one_more(Some("a")));
        }
        let at_once = |node| tokio::time::timeout(Duration::ZERO, dials.one(node));
        assert!(at_once(Some("a")).await.is_err(), "all of node a's hang");
        assert!(dials.one_more(Some("a")).is_none());
        let mut others = Vec::new();
        for _ in 0..MOST - MOST_OF_NODE {
            others.push(at_once(Some("b")).await.expect("room for another node"));
        }
        assert!(at_once(None).await.is_err(), "there is a bound on all");
        hang.pop();
        assert!(at_once(None).await.is_ok(), "one was given back");
    }

    const PACE: Duration = Duration::from_millis(500);

    #[tokio::test(start_paused = true)]
    async fn tries_beside_others_take_turns_and_nodes_do() {
        let dials = Dials::new();
        let begun = Instant::now();
        let another = async |node: &'static str| {
            let mut times = 0;
            loop {
                let newest = Instant::now();
                drop(dials.another(Some(node), newest, PACE).await);
                times += 1;
                if begun.elapsed() > PACE * 40 {
                    return times;
                }
            }
        };
        let of_a = futures::future::join_all((0..50).map(|_| another("a")));
        let (of_a, of_b) = tokio::join!(of_a, another("b"));
        let of_a: usize = of_a.iter().sum();
        assert!((12..=22).contains(&of_b), "{of_b} for the one pod of b");
        let most = 41 + 50; // the last one of each is beyond the time
        assert!(of_a + of_b <= most, "{of_a} for the fifty of a, {of_b} for b");
    }

    #[tokio::test(start_paused = true)]
    async fn tries_that_an_engine_answers_in_vain_are_made_ever_less_often() {
        let dials = Dials::new();
        let begun = Instant::now();
        let mut times = 0;
        while begun.elapsed() < PACE * 100 {
            drop(dials.another(Some("a"), Instant::now(), PACE).await);
            dials.was_answered();
            times += 1;
        }
        assert!((15..=25).contains(&times), "{times}");
        dials.got_through(Instant::now());
        assert_eq!(dials.slowed(PACE), PACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_is_overtaken_needs_no_turn() {
        let dials = Dials::new();
        let newest = Instant::now();
        let took = Duration::from_millis(100);
        let many = futures::future::join_all((0..50).map(|_| dials.another(None, newest, PACE)));
        let through = async {
            sleep(PACE).await;
            let began = Instant::now();
            sleep(took).await;
            dials.got_through(began);
        };
        let (_permits, ()) = tokio::join!(many, through);
        assert!(newest.elapsed() <= PACE + took * 2 + PACE / 50, "{:?}", newest.elapsed());

        // One that began before, or took long itself, tells nothing.
        let dials = Dials::new();
        let began = Instant::now();
        sleep(PACE).await;
        let newest = Instant::now();
        let _first = dials.another(None, newest, PACE).await;
        dials.got_through(began);
        let second = tokio::time::timeout(PACE / 2, dials.another(None, newest, PACE)).await;
        assert!(second.is_err(), "it has to wait for its turn");
    }

    #[tokio::test(start_paused = true)]
    async fn tries_that_hang_keep_none_from_beginning() {
        let dials = Dials::new();
        let begun = Instant::now();
        let mut hang: Vec<_> = (0..MOST_BEGIN).map(|_| Box::pin(dials.run(PACE, pending::<()>()))).collect();
        let late = dials.run(PACE, async { begun.elapsed() });
        let began = tokio::select! {
            _ = futures::future::select_all(&mut hang) => panic!("they hang"),
            began = late => began,
        };
        assert!(began <= PACE * 2, "{began:?}");
    }
}
