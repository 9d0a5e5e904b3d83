//! What becomes of pods, and why they do not come, in words: the cluster's objects in, sentences out. No I/O.

use super::objects::{CONTAINER, GPU, cpus, quantity};
use super::trouble::refusal;
use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Event, Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::jiff::Timestamp;
use womm_wire::{pod, quantity as parse};

/// An image that the registry says it has not, or does not give us: long enough that it says so twice.
const REFUSED_IMAGE: Duration = Duration::from_secs(4);
/// An image that can't be had for another reason, such as a registry that restarts.
const LATE_IMAGE: Duration = Duration::from_secs(60);
/// A container that can't be made of what is configured: a secret may still come.
const CONFIG: Duration = Duration::from_secs(60);
/// No node is large enough: long enough for a cluster autoscaler, which looks every 10 s, to say that it adds one.
const TOO_LARGE: Duration = Duration::from_secs(12);
/// A quota that is used up by others: pods of a run that has just ended may still count.
const QUOTA: Duration = Duration::from_secs(30);
/// Pods that are refused for what they are.
const REFUSED: Duration = Duration::from_secs(5);
/// A new namespace gets its service account within seconds.
const SERVICE_ACCOUNT: Duration = Duration::from_secs(60);
/// Pods take some seconds to start; that is not worth a word.
const ORDINARY: Duration = Duration::from_secs(5);
/// As often has a container to end before no pod is expected of it any more.
const RESTARTS: i32 = 3;

/// A pod that should have ended so many seconds ago, and has not, is not going to tell.
const OVERDUE_S: i64 = 5;

/// What a pod is to us.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Phase {
    /// It may take jobs.
    Up(pod::Pod),
    /// It may come to that.
    Coming(Why),
    /// It never will (again).
    Over(String),
}

/// Why something does not come.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Why {
    /// For people, with the remedy if there is one.
    pub words: String,
    /// The same for ever so long: end the run if there is no pod at all. None: wait.
    pub patience: Option<Duration>,
    /// Just what happens to every pod when it starts.
    pub ordinary: bool,
    /// The words say what, not why: better ones may have been there before.
    pub vague: bool,
    /// Waits for a node.
    pub unscheduled: bool,
    /// Its container ends again and again.
    pub crashes: bool,
}

impl Why {
    fn new(words: impl Into<String>, patience: Option<Duration>) -> Self {
        Self { words: words.into(), patience, ordinary: false, vague: false, unscheduled: false, crashes: false }
    }

    fn ordinary(words: impl Into<String>) -> Self {
        Self { ordinary: true, ..Self::new(words, None) }
    }
}

/// What a pod is, by what the cluster says of it and of its nodes, if those may be read.
pub(super) fn phase(pod: &Pod, nodes: Option<&[Size]>) -> Phase {
    let status = pod.status.as_ref();
    if pod.metadata.deletion_timestamp.is_some() {
        return Phase::Over(deleted(pod));
    }
    match status.and_then(|s| s.phase.as_deref()) {
        Some("Failed") => return Phase::Over(failed(pod)),
        Some("Succeeded") => return Phase::Over("its agent ended".into()),
        _ => {}
    }
    let job = job_status(pod);
    if let Some(up) = job.and_then(|job| identity(pod, job)) {
        return Phase::Up(up);
    }
    Phase::Coming(coming(pod, job, nodes))
}

/// Whether a pod that was up is being deleted, and still at work: its agent lets jobs end as long as its grace allows, and
/// takes no new ones. A node that is lost ends nothing, and nobody hears of the jobs there: such a pod is gone at once.
pub(super) fn lingers(pod: &Pod, up: &pod::Pod, now: Option<Timestamp>) -> bool {
    let (Some(due), Some(now)) = (pod.metadata.deletion_timestamp.as_ref(), now) else { return false };
    let is_lost = condition(pod, "DisruptionTarget").is_some_and(|(reason, _)| reason == "DeletionByTaintManager");
    let runs = job_status(pod).and_then(|job| identity(pod, job)).as_ref() == Some(up);
    runs && !is_lost && now.as_second() <= due.0.as_second() + OVERDUE_S
}

/// Why a pod that was up is not, or not with the same container.
pub(super) fn gone(pod: &Pod) -> String {
    match phase(pod, None) {
        Phase::Over(reason) => reason,
        Phase::Up(_) | Phase::Coming(_) => {
            let job = job_status(pod);
            let ended = job.and_then(ended);
            ended.map_or_else(|| "its container stopped".into(), |ended| ended_words(pod, ended))
        }
    }
}

fn job_status(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == CONTAINER)
}

/// The running container: pods keep their UID when a container is started again, and its agent knows nothing of the
/// jobs before.
fn identity(pod: &Pod, job: &ContainerStatus) -> Option<pod::Pod> {
    job.state.as_ref()?.running.as_ref()?;
    let container = job.container_id.as_deref()?;
    let container = container.rsplit('/').next().unwrap_or(container);
    Some(pod::Pod {
        name: pod.metadata.name.clone()?,
        uid: format!("{}/{container}", pod.metadata.uid.as_deref()?),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
    })
}

fn ended(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let now = status.state.as_ref().and_then(|state| state.terminated.as_ref());
    now.or_else(|| status.last_state.as_ref().and_then(|state| state.terminated.as_ref()))
}

// ---- pods that are over

/// Why a pod is being deleted. Source: kubernetes.io, "Disruptions", condition DisruptionTarget.
fn deleted(pod: &Pod) -> String {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("?");
    let target = condition(pod, "DisruptionTarget");
    let (reason, message) = target.unwrap_or_default();
    match reason {
        "DeletionByTaintManager" => format!("node \"{node}\" is lost"),
        "PreemptionByScheduler" => "preempted by a pod of higher priority".into(),
        "EvictionByEvictionAPI" => format!("evicted: node \"{node}\" is being emptied"),
        "TerminationByKubelet" => format!("ended by node \"{node}\": {}", sentence(message)),
        _ => "deleted".into(),
    }
}

