//! What the cluster is asked for, as values: functions of the record, no I/O.
//!
//! Non-root users' pods keep within the Pod Security Standard `restricted`, root's within `baseline`
//! (kubernetes.io, "Pod Security Standards").

use crate::Error;
use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, LocalObjectReference, ObjectFieldSelector,
    PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements, SeccompProfile, SecurityContext, Toleration,
    Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use womm_wire::names;
use womm_wire::record::{Image, Record, ShareKind, Task, User};

/// The container in which jobs run.
pub(super) const CONTAINER: &str = "job";
/// How long a Lease holds without renewal, in seconds; the task is ORPHANED then (DESIGN 6).
pub(super) const LEASE_S: i32 = 60;
/// The extended resource of NVIDIA's device plugin.
pub(super) const GPU: &str = "nvidia.com/gpu";

/// The init container that brings the agent.
const INSTALLER: &str = "agent";
/// TMPDIR of jobs: on the node's disk, so that its content does not count as the job's memory.
const TMPDIR: &str = "/run/womm-tmp";
/// Seconds without any connection after which the agent ends.
const ORPHAN_S: u32 = 3600;
/// Seconds a pod stays bound to a node that does not answer, before it is replaced. They count from when the cluster has
/// noticed, 50 s after the node's last word unless it is configured otherwise, as little as 10 s on some. A pod that is
/// replaced is lost even if its node comes back: so a network that is away for a minute, or a kubelet that is updated,
/// must fit in. Kubernetes' own 300 would leave the slot without a pod, and its jobs without a word, for as long.
const LOST_NODE_S: i64 = 120;
/// A longer command is cut in annotations, which are limited to 256 KiB altogether.
const MOST_COMMAND: usize = 16 << 10;

/// The agent's path in pods of this image.
pub(super) fn agent_path(image: &Image) -> &'static str {
    if has_agent(image) { names::AGENT_BAKED } else { names::AGENT_COPIED }
}

fn has_agent(image: &Image) -> bool {
    image.agent.as_deref() == Some(names::VERSION)
}

/// Whether this engine can have such pods at all.
///
/// # Errors
/// [`Error::Invalid`] with what to do instead.
pub(super) fn check(record: &Record, task: &Task) -> Result<(), Error> {
    let invalid = |message: String, help: &str| Err(Error::Invalid { message, help: help.into() });
    match record.project.share_kind {
        ShareKind::None => {}
        ShareKind::Bind => {
            return invalid(
                "share kind \"bind\" is for the local Docker engine only".into(),
                "run `womm setup` in this folder again, and choose another",
            );
        }
        kind @ (ShareKind::Lazy | ShareKind::Eager | ShareKind::EagerBack) => {
            let kind = serde_json::to_value(kind).unwrap_or_default();
            return invalid(
                format!("share kind {kind} does not exist yet on a cluster"),
                "run `womm setup` in this folder again, and choose not to share",
            );
        }
    }
    check_folder(&record.project.cwd)?;
    let Some(image) = record.image.as_ref().filter(|image| !image.reference.is_empty()) else {
        return invalid("the record has no image".into(), "`womm-image show` adds it");
    };
    if !has_agent(image) && image.agent_image.is_none() {
        let why = match &image.agent {
            Some(version) => format!("has the agent of WOMM {version}, and this is {}", names::VERSION),
            None => "has no agent in it".to_owned(),
        };
        return invalid(
            format!("image \"{}\" {why}", image.reference),
            "run `womm setup` in this folder again, or push the agent's own image with `womm-image agent --push`",
        );
    }
    if task.mem_bytes == 0 {
        return invalid("--kube-mem is 0".into(), "ask for more");
    }
    Ok(())
}

/// Folders where no volume can be mounted, or where it would hide what the pod needs.
fn check_folder(cwd: &str) -> Result<(), Error> {
    let invalid = |why: &str, help: &str| {
        Err(Error::Invalid { message: format!("the project's folder \"{cwd}\" {why}"), help: help.into() })
    };
    let path = Path::new(cwd);
    if !path.is_absolute() {
        return invalid(
            "is not an absolute path",
            "the stage that reads .womm, `womm-image show`, writes the real one into the record",
        );
    }
    // Source: kubernetes, core/v1 VolumeMount: "Must not contain ':'".
    if cwd.contains(':') {
        return invalid("has a colon in its name, where a pod can't have a volume", "rename the folder");
    }
    let hidden = [
        names::AGENT_BAKED,
        names::POD_DIR,
        TMPDIR,
        "/bin",
        "/sbin",
        "/lib",
        "/lib32",
        "/lib64",
        "/usr/bin",
        "/usr/lib",
        "/etc",
    ];
    let taken = [names::POD_DIR, TMPDIR, "/proc", "/sys", "/dev"];
    if hidden.into_iter().any(|inner| Path::new(inner).starts_with(path))
        || taken.into_iter().any(|outer| path.starts_with(outer))
    {
        return invalid("can't be a folder of its own in a pod: it would hide the image's", "move the project");
    }
    Ok(())
}

