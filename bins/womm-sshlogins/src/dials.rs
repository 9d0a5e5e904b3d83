//! How many connections to pods are tried at once, and begun.
//!
//! A try holds its permit until it has an outcome, so a node that hangs, or a network that is away, keeps many. Half of
//! them is the most for one node, and the second and further tries of a pod are made only while half of that is free: so
//! the pods of other nodes find some.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The most that are under way.
const MOST: usize = 256;
/// The most of them to the pods of one node.
const MOST_OF_NODE: usize = MOST / 2;
/// The most that begin at once: an API server and a workstation's Docker take that many well.
const MOST_BEGIN: usize = 32;

pub struct Dials {
    all: Arc<Semaphore>,
    nodes: Mutex<HashMap<Option<String>, Arc<Semaphore>>>,
    begin: Semaphore,
}

/// For one try.
pub struct Permit(#[expect(dead_code, reason = "held")] [OwnedSemaphorePermit; 2]);

impl Dials {
    pub fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(MOST)), nodes: Mutex::default(), begin: Semaphore::new(MOST_BEGIN) }
    }

    fn of_node(&self, node: Option<&str>) -> Arc<Semaphore> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.entry(node.map(str::to_owned)).or_insert_with(|| Arc::new(Semaphore::new(MOST_OF_NODE))).clone()
    }

    /// For the only try of a pod at this time.
    pub async fn one(&self, node: Option<&str>) -> Permit {
        match (self.of_node(node).acquire_owned().await, self.all.clone().acquire_owned().await) {
            (Ok(of_node), Ok(of_all)) => Permit([of_node, of_all]),
            _ => pending().await, // they are never closed
        }
    }

    /// For another try beside the first, if there is room for luxury.
    pub fn one_more(&self, node: Option<&str>) -> Option<Permit> {
        let of_node = self.of_node(node);
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
    use tokio::time::Instant;

    #[tokio::test]
    async fn a_node_that_hangs_leaves_room_for_others() {
        let dials = Dials::new();
        let mut hang = Vec::new();
        // Each pod's first try, and a second one where there is room.
        while dials.of_node(Some("a")).available_permits() > 0 {
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

    #[tokio::test(start_paused = true)]
    async fn tries_that_hang_keep_none_from_beginning() {
        let dials = Dials::new();
        let pace = Duration::from_millis(500);
        let begun = Instant::now();
        let mut hang: Vec<_> = (0..MOST_BEGIN).map(|_| Box::pin(dials.run(pace, pending::<()>()))).collect();
        let late = dials.run(pace, async { begun.elapsed() });
        let began = tokio::select! {
            _ = futures::future::select_all(&mut hang) => panic!("they hang"),
            began = late => began,
        };
        assert!(began <= pace * 2, "{began:?}");
    }
}