fn failed(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    let reason = status.and_then(|s| s.reason.as_deref()).unwrap_or_default();
    let message = sentence(status.and_then(|s| s.message.as_deref()).unwrap_or_default());
    if let Some(ended) = job_status(pod).and_then(ended).filter(|ended| ended.reason.as_deref() == Some("OOMKilled")) {
        return ended_words(pod, ended);
    }
    match (reason, message.as_str()) {
        ("Evicted", message) => format!("evicted: {message}"),
        ("", "") => "it failed".into(),
        (reason, "") => reason.into(),
        ("", message) => message.into(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<(&'a str, &'a str)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|c| c.type_ == kind)?;
    Some((found.reason.as_deref().unwrap_or_default(), found.message.as_deref().unwrap_or_default()))
}

/// How the agent's container ended.
fn ended_words(pod: &Pod, ended: &ContainerStateTerminated) -> String {
    let said = sentence(ended.message.as_deref().unwrap_or_default());
    match (ended.reason.as_deref().unwrap_or_default(), ended.exit_code, said.as_str()) {
        ("OOMKilled", _, _) => match memory_limit(pod) {
            Some(limit) => format!("exceeded {limit}: use --kube-mem"),
            None => "exceeded its memory".into(),
        },
        ("StartError" | "ContainerCannotRun", _, said) => can_not_start(said),
        ("Completed", ..) => "its agent ended".into(),
        ("ContainerStatusUnknown", ..) => "its node was lost".into(),
        // containerd does not always see in time that it was the kernel, for memory ("OOMKilled"), and then says "Error".
        (_, 137, "") => match memory_limit(pod) {
            Some(limit) => format!("its agent was killed: if the pod exceeded {limit}, use --kube-mem"),
            None => "its agent was killed".into(),
        },
        (_, 143, "") => "its agent was told to end".into(),
        (_, code, "") => format!("its agent ended with exit code {code}"),
        (_, code, said) => format!("its agent ended with exit code {code}: {said}"),
    }
}

fn memory_limit(pod: &Pod) -> Option<String> {
    let job = pod.spec.as_ref()?.containers.iter().find(|container| container.name == CONTAINER)?;
    let limit = job.resources.as_ref()?.limits.as_ref()?.get("memory")?;
    Some(parse::bytes(&limit.0).map_or_else(|_| limit.0.clone(), quantity))
}

// ---- pods that are coming

fn coming(pod: &Pod, job: Option<&ContainerStatus>, nodes: Option<&[Size]>) -> Why {
    let scheduled = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    let scheduled = scheduled.and_then(|conditions| conditions.iter().find(|c| c.type_ == "PodScheduled"));
    if let Some(condition) = scheduled.filter(|condition| condition.status == "False") {
        let message = condition.message.as_deref().unwrap_or_default();
        return match condition.reason.as_deref() {
            Some("Unschedulable") => Why { unscheduled: true, ..unschedulable(message, &Wants::of(pod), nodes) },
            reason => Why::new(format!("the scheduler says {}: {}", reason.unwrap_or("no"), sentence(message)), None),
        };
    }
    if scheduled.is_none() {
        return Why::ordinary("waiting for the scheduler");
    }
    let init = pod.status.as_ref().and_then(|s| s.init_container_statuses.as_ref()).and_then(|all| all.first());
    // While an init container works, the job's own status says "PodInitializing" only.
    let blocked = init.filter(|init| {
        let ended = init.state.as_ref().and_then(|state| state.terminated.as_ref());
        ended.is_none_or(|ended| ended.exit_code != 0)
    });
    if let Some(why) = blocked.and_then(|status| container(pod, status)) {
        return why;
    }
    if let Some(why) = job.and_then(|status| container(pod, status)) {
        return why;
    }
    Why::ordinary("containers are being made")
}

/// Why a container does not run, if something is wrong with it.
fn container(pod: &Pod, status: &ContainerStatus) -> Option<Why> {
    let state = status.state.as_ref()?;
    let last = ended(status);
    let Some(waiting) = state.waiting.as_ref() else {
        // Between its end and "CrashLoopBackOff".
        return state.terminated.as_ref().map(|ended| crashed(pod, status, ended));
    };
    let said = sentence(waiting.message.as_deref().unwrap_or_default());
    match waiting.reason.as_deref().unwrap_or_default() {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => Some(image(&status.image, &said, pull_secret(pod))),
        "InvalidImageName" | "ErrImageNeverPull" => {
            Some(Why::new(format!("image \"{}\" can't be pulled: {said}", status.image), Some(REFUSED_IMAGE)))
        }
        "CreateContainerConfigError" => Some(Why::new(format!("the container can't be made: {said}"), Some(CONFIG))),
        "CreateContainerError"
        | "RunContainerError"
        | "PreCreateHookError"
        | "PreStartHookError"
        | "PostStartHookError" => {
            Some(Why::new(can_not_start(&said), Some(if is_own_fault(&said) { REFUSED } else { CONFIG })))
        }
        "CrashLoopBackOff" => last.map(|ended| crashed(pod, status, ended)),
        _ => None,
    }
}

fn crashed(pod: &Pod, status: &ContainerStatus, ended: &ContainerStateTerminated) -> Why {
    let times = status.restart_count.saturating_add(1);
    let words = format!("{}, {times} {} by now", ended_words(pod, ended), if times == 1 { "time" } else { "times" });
    let said = ended.message.as_deref().unwrap_or_default();
    if ended.reason.as_deref() == Some("StartError") && is_own_fault(said) {
        return Why::new(ended_words(pod, ended), Some(REFUSED));
    }
    Why { crashes: true, ..Why::new(words, (status.restart_count >= RESTARTS).then_some(Duration::ZERO)) }
}

/// Whether starting a container fails for what the image is, and so will on every node.
fn is_own_fault(said: &str) -> bool {
    ["no such file or directory", "permission denied", "exec format error", "not a directory", "read-only file system"]
        .iter()
        .any(|sign| said.contains(sign))
}

fn can_not_start(said: &str) -> String {
    // runc's own words come last, after those of the layers above it.
    let marks = ["error during container init: ", "unable to start container process: "];
    let tail = marks.iter().find_map(|mark| said.rsplit_once(mark)).map_or(said, |(_, tail)| tail);
    let tail = tail.trim_end_matches(": unknown");
    match () {
        () if tail.contains("exec format error") => {
            "the container can't be started: the image is made for another architecture than its node's".into()
        }
        () if tail.contains("womm-agent") && tail.contains("no such file") => {
            format!("the container can't be started: the image has no agent ({tail}): run `womm setup` again")
        }
        () => format!("the container can't be started: {tail}"),
    }
}

/// The secret by which images are pulled; a pod has one at most, unless a patch adds more.
fn pull_secret(pod: &Pod) -> Option<&str> {
    let secrets = pod.spec.as_ref()?.image_pull_secrets.as_ref()?;
    secrets.first().map(|secret| secret.name.as_str()).filter(|name| !name.is_empty())
}

/// An image that can't be pulled. Source of the reasons: kubernetes, `pkg/kubelet/images/types.go`.
fn image(name: &str, said: &str, secret: Option<&str>) -> Why {
    let vague = said.is_empty() || (said.starts_with("Back-off pulling") && !said.contains("ErrImagePull:"));
    let name = quoted(said).filter(|_| said.starts_with("Back-off")).unwrap_or(name);
    // containerd repeats the image's name in each layer of its message; the last layer is the registry's.
    let tail = said.rsplit_once("failed to resolve reference ").map_or(said, |(_, tail)| tail);
    let tail = tail.rsplit_once(&format!("{name}\": ")).map_or(tail, |(_, tail)| tail);
    let tail = tail.strip_prefix(&format!("{name}: ")).unwrap_or(tail);
    let lower = said.to_lowercase();
    let has = |signs: &[&str]| signs.iter().any(|sign| lower.contains(sign));
    let network =
        has(&["dial tcp", "lookup ", "timeout", "connection re", "unexpected status code 5", "unexpected status: 5"]);
    let absent = !network && has(&["not found", "notfound", "manifest unknown", "name unknown"]);
    let barred = !network && has(&["unauthorized", "denied", "forbidden", "authorization failed"]);
    let unfit = has(&["no match for platform"]);
    let remedy = match () {
        () if barred => match secret {
            Some(secret) => format!(
                ": is there a pull secret \"{secret}\" in the namespace, and does its login for that registry work?"
            ),
            None => ": it wants a login: name a pull secret of the namespace as \"secret_name\" in .womm, or by \
                     `womm setup --secret NAME`"
                .into(),
        },
        () if absent && name.contains("womm-agent:") => {
            ": `womm-image agent --push` makes it, for images that `womm setup` did not".into()
        }
        () if absent => ": is its name right? `womm setup` makes and pushes one".into(),
        () if unfit => ": it is made for another architecture than the nodes'".into(),
        () => String::new(),
    };
    let words = match (vague, tail) {
        (true, _) | (_, "") => format!("image \"{name}\" can't be pulled"),
        (false, tail) => format!("image \"{name}\" can't be pulled: {tail}{remedy}"),
    };
    Why { vague, ..Why::new(words, Some(if absent || barred || unfit { REFUSED_IMAGE } else { LATE_IMAGE })) }
}

/// What stands between the first two quotes.
fn quoted(text: &str) -> Option<&str> {
    text.split('"').nth(1)
}

/// The first sentences on one line; some components write stack traces, and what a container said at its end may hold
/// what a terminal takes for a command.
fn sentence(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let mut line = words.collect::<Vec<_>>().join(" ");
    if line.chars().count() > 400 {
        line = line.chars().take(400).chain("…".chars()).collect();
    }
    line.trim_end_matches('.').to_owned()
}

// ---- nodes

/// What a node can give to pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Size {
    cpu_milli: u64,
    mem_bytes: u64,
    gpus: u64,
    arch: String,
}