/// The Lease that is the task: who deletes it deletes everything.
pub(super) fn lease(task: &Task, now: Timestamp) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(task.name.clone()),
            labels: Some(labels(task)),
            annotations: Some(notes(task)),
            ..Default::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(task.host.clone()),
            lease_duration_seconds: Some(LEASE_S),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            ..Default::default()
        }),
    }
}

/// The Deployment of the task's pods, owned by its Lease.
pub(super) fn deployment(record: &Record, task: &Task, image: &Image, lease_uid: &str) -> Deployment {
    let labels = labels(task);
    Deployment {
        metadata: ObjectMeta {
            name: Some(task.name.clone()),
            labels: Some(labels.clone()),
            annotations: Some(notes(task)),
            owner_references: Some(vec![owner(task, lease_uid)]),
            ..Default::default()
        },
        spec: Some(DeploymentSpec {
            replicas: Some(i32::try_from(task.pods).unwrap_or(i32::MAX)),
            selector: LabelSelector {
                match_labels: Some(BTreeMap::from([(names::LABEL_TASK.to_owned(), task.id.clone())])),
                ..Default::default()
            },
            // No pod above those that were asked for, if somebody changes the template by hand.
            strategy: Some(DeploymentStrategy { type_: Some("Recreate".into()), ..Default::default() }),
            revision_history_limit: Some(0),
            min_ready_seconds: Some(0),
            // The greatest number means "no deadline" to the controller: pods that wait for room are no failure.
            progress_deadline_seconds: Some(i32::MAX),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    // The cluster autoscaler else drains a node that it finds half empty, and the jobs there are lost.
                    annotations: Some(BTreeMap::from([(
                        "cluster-autoscaler.kubernetes.io/safe-to-evict".to_owned(),
                        "false".to_owned(),
                    )])),
                    ..Default::default()
                }),
                spec: Some(pod(record, task, image)),
            },
            ..Default::default()
        }),
        status: None,
    }
}

/// What makes an object go with the Lease. It blocks nothing: that would need the right to update finalizers of Leases.
fn owner(task: &Task, lease_uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: "coordination.k8s.io/v1".into(),
        kind: "Lease".into(),
        name: task.name.clone(),
        uid: lease_uid.to_owned(),
        block_owner_deletion: Some(false),
        controller: None,
    }
}

fn pod(record: &Record, task: &Task, image: &Image) -> PodSpec {
    let baked = has_agent(image);
    let volume = |name: &str, medium: Option<&str>, size: Option<&str>| Volume {
        name: name.into(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: medium.map(str::to_owned),
            size_limit: size.map(|size| Quantity(size.into())),
        }),
        ..Default::default()
    };
    // Memory, for the socket outlives no node; the copied agent is some 4 MiB of it.
    let own = volume("womm", Some("Memory"), Some(if baked { "16Mi" } else { "32Mi" }));
    let volumes = vec![own, volume("tmp", None, None), volume("cwd", None, None)];
    PodSpec {
        containers: vec![job(record, task, image)],
        init_containers: (!baked).then(|| vec![installer(task, image)]),
        volumes: Some(volumes),
        node_selector: image.arch.as_ref().map(|arch| BTreeMap::from([("kubernetes.io/arch".into(), arch.clone())])),
        tolerations: Some(["not-ready", "unreachable"].map(leaves).into()),
        image_pull_secrets: record
            .project
            .secret_name
            .as_ref()
            .filter(|name| !name.is_empty())
            .map(|name| vec![LocalObjectReference { name: name.clone() }]),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(5),
        restart_policy: Some("Always".into()),
        security_context: Some(pod_security(&task.user)),
        ..Default::default()
    }
}

/// How long a pod outlives the taint of a node in trouble.
fn leaves(taint: &str) -> Toleration {
    Toleration {
        key: Some(format!("node.kubernetes.io/{taint}")),
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        toleration_seconds: Some(LOST_NODE_S),
        ..Default::default()
    }
}

