//! Deletes a task and waits until it is gone: Deployment, pods, Lease.
//!
//! The Deployment goes in the foreground: its ReplicaSet is then marked before any pod is, and so replaces none of those
//! that end, and the Deployment is listed until the last pod is gone. The Lease goes right after it. Whoever dies in
//! between leaves a Lease that nobody renews.

use super::trouble::Trouble;
use super::{Kube, watch};
use crate::Error;
use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::time::Duration;

use ::kube::ResourceExt;
use ::kube::api::{DeleteParams, ListParams, Preconditions};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use tokio::time::{Instant, sleep};
use womm_wire::record::Task;

/// All of it.
const DEADLINE: Duration = Duration::from_secs(120);
/// A pod that is still there so long after it was told to end is told to end within [`GRACE_S`]. Agents end at once, and a
/// kubelet takes some 0.8 s to see that and as long again to clear away (measured, 1.34).
const PROMPT: Duration = Duration::from_millis(1500);
const GRACE_S: u32 = 1;
/// Pods whose deletion nobody started, as the garbage collector is slow, are deleted by us after so long. Not earlier:
/// their ReplicaSet would replace them.
const COLLECTOR: Duration = Duration::from_secs(3);
/// A pod that ends for so long on a node that is down is removed by force.
const FORCE: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
const LOOK_LATER: Duration = Duration::from_millis(500);

/// See [`Kube::delete`].
pub(super) async fn delete(kube: &Kube, task: &Task) -> Result<bool, Error> {
    let begun = Instant::now();
    let mut work =
        Work { kube, task, begun, there: false, ending: HashMap::new(), told: HashSet::new(), forced: HashSet::new() };
    let (mut deployment, mut lease) = (Part::There, Part::There);
    let mut look = LOOK;
    loop {
        let left = async {
            let params = DeleteParams::foreground();
            work.drop_part(&mut deployment, kube.api::<Deployment>().delete(&task.name, &params)).await?;
            work.drop_part(&mut lease, kube.api::<Lease>().delete(&task.name, &DeleteParams::background())).await?;
            work.left(&mut deployment, &mut lease).await
        };
        let trouble = match left.await {
            Ok(left) if left.is_empty() => return Ok(work.there),
            Ok(left) if begun.elapsed() >= DEADLINE => {
                // A right that is missing is the better reason.
                return Err(match [deployment, lease].into_iter().find_map(Part::refusal) {
                    Some(trouble) => kube.explain(&format!("delete {}", task.name), &trouble),
                    None => Error::Timeout { deed: format!("delete {}", left.join(", ")), after: DEADLINE },
                });
            }
            Ok(_) => None,
            Err(trouble) => Some(trouble),
        };
        if let Some(trouble) = trouble
            && (!trouble.is_passing() || begun.elapsed() >= DEADLINE)
        {
            return Err(kube.explain(&format!("delete {}", task.name), &trouble));
        }
        sleep(look).await;
        look = (look * 5 / 4).min(LOOK_LATER);
    }
}

/// One of the two objects that we delete ourselves.
enum Part {
    /// Not deleted yet.
    There,
    /// Being deleted, or gone.
    Told,
    Gone,
    /// We may not. The other's end takes it along: each owns, or is owned.
    Refused(Trouble),
}

impl Part {
    fn refusal(self) -> Option<Trouble> {
        match self {
            Self::Refused(trouble) => Some(trouble),
            _ => None,
        }
    }
}

struct Work<'a> {
    kube: &'a Kube,
    task: &'a Task,
    begun: Instant,
    /// There was something.
    there: bool,
    /// Since when pods have been seen to end, by UID.
    ending: HashMap<String, Instant>,
    /// Pods that we told to end, and those we removed by force.
    told: HashSet<String>,
    forced: HashSet<String>,
}