impl Size {
    /// A node's, if it takes pods.
    pub fn of(node: &Node) -> Option<Self> {
        let status = node.status.as_ref()?;
        let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
        let closed = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
        if !ready || closed {
            return None;
        }
        let has = status.allocatable.as_ref()?;
        let labels = node.metadata.labels.as_ref();
        Some(Self {
            cpu_milli: milli(has, "cpu"),
            mem_bytes: milli(has, "memory").div_ceil(1000),
            gpus: milli(has, GPU) / 1000,
            arch: labels.and_then(|labels| labels.get("kubernetes.io/arch")).cloned().unwrap_or_default(),
        })
    }
}

/// What a pod asks for, as its patched template has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wants {
    cpu_milli: u64,
    mem_bytes: u64,
    gpus: u64,
    arch: Option<String>,
}

impl Wants {
    fn of(pod: &Pod) -> Self {
        let Some(spec) = pod.spec.as_ref() else { return Self::default() };
        let mut wants = Self {
            arch: spec.node_selector.as_ref().and_then(|labels| labels.get("kubernetes.io/arch")).cloned(),
            ..Self::default()
        };
        for requests in spec.containers.iter().filter_map(|c| c.resources.as_ref()?.requests.as_ref()) {
            wants.cpu_milli = wants.cpu_milli.saturating_add(milli(requests, "cpu"));
            wants.mem_bytes = wants.mem_bytes.saturating_add(milli(requests, "memory").div_ceil(1000));
            wants.gpus = wants.gpus.saturating_add(milli(requests, GPU) / 1000);
        }
        wants
    }

    fn fit(&self, size: &Size) -> bool {
        size.cpu_milli >= self.cpu_milli && size.mem_bytes >= self.mem_bytes && size.gpus >= self.gpus
    }
}

/// Thousandths of a resource; 0 if it is not there. Memory in thousandths of bytes stays below 2⁶³ up to 8 PiB.
fn milli(resources: &BTreeMap<String, Quantity>, name: &str) -> u64 {
    resources.get(name).and_then(|quantity| parse::milli(&quantity.0).ok()).unwrap_or(0)
}