/// Jobs are the user. fsGroup makes the empty folders the group's, writable and set-group-ID.
fn pod_security(user: &User) -> PodSecurityContext {
    PodSecurityContext {
        run_as_user: Some(user.uid.into()),
        run_as_group: Some(user.gid.into()),
        fs_group: Some(user.gid.into()),
        run_as_non_root: (user.uid != 0).then_some(true),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), ..Default::default() }),
        ..Default::default()
    }
}

/// Root keeps the runtime's default capabilities: as on the workstation it may then read and chown what it likes within
/// the pod (`baseline` allows them, and `restricted` would refuse a root user whatever it dropped). Others lose all:
/// they never had any.
fn container_security(user: &User) -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: (user.uid != 0).then(|| Capabilities { drop: Some(vec!["ALL".into()]), ..Default::default() }),
        ..Default::default()
    }
}

fn job(record: &Record, task: &Task, image: &Image) -> Container {
    let mount =
        |name: &str, path: &str| VolumeMount { name: name.into(), mount_path: path.into(), ..Default::default() };
    Container {
        name: CONTAINER.into(),
        image: Some(image.reference.clone()),
        command: Some(vec![agent_path(image).into(), "serve".into()]),
        working_dir: Some("/".into()),
        env: Some(environment(task)),
        resources: Some(resources(task, true)),
        volume_mounts: Some(vec![
            mount("womm", names::POD_DIR),
            mount("tmp", TMPDIR),
            mount("cwd", &record.project.cwd),
        ]),
        security_context: Some(container_security(&task.user)),
        ..Default::default()
    }
}

/// Puts the agent where the image has none. Its resources are the job's, whose maximum with them counts.
fn installer(task: &Task, image: &Image) -> Container {
    Container {
        name: INSTALLER.into(),
        image: image.agent_image.clone(),
        command: Some(vec!["/womm-agent".into(), "install".into(), names::AGENT_COPIED.into()]),
        resources: Some(resources(task, false)),
        volume_mounts: Some(vec![VolumeMount {
            name: "womm".into(),
            mount_path: names::POD_DIR.into(),
            ..Default::default()
        }]),
        security_context: Some(container_security(&task.user)),
        ..Default::default()
    }
}

/// CPU without a limit, so that idle CPUs are used; memory with one, so that a job is killed before its node suffers.
fn resources(task: &Task, gpus: bool) -> ResourceRequirements {
    let memory = ("memory".to_owned(), Quantity(quantity(task.mem_bytes)));
    let gpus = (gpus && task.gpu > 0).then(|| (GPU.to_owned(), Quantity(task.gpu.to_string())));
    let cpu = ("cpu".to_owned(), Quantity(cpus(task.cpu_milli)));
    ResourceRequirements {
        requests: Some([cpu, memory.clone()].into_iter().chain(gpus.clone()).collect()),
        limits: Some([memory].into_iter().chain(gpus).collect()),
        ..Default::default()
    }
}

fn environment(task: &Task) -> Vec<EnvVar> {
    let value = |name: &str, value: &str| EnvVar {
        name: name.into(),
        // Kubernetes expands $(NAME), and reads $$ as $ (core/v1 EnvVar).
        value: Some(value.replace('$', "$$")),
        value_from: None,
    };
    vec![
        value(names::ENV_CWD, &task.pwd),
        value(names::ENV_MAKE_CWD, "1"),
        value(names::ENV_USER, &task.user.name),
        value(names::ENV_HOME, &task.user.home),
        value(names::ENV_TMPDIR, TMPDIR),
        value(names::ENV_ORPHAN_S, &ORPHAN_S.to_string()),
        EnvVar {
            name: names::ENV_HOSTNAME.into(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector { field_path: "metadata.name".into(), api_version: None }),
                ..Default::default()
            }),
            value: None,
        },
    ]
}

fn labels(task: &Task) -> BTreeMap<String, String> {
    BTreeMap::from([
        (names::LABEL_TASK.to_owned(), task.id.clone()),
        (names::LABEL_USER.to_owned(), label_value(&task.user.name)),
        (names::LABEL_MANAGED.to_owned(), names::MANAGED_BY.to_owned()),
    ])
}