impl Work<'_> {
    async fn drop_part<T>(
        &mut self,
        part: &mut Part,
        deletion: impl Future<Output = Result<T, ::kube::Error>>,
    ) -> Result<(), Trouble> {
        if !matches!(part, Part::There) {
            return Ok(());
        }
        match self.kube.ask(deletion).await {
            Ok(_) => {
                self.there = true;
                *part = Part::Told;
            }
            Err(trouble) if trouble.code() == 404 => *part = Part::Gone,
            Err(trouble) if trouble.code() == 403 => *part = Part::Refused(trouble),
            Err(trouble) => return Err(trouble),
        }
        Ok(())
    }

    /// What is still there, by name. Sees to pods on the way.
    async fn left(&mut self, deployment: &mut Part, lease: &mut Part) -> Result<Vec<String>, Trouble> {
        let mut left = Vec::new();
        // Pods last: once the Deployment is gone, which is after its ReplicaSet, there come no more.
        if !matches!(deployment, Part::Gone) {
            match self.kube.ask(self.kube.api::<Deployment>().get_metadata_opt(&self.task.name)).await? {
                Some(_) => left.push(format!("Deployment \"{}\"", self.task.name)),
                None => *deployment = Part::Gone,
            }
        }
        if !matches!(lease, Part::Gone) {
            match self.kube.ask(self.kube.api::<Lease>().get_metadata_opt(&self.task.name)).await? {
                Some(_) => left.push(format!("Lease \"{}\"", self.task.name)),
                None => *lease = Part::Gone,
            }
        }
        let of_task = ListParams::default().labels(&watch::label(self.task));
        let pods = self.kube.ask(self.kube.api::<Pod>().list(&of_task)).await?;
        for pod in &pods.items {
            self.there = true;
            left.push(format!("pod \"{}\"", pod.name_any()));
            self.see_to(pod).await?;
        }
        Ok(left)
    }

    /// Hurries a pod on, if it needs that.
    async fn see_to(&mut self, pod: &Pod) -> Result<(), Trouble> {
        let uid = pod.uid().unwrap_or_default();
        let now = Instant::now();
        if pod.metadata.deletion_timestamp.is_none() {
            let alone = self.begun.elapsed() >= COLLECTOR || pod.owner_references().is_empty();
            return if alone { self.tell(pod, GRACE_S).await } else { Ok(()) };
        }
        let since = *self.ending.entry(uid.clone()).or_insert(now);
        if since.elapsed() >= FORCE && !self.forced.contains(&uid) && self.is_on_lost_node(pod).await {
            self.forced.insert(uid);
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("?");
            // A stderr that is gone is no reason to fail.
            let _ = writeln!(
                std::io::stderr(),
                "womm: node \"{node}\" is down: pod \"{}\" is removed by force; what runs there ends when the node is back",
                pod.name_any()
            );
            return self.tell(pod, 0).await;
        }
        let long = pod.metadata.deletion_grace_period_seconds.is_none_or(|s| s > i64::from(GRACE_S));
        if long && since.elapsed() >= PROMPT && self.told.insert(uid) {
            return self.tell(pod, GRACE_S).await;
        }
        Ok(())
    }

    async fn tell(&self, pod: &Pod, grace_s: u32) -> Result<(), Trouble> {
        let only_it = Preconditions { uid: pod.uid(), ..Preconditions::default() };
        let params = DeleteParams::background().grace_period(grace_s).preconditions(only_it);
        match self.kube.ask(self.kube.api::<Pod>().delete(&pod.name_any(), &params)).await {
            Ok(_) => Ok(()),
            // Gone, or another of the same name; or not ours to do, and the collector will.
            Err(trouble) if matches!(trouble.code(), 403 | 404 | 409) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    /// Whether the pod's node is down: by the node where that may be read, else by the pod. The node controller marks
    /// pods of a lost node as not ready and leaves all else as it was; a kubelet that ends a pod marks its containers
    /// first.
    async fn is_on_lost_node(&self, pod: &Pod) -> bool {
        let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) else { return false };
        let nodes = ::kube::Api::<Node>::all(self.kube.client.clone());
        match self.kube.ask(nodes.get_opt(node)).await {
            Ok(Some(node)) => {
                let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
                !conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
            }
            Ok(None) => true,
            Err(_) => {
                let conditions =
                    pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
                let is = |kind: &str, value: &str| conditions.iter().any(|c| c.type_ == kind && c.status == value);
                is("Ready", "False") && is("ContainersReady", "True")
            }
        }
    }
}