/// Why the scheduler finds no node: by the nodes where they can be read, else in its own words.
fn unschedulable(message: &str, wants: &Wants, nodes: Option<&[Size]>) -> Why {
    let mut says = sentence(message);
    for noise in [" preemption: ", " no new claims to deallocate"] {
        if let Some(at) = says.find(noise) {
            says.truncate(at);
        }
    }
    let says = says.trim_end_matches(['.', ',', ' ']);
    let waits = || Why::new(format!("no node has room for {}: {says}", wants.words()), None);
    let Some(nodes) = nodes else { return waits() };
    if nodes.is_empty() {
        return Why::new("no node is ready to take pods", None);
    }
    let never = |words: String| Why::new(words, Some(TOO_LARGE));
    let fitting: Vec<_> = nodes.iter().filter(|n| wants.arch.as_ref().is_none_or(|arch| *arch == n.arch)).collect();
    let most = |of: fn(&Size) -> u64| fitting.iter().map(|node| of(node)).max().unwrap_or(0);
    match wants {
        Wants { arch: Some(arch), .. } if fitting.is_empty() => never(format!(
            "no node has the architecture {arch}, for which the image is made: run `womm setup` with another base image"
        )),
        Wants { gpus, .. } if *gpus > most(|n| n.gpus) => never(format!(
            "no node has {gpus} free {}: the largest has {}: use --kube-gpu",
            plural(*gpus, "GPU"),
            most(|n| n.gpus)
        )),
        Wants { cpu_milli, .. } if *cpu_milli > most(|n| n.cpu_milli) => never(format!(
            "no node has {} free {}: the largest has {}: use --kube-cpu",
            decimal(*cpu_milli),
            plural(cpu_milli.div_ceil(1000), "cpu"),
            decimal(most(|n| n.cpu_milli))
        )),
        Wants { mem_bytes, .. } if *mem_bytes > most(|n| n.mem_bytes) => never(format!(
            "no node has {} of free memory: the largest has {}: use --kube-mem",
            quantity(*mem_bytes),
            about(most(|n| n.mem_bytes))
        )),
        wants if !fitting.iter().any(|node| wants.fit(node)) => {
            never(format!("no node has all of {}: use --kube-cpu or --kube-mem", wants.words()))
        }
        _ => waits(),
    }
}

impl Wants {
    fn words(&self) -> String {
        let gpus = if self.gpus > 0 { format!(", {} {}", self.gpus, plural(self.gpus, "GPU")) } else { String::new() };
        let memory = quantity(self.mem_bytes);
        format!("{} {} and {memory}{gpus}", decimal(self.cpu_milli), plural(self.cpu_milli.div_ceil(1000), "cpu"))
    }
}

fn plural(n: u64, word: &str) -> String {
    if n == 1 { word.to_owned() } else { format!("{word}s") }
}

/// `15.9`, rounded down to a tenth; below one exact: `250m`.
fn decimal(milli: u64) -> String {
    match (milli / 1000, milli % 1000 / 100) {
        (0, _) => cpus(milli),
        (whole, 0) => whole.to_string(),
        (whole, tenth) => format!("{whole}.{tenth}"),
    }
}

/// `23.5Gi`, rounded down, so that asking for it is possible.
fn about(bytes: u64) -> String {
    let (power, unit) = if bytes >= 1 << 30 { (30, "Gi") } else { (20, "Mi") };
    let tenths = (u128::from(bytes) * 10) >> power;
    format!("{}.{}{unit}", tenths / 10, tenths % 10)
}

// ---- pods that are never made

/// Why the Deployment gets no (more) pods: its ReplicaSet's words, which it repeats. Source: kubernetes.io,
/// "Deployments", condition ReplicaFailure.
pub(super) fn refused(deployment: &Deployment) -> Option<Why> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    Some(refused_words(&refusal(failure.message.as_deref().unwrap_or_default())))
}

/// The same for a pod that was asked for by itself.
pub(super) fn refused_by_admission(message: &str) -> String {
    refused_words(&refusal(message)).words
}

fn refused_words(said: &str) -> Why {
    let said = sentence(said);
    if let Some(rest) = said.strip_prefix("exceeded quota: ") {
        return exceeded(rest);
    }
    if let Some(rest) = said.strip_prefix("failed quota: ") {
        let (quota, rest) = rest.split_once(": ").unwrap_or((rest, "refuses the pods"));
        return Why::new(
            format!("quota \"{quota}\" refuses the pods: {rest}: set that with --kube-patch"),
            Some(REFUSED),
        );
    }
    if let Some(rest) = said.strip_prefix("violates PodSecurity ") {
        let (level, rest) = rest.split_once(": ").unwrap_or((rest, ""));
        let level = level.trim_matches('"');
        let remedy = if rest.contains("runAsNonRoot") || rest.contains("runAsUser=0") {
            ": run womm as another user than root, or use another namespace"
        } else {
            ": use another namespace, or leave that out of --kube-patch"
        };
        return Why::new(
            format!("PodSecurity \"{level}\" of the namespace refuses the pods: {rest}{remedy}"),
            Some(REFUSED),
        );
    }
    if said.contains("serviceaccount ") && said.contains("not found") {
        return Why::new(format!("the namespace has no service account yet: {said}"), Some(SERVICE_ACCOUNT));
    }
    Why::new(format!("the cluster refuses the pods: {said}"), Some(REFUSED))
}

/// `few, requested: pods=1,requests.cpu=2, used: pods=2, …, limited: pods=2,…`. Source: kubernetes, admission plugin
/// resourcequota, `controller.go`.
fn exceeded(rest: &str) -> Why {
    let (quota, rest) = rest.split_once(", requested: ").unwrap_or((rest, ""));
    let (requested, rest) = rest.split_once(", used: ").unwrap_or((rest, ""));
    let (used, limited) = rest.split_once(", limited: ").unwrap_or((rest, ""));
    let value = |list: &str, key: &str| {
        list.split(',').filter_map(|pair| pair.split_once('=')).find(|(k, _)| *k == key).map(|(_, v)| v.to_owned())
    };
    let mut never = Vec::new();
    let mut full = Vec::new();
    for (key, wanted) in requested.split(',').filter_map(|pair| pair.split_once('=')) {
        let limit = value(limited, key).unwrap_or_else(|| "?".into());
        let used = value(used, key).unwrap_or_else(|| "?".into());
        match (parse::milli(wanted), parse::milli(&limit)) {
            (Ok(wants), Ok(limits)) if wants > limits => {
                never.push(format!("{key} is {wanted} a pod, of {limit} in all"))
            }
            _ => full.push(format!("{key} is {wanted} a pod, {used} of {limit} are used")),
        }
    }
    match (never.is_empty(), full.is_empty()) {
        (false, _) => {
            let remedy = "use --kube-cpu, --kube-mem";
            Why::new(format!("quota \"{quota}\" allows no such pod: {}: {remedy}", never.join("; ")), Some(REFUSED))
        }
        (true, false) => Why::new(format!("quota \"{quota}\" is used up: {}", full.join("; ")), Some(QUOTA)),
        (true, true) => Why::new(format!("quota \"{quota}\" is used up"), Some(QUOTA)),
    }
}