fn notes(task: &Task) -> BTreeMap<String, String> {
    let mut end = task.command.len().min(MOST_COMMAND);
    while !task.command.is_char_boundary(end) {
        end -= 1;
    }
    let command = &task.command[..end];
    let cut = if command.len() < task.command.len() { "…" } else { "" };
    [
        (names::NOTE_HOST, task.host.clone()),
        (names::NOTE_PWD, task.pwd.clone()),
        (names::NOTE_COMMAND, format!("{command}{cut}")),
        (names::NOTE_CREATED, task.created.clone()),
        (names::NOTE_VERSION, names::VERSION.to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// What the label's syntax leaves of a user's name: letters, digits, `-_.` within, 63 at most (kubernetes.io, "Labels
/// and Selectors").
fn label_value(text: &str) -> String {
    let kept: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).take(63).collect();
    kept.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// Bytes as `--kube-mem` would take them: exact.
pub(super) fn quantity(bytes: u64) -> String {
    [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")]
        .into_iter()
        .find(|(power, _)| bytes > 0 && bytes.trailing_zeros() >= *power)
        .map_or_else(|| bytes.to_string(), |(power, unit)| format!("{}{unit}", bytes >> power))
}

/// CPUs as `--kube-cpu` would take them.
pub(super) fn cpus(milli: u64) -> String {
    if milli.is_multiple_of(1000) { (milli / 1000).to_string() } else { format!("{milli}m") }
}

/// What is wrong with the Deployment that came of the user's patch: what everything here relies on must still hold.
pub(super) fn spoiled(patched: &Deployment, task: &Task, lease_uid: &str) -> Option<&'static str> {
    let has_task =
        |meta: &ObjectMeta| meta.labels.as_ref().and_then(|labels| labels.get(names::LABEL_TASK)) == Some(&task.id);
    let owned = patched.metadata.owner_references.iter().flatten().any(|owner| owner.uid == lease_uid);
    let Some(spec) = patched.spec.as_ref() else { return Some("it has no spec") };
    let pod = spec.template.spec.as_ref();
    let job = pod.and_then(|pod| pod.containers.iter().find(|container| container.name == CONTAINER));
    let serves =
        job.and_then(|job| job.command.as_ref()).is_some_and(|words| words.get(1).is_some_and(|w| w == "serve"));
    let mounts = job.iter().flat_map(|job| job.volume_mounts.iter().flatten());
    match () {
        () if !has_task(&patched.metadata) => Some("it takes the label womm.task away"),
        () if !owned => Some("it takes the owner, the task's Lease, away"),
        () if spec.replicas != i32::try_from(task.pods).ok() => {
            Some("it sets replicas, which is what --kube-pods does")
        }
        () if job.is_none() => Some("it takes the container \"job\" away"),
        () if !serves => Some("it replaces the command of container \"job\", which is WOMM's agent"),
        () if !mounts.into_iter().any(|m| m.mount_path == names::POD_DIR) => {
            Some("it takes the volume at /run/womm away")
        }
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use womm_wire::record::Project;

    pub(in crate::kube) fn sample() -> (Record, Task) {
        let task = Task {
            id: "prnmnvzi".into(),
            name: "womm-task-prnmnvzi".into(),
            pods: 4,
            procs_per_pod: 1,
            cpu_milli: 1000,
            mem_bytes: 512 << 20,
            user: User { name: "ada@home".into(), uid: 1000, gid: 1001, home: "/home/ada".into(), ..User::default() },
            host: "desk".into(),
            pwd: "/home/ada/p/sub $(x)".into(),
            command: "wc -l '{}'".into(),
            created: "2024-05-06T07:08:09Z".into(),
            run: "/run/user/1000/womm/prnmnvzi".into(),
            ..Default::default()
        };
        let record = Record {
            project: Project { cwd: "/home/ada/p".into(), ..Default::default() },
            image: Some(Image {
                reference: "registry:5000/womm-image-q:1".into(),
                agent: Some(names::VERSION.into()),
                arch: Some("amd64".into()),
                ..Default::default()
            }),
            ..Default::default()
        };
        (record, task)
    }

    fn made(record: &Record, task: &Task) -> Value {
        let image = record.image.as_ref().expect("set");
        serde_json::to_value(deployment(record, task, image, "0a1b-lease")).expect("plain data")
    }

    /// `WOMM_GOLDEN=1` writes them anew; read the difference before you keep it.
    fn golden(name: &str, value: &Value) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kube/golden").join(name);
        // The version is written once, in Cargo.toml.
        let text = serde_json::to_string_pretty(value).expect("plain data").replace(names::VERSION, "VERSION") + "\n";
        if std::env::var_os("WOMM_GOLDEN").is_some() {
            std::fs::write(&path, &text).expect("the source tree");
        }
        let expected = std::fs::read_to_string(&path).expect("a golden file");
        assert_eq!(text, expected, "{name} differs; WOMM_GOLDEN=1 writes it anew");
    }

    #[test]
    fn a_lease_as_the_cluster_is_told() {
        let (_, task) = sample();
        let now = "2024-05-06T07:08:10Z".parse().expect("a time");
        golden("lease.json", &serde_json::to_value(lease(&task, now)).expect("plain data"));
    }

    #[test]
    fn a_deployment_as_the_cluster_is_told() {
        let (record, task) = sample();
        golden("deployment.json", &made(&record, &task));
    }

    #[test]
    fn root_an_unknown_image_a_gpu_and_a_secret() {
        let (mut record, mut task) = sample();
        task.user = User { name: "root".into(), uid: 0, gid: 0, home: "/root".into(), ..User::default() };
        task.gpu = 2;
        task.cpu_milli = 250;
        record.project.secret_name = Some("pull".into());
        record.image = Some(Image {
            reference: "ubuntu:22.04".into(),
            agent_image: Some("registry:5000/womm-agent:1".into()),
            ..Default::default()
        });
        golden("deployment-root.json", &made(&record, &task));
    }

    #[test]
    fn what_this_engine_has_not_is_refused() {
        let (record, task) = sample();
        assert!(check(&record, &task).is_ok());
        let refused = |change: &dyn Fn(&mut Record)| {
            let mut record = record.clone();
            change(&mut record);
            check(&record, &task).expect_err("refused").to_string()
        };
        assert_eq!(
            refused(&|r| r.project.share_kind = ShareKind::Lazy),
            "share kind \"lazy\" does not exist yet on a cluster"
        );
        assert!(refused(&|r| r.project.share_kind = ShareKind::Bind).contains("Docker engine only"));
        assert!(refused(&|r| r.project.cwd = "/a:b".into()).contains("colon"));
        assert!(refused(&|r| r.project.cwd = "p".into()).contains("not an absolute"));
        for folder in ["/", "/usr", "/run", "/run/womm/x", "/proc/1"] {
            assert!(refused(&|r| r.project.cwd = folder.into()).contains("hide"), "{folder}");
        }
        let image =
            |r: &mut Record, agent: Option<&str>| r.image.as_mut().expect("set").agent = agent.map(str::to_owned);
        assert!(refused(&|r| image(r, None)).ends_with("has no agent in it"));
        assert!(refused(&|r| image(r, Some("0.1"))).contains("has the agent of WOMM 0.1, and this is"));
        assert!(refused(&|r| r.image = None).contains("no image"));
    }

    #[test]
    fn labels_keep_to_their_syntax() {
        assert_eq!(label_value("ada@home"), "ada-home");
        assert_eq!(label_value("_DOM\\ada_"), "DOM-ada");
        assert_eq!(label_value("é"), "");
        assert_eq!(label_value(&"x".repeat(80)).len(), 63);
    }

    #[test]
    fn a_long_command_is_cut_between_characters() {
        let (_, mut task) = sample();
        task.command = "é".repeat(MOST_COMMAND);
        let note = notes(&task).remove(names::NOTE_COMMAND).expect("set");
        assert!(note.len() < MOST_COMMAND + 4 && note.ends_with("é…"), "{}", note.len());
    }

    #[test]
    fn a_patch_may_not_take_away_what_we_rely_on() {
        let (record, task) = sample();
        let why = |change: &dyn Fn(&mut Value)| {
            let mut value = made(&record, &task);
            change(&mut value);
            spoiled(&serde_json::from_value(value).expect("a Deployment"), &task, "0a1b-lease")
        };
        assert_eq!(why(&|_| {}), None);
        assert_eq!(why(&|v| v["spec"]["template"]["spec"]["nodeSelector"] = json!({"disk": "ssd"})), None);
        assert!(why(&|v| v["spec"]["replicas"] = json!(9)).expect("spoiled").contains("--kube-pods"));
        assert!(why(&|v| v["metadata"]["labels"] = json!({})).is_some());
        assert!(why(&|v| v["metadata"]["ownerReferences"] = json!([])).is_some());
        assert!(why(&|v| v["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["sh"])).is_some());
        assert!(why(&|v| v["spec"]["template"]["spec"]["containers"][0]["name"] = json!("x")).is_some());
        assert!(why(&|v| v["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = json!([])).is_some());
    }
}