// ---- events

/// How an event begins whose image could not be pulled. Source: kubernetes, `pkg/kubelet/images/image_manager.go`.
const PULL_FAILED: &str = "Failed to pull image \"";

/// What the newest telling event of a pod adds to "containers are being made" or "no node has room".
pub(super) fn better(why: Why, pod: &Pod, events: &[Event]) -> Why {
    let newest_that = |reasons: &[&str], begins: &str| {
        let told = events.iter().filter(|e| e.reason.as_deref().is_some_and(|r| reasons.contains(&r)));
        let told = told.filter(|event| event.message.as_deref().unwrap_or_default().starts_with(begins));
        told.max_by_key(|event| when(event)).and_then(|event| event.message.as_deref()).map(sentence)
    };
    let newest = |reasons: &[&str]| newest_that(reasons, "");
    if why.unscheduled {
        return match newest(&["TriggeredScaleUp"]) {
            Some(said) => Why { words: format!("the cluster adds nodes: {said}"), patience: None, ..why },
            None => why,
        };
    }
    if !why.ordinary {
        return why;
    }
    // Kubelet writes a failed pull into the pod's status when it looks at the pod again; behind an init container that is
    // 10 to 15 s later (kubernetes, `pkg/kubelet/pod_workers.go`: `backOffPeriod`, `workerBackOffPeriodJitterFactor`).
    if let Some(said) = newest_that(&["Failed"], PULL_FAILED) {
        let said = said.strip_prefix(PULL_FAILED).unwrap_or_default();
        let (name, said) = said.split_once('"').unwrap_or((said, ""));
        return image(name, said.trim_start_matches([':', ' ']), pull_secret(pod));
    }
    let troubles =
        ["FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "NetworkNotReady", "FailedCreatePodContainer"];
    match (newest(&troubles), newest(&["Pulling"])) {
        (Some(said), _) => Why::new(format!("the node can't make the container: {said}"), None),
        (None, Some(_)) if newest(&["Pulled"]).is_none() => Why { words: "the image is being pulled".into(), ..why },
        _ => why,
    }
}

fn when(event: &Event) -> Option<k8s_openapi::jiff::Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|t| t.0);
    series.or(event.last_timestamp.as_ref().map(|t| t.0)).or(event.event_time.as_ref().map(|t| t.0))
}

// ---- all together

/// What is known of the pods that are not up.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// Pods asked for.
    pub wanted: usize,
    /// Pods that may take jobs.
    pub up: usize,
    /// Those that exist and are not up, and for how long they have been so for the same reason.
    pub coming: Vec<(Why, Duration)>,
    /// Why no more are made.
    pub refused: Option<(Why, Duration)>,
    /// Some pod was up long enough to show that image and agent are well.
    pub ever: bool,
    /// For how long there has been neither a pod nor a reason.
    pub nothing: Duration,
}

impl Missing {
    /// "3 of 4 pods are up".
    pub fn count(&self) -> String {
        format!("{} of {} {} up", self.up, self.wanted, if self.wanted == 1 { "pod is" } else { "pods are" })
    }
}

/// What to say and do about missing pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing to say.
    Fine,
    /// Say that pods are missing, and this.
    Wait(String),
    /// No pod can come: end with this.
    Fail(String),
}

/// Ends the run only if no pod is up and none that exists, or could be made, may still come.
pub(super) fn verdict(missing: &Missing) -> Verdict {
    if missing.up >= missing.wanted {
        return Verdict::Fine;
    }
    // A container that was well once may be so again: it is started anew, after 5 min at most.
    let worn = |(why, since): &(Why, Duration)| {
        !(why.crashes && missing.ever) && why.patience.is_some_and(|patience| *since >= patience)
    };
    let hopeless = match (missing.coming.as_slice(), &missing.refused) {
        ([], Some(refused)) => worn(refused),
        ([], None) => false,
        (coming, _) => coming.iter().all(worn),
    };
    let mut counted: BTreeMap<&str, (bool, usize)> = BTreeMap::new();
    for (why, _) in missing.coming.iter().filter(|(why, since)| !why.ordinary || *since >= ORDINARY) {
        counted.entry(&why.words).or_insert((why.ordinary, 0)).1 += 1;
    }
    // What is wrong before what is slow, and what most pods have before what few have.
    let told = counted.into_iter().min_by_key(|(words, (ordinary, n))| (*ordinary, usize::MAX - n, *words));
    let refused = missing.refused.as_ref().map(|(why, _)| why.words.as_str());
    let words = match (told, refused) {
        (Some((words, (false, _))), _) => words.to_owned(),
        (_, Some(words)) | (Some((words, _)), None) => words.to_owned(),
        (None, None) if missing.coming.is_empty() && missing.nothing >= ORDINARY => {
            "the cluster has not made them yet; do its controllers run?".into()
        }
        (None, None) => return Verdict::Fine,
    };
    if hopeless && missing.up == 0 {
        return Verdict::Fail(words);
    }
    Verdict::Wait(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::LocalObjectReference;
    use serde_json::{Value, json};

    fn pod(status: Value) -> Pod {
        let mut value = json!({
            "metadata": {"name": "womm-task-x-1", "uid": "u1"},
            "spec": {"nodeName": "node1", "nodeSelector": {"kubernetes.io/arch": "amd64"}, "containers": [{"name": "job",
                "resources": {"requests": {"cpu": "32", "memory": "512Mi"}, "limits": {"memory": "512Mi"}}}]}
        });
        value["status"] = status;
        if value["status"]["phase"].is_null() {
            value["status"]["phase"] = json!("Pending");
        }
        if value["status"]["conditions"].is_null() {
            value["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "True"}]);
        }
        serde_json::from_value(value).expect("a pod")
    }

    fn job(state: Value, more: Value) -> Value {
        let mut status =
            json!({"name": "job", "image": "r/i:1", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        if let (Some(status), Value::Object(more)) = (status.as_object_mut(), more) {
            status.extend(more);
        }
        json!({"containerStatuses": [status]})
    }

    fn why(pod: &Pod) -> Why {
        match phase(pod, None) {
            Phase::Coming(why) => why,
            other => panic!("{other:?}"),
        }
    }

    fn waiting(reason: &str, message: &str) -> Why {
        why(&pod(job(json!({"waiting": {"reason": reason, "message": message}}), json!({}))))
    }

    #[test]
    fn a_running_container_is_a_pod_that_may_take_jobs() {
        let running = job(json!({"running": {}}), json!({"containerID": "containerd://abc"}));
        let up = pod::Pod { name: "womm-task-x-1".into(), uid: "u1/abc".into(), node: Some("node1".into()) };
        assert_eq!(phase(&pod(running.clone()), None), Phase::Up(up));
        let mut ending = pod(running);
        ending.metadata.deletion_timestamp = Some(
            "2024-05-06T07:08:09Z".parse().map(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time).expect("a time"),
        );
        assert_eq!(phase(&ending, None), Phase::Over("deleted".into()));
        assert!(why(&pod(job(json!({"waiting": {"reason": "ContainerCreating"}}), json!({})))).ordinary);
        assert!(why(&pod(json!({}))).ordinary);
    }

    #[test]
    fn a_container_that_was_started_again_says_why_the_last_one_ended() {
        let last = |terminated: Value| {
            let more =
                json!({"containerID": "containerd://new", "restartCount": 1, "lastState": {"terminated": terminated}});
            gone(&pod(job(json!({"running": {}}), more)))
        };
        assert_eq!(last(json!({"reason": "OOMKilled", "exitCode": 137})), "exceeded 512Mi: use --kube-mem");
        assert_eq!(
            last(json!({"reason": "Error", "exitCode": 137})),
            "its agent was killed: if the pod exceeded 512Mi, use --kube-mem"
        );
        assert_eq!(
            last(json!({"reason": "Error", "exitCode": 3, "message": "no\nspace."})),
            "its agent ended with exit code 3: no space"
        );
        assert_eq!(last(json!({"reason": "Completed", "exitCode": 0})), "its agent ended");
    }

    #[test]
    fn a_pod_that_is_being_deleted_lingers_while_its_container_runs() {
        let up = pod::Pod { name: "womm-task-x-1".into(), uid: "u1/abc".into(), node: Some("node1".into()) };
        let at = |text: &str| -> Option<Timestamp> { Some(text.parse().expect("a time")) };
        let deleted = |status: Value| {
            let mut pod = pod(status);
            let due = "2024-05-06T07:08:09Z".parse().expect("a time");
            pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(due));
            pod
        };
        let running = || job(json!({"running": {}}), json!({"containerID": "containerd://abc"}));
        let before = at("2024-05-06T07:08:05Z");
        assert!(lingers(&deleted(running()), &up, before));
        assert!(!lingers(&pod(running()), &up, before), "it is not being deleted");
        assert!(!lingers(&deleted(running()), &up, at("2024-05-06T07:08:15Z")), "it should have ended");
        assert!(!lingers(&deleted(job(json!({"terminated": {"exitCode": 0}}), json!({}))), &up, before));
        let mut evicted = running();
        evicted["conditions"] =
            json!([{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}]);
        assert!(!lingers(&deleted(evicted), &up, before), "its node is lost");
    }

    #[test]
    fn what_ends_a_pod_has_words() {
        let evicted =
            json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory. "});
        assert_eq!(phase(&pod(evicted), None), Phase::Over("evicted: The node was low on resource: memory".into()));
        let target = |reason: &str| {
            let mut pod =
                pod(json!({"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": reason}]}));
            pod.metadata.deletion_timestamp = Some(
                "2024-05-06T07:08:09Z"
                    .parse()
                    .map(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time)
                    .expect("a time"),
            );
            gone(&pod)
        };
        assert_eq!(target("DeletionByTaintManager"), "node \"node1\" is lost");
        assert_eq!(target("PreemptionByScheduler"), "preempted by a pod of higher priority");
        assert_eq!(target("Other"), "deleted");
    }

    #[test]
    fn an_image_s_registry_is_quoted() {
        let missing =
            "failed to pull and unpack image \"r/i:1\": failed to resolve reference \"r/i:1\": r/i:1: not found";
        let said = waiting("ErrImagePull", missing);
        assert_eq!(
            said.words,
            "image \"r/i:1\" can't be pulled: not found: is its name right? `womm setup` makes and pushes one"
        );
        assert_eq!(said.patience, Some(REFUSED_IMAGE));
        let backoff =
            waiting("ImagePullBackOff", &format!("Back-off pulling image \"r/i:1\": ErrImagePull: {missing}"));
        assert_eq!(backoff, said);
        let old = waiting("ImagePullBackOff", "Back-off pulling image \"r/i:1\"");
        assert!(old.vague && old.words == "image \"r/i:1\" can't be pulled", "{old:?}");
        let denied = "failed to pull and unpack image \"r/i:1\": failed to resolve reference \"r/i:1\": failed to authorize: \
            failed to fetch anonymous token: unexpected status: 401 Unauthorized";
        let said = waiting("ErrImagePull", denied);
        assert!(said.words.contains("secret_name") && said.patience == Some(REFUSED_IMAGE), "{said:?}");
        let mut named = pod(job(json!({"waiting": {"reason": "ErrImagePull", "message": denied}}), json!({})));
        named.spec.as_mut().expect("a spec").image_pull_secrets =
            Some(vec![LocalObjectReference { name: "my-registry".into() }]);
        let said = why(&named);
        assert!(said.words.contains("pull secret \"my-registry\"") && !said.words.contains("setup"), "{said:?}");
        let down = "failed to pull and unpack image \"r/i:1\": failed to resolve reference \"r/i:1\": failed to do request: \
            Head \"https://r/v2/i/manifests/1\": dial tcp: lookup r: no such host";
        let said = waiting("ErrImagePull", down);
        assert_eq!(said.patience, Some(LATE_IMAGE));
        assert!(said.words.ends_with("lookup r: no such host"), "{said:?}");
        assert_eq!(waiting("InvalidImageName", "couldn't parse image name \"A b\"").patience, Some(REFUSED_IMAGE));
    }

    #[test]
    fn crashes_are_counted() {
        let crashed = |restarts: u32, ended: Value| {
            let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting"}});
            why(&pod(job(waiting, json!({"restartCount": restarts, "lastState": {"terminated": ended}}))))
        };
        let said = crashed(2, json!({"reason": "Error", "exitCode": 1}));
        assert_eq!(said, Why { crashes: true, ..Why::new("its agent ended with exit code 1, 3 times by now", None) });
        assert_eq!(crashed(3, json!({"reason": "Error", "exitCode": 1})).patience, Some(Duration::ZERO));
        let message = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create \
            failed: unable to start container process: error during container init: exec: \
            \"/usr/local/libexec/womm-agent\": stat /usr/local/libexec/womm-agent: no such file or directory: unknown";
        let said = crashed(1, json!({"reason": "StartError", "exitCode": 128, "message": message}));
        assert!(
            said.words.contains("the image has no agent") && said.words.ends_with("run `womm setup` again"),
            "{said:?}"
        );
        assert_eq!(said.patience, Some(REFUSED));
        let said = waiting("CreateContainerConfigError", "secret \"s\" not found");
        assert_eq!(said.words, "the container can't be made: secret \"s\" not found");
        let init = json!({"initContainerStatuses": [{"name": "agent", "image": "a:1", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ErrImagePull", "message": "a:1: not found"}}}],
            "containerStatuses": [{"name": "job", "image": "r/i:1", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "PodInitializing"}}}]});
        assert!(why(&pod(init)).words.starts_with("image \"a:1\" can't be pulled: not found"));
    }

    const SCHEDULER: &str = "0/3 nodes are available: 3 Insufficient cpu. no new claims to deallocate, preemption: 0/3 \
        nodes are available: 3 Preemption is not helpful for scheduling.";

    fn unscheduled(nodes: Option<&[Size]>) -> Why {
        let pod = pod(
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": SCHEDULER}]}),
        );
        match phase(&pod, nodes) {
            Phase::Coming(why) => why,
            other => panic!("{other:?}"),
        }
    }

    fn node(cpu: &str, memory: &str, ready: &str) -> Option<Size> {
        let node = json!({"metadata": {"labels": {"kubernetes.io/arch": "amd64"}}, "status": {
            "conditions": [{"type": "Ready", "status": ready}], "allocatable": {"cpu": cpu, "memory": memory}}});
        Size::of(&serde_json::from_value(node).expect("a node"))
    }

    #[test]
    fn the_largest_node_is_named_where_nodes_can_be_read() {
        let said = unscheduled(None);
        assert_eq!(said.words, "no node has room for 32 cpus and 512Mi: 0/3 nodes are available: 3 Insufficient cpu");
        assert_eq!(said.patience, None);
        assert!(said.unscheduled);
        let sizes = [node("15900m", "64Gi", "True").expect("ready"), node("4", "64Gi", "True").expect("ready")];
        let said = unscheduled(Some(&sizes));
        assert_eq!(said.words, "no node has 32 free cpus: the largest has 15.9: use --kube-cpu");
        assert_eq!(said.patience, Some(TOO_LARGE));
        let said = unscheduled(Some(&[node("64", "511Mi", "True").expect("ready")]));
        assert_eq!(said.words, "no node has 512Mi of free memory: the largest has 511.0Mi: use --kube-mem");
        let said =
            unscheduled(Some(&[node("64", "1Mi", "True").expect("ready"), node("1", "1Gi", "True").expect("ready")]));
        assert!(said.words.starts_with("no node has all of 32 cpus and 512Mi"), "{said:?}");
        assert_eq!(unscheduled(Some(&[node("64", "1Gi", "True").expect("ready")])).patience, None);
        assert_eq!(node("64", "1Gi", "Unknown"), None);
        assert_eq!(unscheduled(Some(&[])).words, "no node is ready to take pods");
        let arm = Size { arch: "arm64".into(), ..node("64", "1Gi", "True").expect("ready") };
        assert!(unscheduled(Some(&[arm])).words.contains("architecture amd64"));
    }

    fn event(reason: &str, message: &str) -> Event {
        let event = json!({"metadata": {}, "involvedObject": {}, "reason": reason, "message": message,
            "lastTimestamp": "2024-05-06T07:08:09Z"});
        serde_json::from_value(event).expect("an event")
    }

    #[test]
    fn events_add_what_the_pod_does_not_say() {
        let sizes = [node("4", "64Gi", "True").expect("ready")];
        let empty = pod(json!({}));
        let scaled = better(
            unscheduled(Some(&sizes)),
            &empty,
            &[event("TriggeredScaleUp", "pod triggered scale-up: [{g 1->2}]")],
        );
        assert_eq!(scaled.patience, None);
        let told = |events: &[Event]| better(why(&empty), &empty, events);
        assert_eq!(told(&[event("Pulling", "x")]).words, "the image is being pulled");
        assert_eq!(told(&[event("Pulling", "x"), event("Pulled", "x")]), why(&empty));
        let failed = told(&[event("FailedMount", "no disk.")]);
        assert_eq!(failed.words, "the node can't make the container: no disk");
    }

    /// As kubelet 1.34 with containerd says it, first in an event, then in the status.
    #[test]
    fn a_pull_that_failed_is_the_same_in_an_event_and_in_the_status() {
        let said = "rpc error: code = NotFound desc = failed to pull and unpack image \"r:5000/no:7\": failed to resolve \
                    reference \"r:5000/no:7\": r:5000/no:7: not found";
        let events = [
            event("Pulling", "Pulling image \"r:5000/no:7\""),
            event("Failed", &format!("Failed to pull image \"r:5000/no:7\": {said}")),
            event("Failed", "Error: ErrImagePull"),
            event("Pulled", "Successfully pulled image \"agent\""),
        ];
        let mut waits = pod(json!({}));
        let by_event = better(why(&waits), &waits, &events);
        let state = json!({"waiting": {"reason": "ErrImagePull", "message": said}});
        let by_status = why(&pod(job(state, json!({"image": "r:5000/no:7"}))));
        assert_eq!(by_event, by_status);
        assert_eq!(
            by_event.words,
            "image \"r:5000/no:7\" can't be pulled: not found: is its name right? `womm setup` makes and pushes one"
        );
        assert_eq!(by_event.patience, Some(REFUSED_IMAGE));
        if let Some(spec) = waits.spec.as_mut() {
            spec.image_pull_secrets = Some(vec![LocalObjectReference { name: "mine".into() }]);
        }
        let barred = event("Failed", "Failed to pull image \"r/i\": 401 Unauthorized");
        assert!(better(why(&waits), &waits, &[barred]).words.contains("pull secret \"mine\""));
        // Whatever stands there.
        for message in ["Failed to pull image \"", "Failed to pull image \"é", "Failed to pull image \"\": ", "Failed"]
        {
            better(why(&waits), &waits, &[event("Failed", message)]);
        }
    }

    #[test]
    fn refused_pods_have_words() {
        let refused = |message: &str| {
            let deployment = json!({"metadata": {}, "status": {"conditions": [{"type": "ReplicaFailure", "status": "True",
                "reason": "FailedCreate", "message": message}]}});
            refused(&serde_json::from_value(deployment).expect("a Deployment")).expect("refused")
        };
        let said = refused(
            "pods \"womm-task-x-1\" is forbidden: exceeded quota: few, requested: limits.memory=512Mi,pods=1, used: \
             limits.memory=1Gi,pods=2, limited: limits.memory=1Gi,pods=9",
        );
        assert_eq!(
            said.words,
            "quota \"few\" is used up: limits.memory is 512Mi a pod, 1Gi of 1Gi are used; pods is 1 a pod, 2 of 9 are used"
        );
        assert_eq!(said.patience, Some(QUOTA));
        let said = refused(
            "pods \"p\" is forbidden: exceeded quota: few, requested: requests.cpu=8, used: requests.cpu=0, limited: requests.cpu=2",
        );
        assert_eq!(
            said.words,
            "quota \"few\" allows no such pod: requests.cpu is 8 a pod, of 2 in all: use --kube-cpu, --kube-mem"
        );
        assert_eq!(said.patience, Some(REFUSED));
        let said = refused("pods \"p\" is forbidden: failed quota: few: must specify limits.cpu for: job");
        assert_eq!(
            said.words,
            "quota \"few\" refuses the pods: must specify limits.cpu for: job: set that with --kube-patch"
        );
        let said = refused(
            "pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true (pod or container \
             \"job\" must set securityContext.runAsNonRoot=true)",
        );
        assert!(
            said.words.starts_with("PodSecurity \"restricted:latest\" of the namespace refuses the pods: runAsNonRoot")
        );
        assert!(said.words.contains("another user than root"), "{said:?}");
        let said = refused("admission webhook \"no.example.org\" denied the request: not on Fridays");
        assert_eq!(
            said.words,
            "the cluster refuses the pods: admission webhook \"no.example.org\" denied the request: not on Fridays"
        );
        let said = refused(
            "pods \"p\" is forbidden: error looking up service account n/default: serviceaccount \"default\" not found",
        );
        assert_eq!(said.patience, Some(SERVICE_ACCOUNT));
    }

    fn missing(up: usize, coming: &[(Why, u64)]) -> Missing {
        let coming = coming.iter().map(|(why, s)| (why.clone(), Duration::from_secs(*s))).collect();
        Missing { wanted: 4, up, coming, ..Missing::default() }
    }

    #[test]
    fn a_run_ends_only_when_no_pod_can_come() {
        let image = Why::new("no image", Some(Duration::from_secs(4)));
        let full = Why::new("no room", None);
        let slow = Why::ordinary("slow");
        assert_eq!(verdict(&missing(4, &[])), Verdict::Fine);
        assert_eq!(verdict(&missing(0, &[(slow.clone(), 1)])), Verdict::Fine);
        assert_eq!(verdict(&missing(3, &[(slow.clone(), 6)])), Verdict::Wait("slow".into()));
        assert_eq!(verdict(&missing(0, &[(image.clone(), 1)])), Verdict::Wait("no image".into()));
        assert_eq!(verdict(&missing(0, &[(image.clone(), 4), (image.clone(), 5)])), Verdict::Fail("no image".into()));
        assert_eq!(verdict(&missing(1, &[(image.clone(), 9)])), Verdict::Wait("no image".into()));
        assert!(matches!(verdict(&missing(0, &[(image.clone(), 9), (full, 9)])), Verdict::Wait(_)));
        assert_eq!(verdict(&missing(0, &[(image.clone(), 9), (slow, 0)])), Verdict::Wait("no image".into()));

        let quota = Some((Why::new("quota", Some(QUOTA)), QUOTA));
        let refused = |up, coming: &[(Why, u64)]| verdict(&Missing { refused: quota.clone(), ..missing(up, coming) });
        assert_eq!(refused(0, &[]), Verdict::Fail("quota".into()));
        assert_eq!(refused(2, &[]), Verdict::Wait("quota".into()));
        assert_eq!(refused(0, &[(image, 0)]), Verdict::Wait("no image".into()));
        let crash = Why { crashes: true, ..Why::new("crash", Some(Duration::ZERO)) };
        assert_eq!(verdict(&missing(0, &[(crash.clone(), 0)])), Verdict::Fail("crash".into()));
        assert!(matches!(verdict(&Missing { ever: true, ..missing(0, &[(crash, 0)]) }), Verdict::Wait(_)));
        let nothing = Missing { nothing: Duration::from_secs(9), ..missing(0, &[]) };
        assert!(matches!(verdict(&nothing), Verdict::Wait(words) if words.contains("controllers")));
    }
}
