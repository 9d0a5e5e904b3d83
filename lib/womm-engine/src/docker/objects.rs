//! What Docker is asked for, as values: functions of the record, no I/O.

use crate::Error;
use std::collections::HashMap;
use std::path::Path;

use bollard::models::{ContainerCreateBody, DeviceRequest, HealthConfig, HostConfig, Mount, MountType};
use womm_wire::names;
use womm_wire::record::{Record, ShareKind, Task, User};

/// The least memory of a container. Source: moby, `daemon/daemon_unix.go`, `linuxMinMemory`.
const LEAST_MEMORY: u64 = 6 << 20;
/// The smallest share of a CPU. Source: moby, the same file: "Range of CPUs is from 0.01".
const LEAST_CPU_MILLI: u64 = 10;

/// Letters and digits that can't be misread and spell no words: Kubernetes' own for pod names.
/// Source: k8s.io/apimachinery, `util/rand`.
const NAME_LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// What the engine has, as it says itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// CPUs.
    pub cpus: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// Whether SELinux labels containers, which then may not read the user's files.
    pub selinux: bool,
}

/// Whether this engine can have such containers at all.
///
/// # Errors
/// [`Error::Invalid`] that names what there is.
pub(super) fn check(record: &Record, task: &Task, facts: &Facts) -> Result<(), Error> {
    let invalid = |message: String, help: &str| Err(Error::Invalid { message, help: help.into() });
    match record.project.share_kind {
        ShareKind::Bind => check_bind(&record.project.cwd)?,
        ShareKind::None => check_folder(&record.project.cwd)?,
        other => {
            let kind = serde_json::to_value(other).unwrap_or_default();
            return invalid(
                format!("Docker has no share kind {kind}"),
                "run `womm setup --engine docker` in this folder again, or use share kind \"bind\" or \"none\"",
            );
        }
    }
    if task.cpu_milli < LEAST_CPU_MILLI {
        return invalid("--kube-cpu is below 0.01".into(), "Docker gives no smaller share of a CPU");
    }
    if task.cpu_milli > facts.cpus * 1000 {
        return invalid(
            format!("--kube-cpu {} is more than Docker here has: {} CPUs", cpus(task.cpu_milli), facts.cpus),
            "ask for less",
        );
    }
    if task.mem_bytes < LEAST_MEMORY {
        return invalid(format!("--kube-mem {} is below 6Mi", quantity(task.mem_bytes)), "ask for more");
    }
    if task.mem_bytes > facts.memory {
        return invalid(
            format!("--kube-mem {} is more than Docker here has: {}", quantity(task.mem_bytes), about(facts.memory)),
            "ask for less",
        );
    }
    Ok(())
}

fn check_folder(cwd: &str) -> Result<(), Error> {
    if Path::new(cwd).is_absolute() {
        return Ok(());
    }
    Err(Error::Invalid {
        message: format!("the project's folder \"{cwd}\" is not an absolute path"),
        help: "the stage that reads .womm, `womm-image show`, writes the real one into the record".into(),
    })
}

/// Folders that can't be the user's in a container, because the image's own, the kernel's or WOMM's are there.
///
/// # Errors
/// [`Error::Invalid`] for such a folder.
pub fn check_bind(cwd: &str) -> Result<(), Error> {
    check_folder(cwd)?;
    let path = Path::new(cwd);
    let holds = |inner: &str| Path::new(inner).starts_with(path);
    let below = |outer: &str| path.starts_with(outer);
    let hides = holds(names::AGENT_BAKED)
        || holds(names::POD_DIR)
        || below(names::POD_DIR)
        || ["/proc", "/sys", "/dev"].into_iter().any(below)
        || ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/usr/bin", "/usr/lib", "/etc"].into_iter().any(holds);
    if !hides {
        return Ok(());
    }
    Err(Error::Invalid {
        message: format!("the folder \"{cwd}\" can't be shared by bind mount: it would hide the image's own"),
        help: "move the project into a folder of its own".into(),
    })
}

/// The container of one pod.
pub(super) fn container(record: &Record, task: &Task, image: &str, name: &str, facts: &Facts) -> ContainerCreateBody {
    ContainerCreateBody {
        hostname: Some(name.into()),
        user: Some(owner(&task.user)),
        env: Some(environment(record, task, name)),
        cmd: Some(Vec::new()),
        entrypoint: Some(vec![names::AGENT_BAKED.into(), "serve".into()]),
        image: Some(image.into()),
        working_dir: Some("/".into()),
        labels: Some(labels(task)),
        stop_signal: Some("SIGTERM".into()),
        stop_timeout: Some(5),
        // The image's own health check would run in every pod, beside the jobs.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".into()]), ..Default::default() }),
        host_config: Some(host_config(record, task, facts)),
        ..Default::default()
    }
}

fn host_config(record: &Record, task: &Task, facts: &Facts) -> HostConfig {
    let mut security = vec!["no-new-privileges".to_owned()];
    let mut mounts = Vec::new();
    if record.project.share_kind == ShareKind::Bind {
        mounts.push(Mount {
            // A mount, not a "bind": that would make a missing folder, and a path may hold a colon.
            typ: Some(MountType::BIND),
            source: Some(record.project.cwd.clone()),
            target: Some(record.project.cwd.clone()),
            ..Default::default()
        });
        if facts.selinux {
            // Relabelling the user's own folder is the other way, and not ours to do.
            security.push("label=disable".to_owned());
        }
    }
    let memory = i64::try_from(task.mem_bytes).unwrap_or(i64::MAX);
    let gpus = (task.gpu > 0).then(|| {
        vec![DeviceRequest {
            count: Some(task.gpu.into()),
            capabilities: Some(vec![vec!["gpu".to_owned()]]),
            ..Default::default()
        }]
    });
    HostConfig {
        nano_cpus: Some(i64::try_from(task.cpu_milli.saturating_mul(1_000_000)).unwrap_or(i64::MAX)),
        memory: Some(memory),
        // Memory and swap together: none of it is swap, as in a Kubernetes pod.
        memory_swap: Some(memory),
        auto_remove: Some(true),
        // The agent is pid 1 and reaps.
        init: Some(false),
        security_opt: Some(security),
        mounts: Some(mounts),
        tmpfs: Some(HashMap::from([(names::POD_DIR.to_owned(), tmpfs(&task.user))])),
        device_requests: gpus,
        ..Default::default()
    }
}

fn tmpfs(user: &User) -> String {
    format!("rw,nosuid,nodev,noexec,size=16m,mode=0700,uid={},gid={}", user.uid, user.gid)
}

/// `uid:gid`.
pub(super) fn owner(user: &User) -> String {
    format!("{}:{}", user.uid, user.gid)
}

/// Seconds without a connection after which the agent ends: when the workstation can't delete the containers (it was
/// switched off; Docker was away), they go by themselves.
const ORPHAN_S: u32 = 300;

fn environment(record: &Record, task: &Task, name: &str) -> Vec<String> {
    let mut env = vec![
        format!("{}={}", names::ENV_CWD, task.pwd),
        format!("{}={}", names::ENV_USER, task.user.name),
        format!("{}={}", names::ENV_HOME, task.user.home),
        format!("{}=/tmp", names::ENV_TMPDIR),
        format!("{}={name}", names::ENV_HOSTNAME),
        format!("{}={ORPHAN_S}", names::ENV_ORPHAN_S),
    ];
    if record.project.share_kind == ShareKind::None {
        env.push(format!("{}=1", names::ENV_MAKE_CWD));
    }
    env
}

fn labels(task: &Task) -> HashMap<String, String> {
    [
        (names::LABEL_TASK, task.id.as_str()),
        (names::LABEL_USER, &task.user.name),
        (names::LABEL_MANAGED, names::MANAGED_BY),
        (names::NOTE_HOST, &task.host),
        (names::NOTE_PWD, &task.pwd),
        (names::NOTE_COMMAND, &task.command),
        (names::NOTE_CREATED, &task.created),
        (names::NOTE_VERSION, names::VERSION),
        (names::NOTE_RUN, &task.run),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// Filters for the containers that carry all these labels.
pub(super) fn labelled(labels: &[(&str, &str)]) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), labels.iter().map(|(key, value)| format!("{key}={value}")).collect())])
}

/// The containers of one task.
pub(super) fn of_task(id: &str) -> HashMap<String, Vec<String>> {
    labelled(&[(names::LABEL_TASK, id)])
}

/// A pod's name: the task's and five letters, as a ReplicaSet would name it.
pub(super) fn pod_name(task: &str, random: [u8; 5]) -> String {
    let letters = random.map(|byte| NAME_LETTERS[usize::from(byte) % NAME_LETTERS.len()] as char);
    format!("{task}-{}", String::from_iter(letters))
}

/// Whether an image reference is made of the characters that one may have. Checked because it becomes part of a URL.
pub(super) fn is_reference(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b))
        && !name.contains("..")
        && !name.contains("//")
        && !name.starts_with(['/', '.', '-', ':', '@'])
}

/// Bytes as `--kube-mem` would take them: exact.
pub(super) fn quantity(bytes: u64) -> String {
    [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")]
        .into_iter()
        .find(|(power, _)| bytes > 0 && bytes.trailing_zeros() >= *power)
        .map_or_else(|| bytes.to_string(), |(power, unit)| format!("{}{unit}", bytes >> power))
}

/// Bytes for people: `23.5Gi`, rounded down, so that asking for it is possible.
fn about(bytes: u64) -> String {
    let (power, unit) = if bytes >= 1 << 30 { (30, "Gi") } else { (20, "Mi") };
    let tenths = (u128::from(bytes) * 10) >> power;
    format!("{}.{}{unit}", tenths / 10, tenths % 10)
}

fn cpus(milli: u64) -> String {
    if milli.is_multiple_of(1000) { (milli / 1000).to_string() } else { format!("{milli}m") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use womm_wire::record::Project;

    fn sample() -> (Record, Task, Facts) {
        let task = Task {
            id: "prnmnvzi".into(),
            name: "womm-task-prnmnvzi".into(),
            pods: 2,
            procs_per_pod: 1,
            cpu_milli: 1500,
            mem_bytes: 512 << 20,
            user: User { name: "ada".into(), uid: 1000, gid: 1001, home: "/home/ada".into(), ..User::default() },
            host: "desk".into(),
            pwd: "/home/ada/p/sub".into(),
            command: "wc -l {}".into(),
            created: "2024-05-06T07:08:09Z".into(),
            run: "/run/user/1000/womm/prnmnvzi".into(),
            ..Default::default()
        };
        let record = Record {
            project: Project { cwd: "/home/ada/p".into(), share_kind: ShareKind::Bind, ..Default::default() },
            ..Default::default()
        };
        (record, task, Facts { cpus: 4, memory: (47 << 30) / 2, selinux: false })
    }

    #[test]
    fn a_container_as_docker_is_told() {
        let (record, mut task, facts) = sample();
        let name = pod_name(&task.name, [0, 1, 2, 26, 27]);
        assert_eq!(name, "womm-task-prnmnvzi-bcd9b");
        let body = serde_json::to_value(container(&record, &task, "img:1", &name, &facts)).expect("plain data");
        assert_eq!(body["Hostname"], name);
        assert_eq!(body["User"], "1000:1001");
        assert_eq!(body["Entrypoint"], serde_json::json!([names::AGENT_BAKED, "serve"]));
        assert_eq!(body["Labels"]["womm.task"], "prnmnvzi");
        assert_eq!(body["Labels"]["womm.run"], task.run);
        let host = &body["HostConfig"];
        assert_eq!(host["NanoCpus"], 1_500_000_000_u64);
        assert_eq!(host["Memory"], 512 << 20);
        assert_eq!(host["MemorySwap"], host["Memory"]);
        assert_eq!(host["AutoRemove"], true);
        assert_eq!(host["Mounts"][0]["Type"], "bind");
        assert_eq!(host["Mounts"][0]["Target"], "/home/ada/p");
        assert_eq!(host["Tmpfs"]["/run/womm"], "rw,nosuid,nodev,noexec,size=16m,mode=0700,uid=1000,gid=1001");
        assert!(host.get("DeviceRequests").is_none() && host.get("Privileged").is_none());
        let env: Vec<_> = body["Env"].as_array().expect("a list").iter().filter_map(|e| e.as_str()).collect();
        assert!(env.contains(&"WOMM_CWD=/home/ada/p/sub") && !env.contains(&"WOMM_MAKE_CWD=1"));

        task.gpu = 2;
        let body = serde_json::to_value(container(&record, &task, "i", &name, &facts)).expect("plain data");
        assert_eq!(body["HostConfig"]["DeviceRequests"][0]["Count"], 2);
    }

    #[test]
    fn without_a_share_nothing_is_mounted_and_the_agent_makes_the_cwd() {
        let (mut record, task, facts) = sample();
        record.project.share_kind = ShareKind::None;
        let body = container(&record, &task, "i", "n", &facts);
        assert_eq!(body.host_config.and_then(|h| h.mounts), Some(Vec::new()));
        assert!(body.env.expect("set").contains(&"WOMM_MAKE_CWD=1".to_owned()));
    }

    #[test]
    fn selinux_keeps_its_labels_off_the_users_folder() {
        let (record, task, mut facts) = sample();
        facts.selinux = true;
        let options = container(&record, &task, "i", "n", &facts).host_config.and_then(|h| h.security_opt);
        assert!(options.expect("set").contains(&"label=disable".to_owned()));
    }

    #[test]
    fn what_the_engine_does_not_have_is_refused() {
        let (record, task, facts) = sample();
        assert!(check(&record, &task, &facts).is_ok());
        let refused = |change: &dyn Fn(&mut Record, &mut Task)| {
            let (mut record, mut task) = (record.clone(), task.clone());
            change(&mut record, &mut task);
            check(&record, &task, &facts).expect_err("refused").to_string()
        };
        assert_eq!(refused(&|_, t| t.cpu_milli = 4001), "--kube-cpu 4001m is more than Docker here has: 4 CPUs");
        assert_eq!(refused(&|_, t| t.cpu_milli = 32000), "--kube-cpu 32 is more than Docker here has: 4 CPUs");
        assert_eq!(refused(&|_, t| t.mem_bytes = 1 << 40), "--kube-mem 1Ti is more than Docker here has: 23.5Gi");
        assert_eq!(refused(&|_, t| t.mem_bytes = 5 << 20), "--kube-mem 5Mi is below 6Mi");
        assert_eq!(
            refused(&|r, _| r.project.share_kind = ShareKind::EagerBack),
            "Docker has no share kind \"eager-back\""
        );
        for cwd in ["/", "/usr", "/usr/local/libexec", "/run", "/run/womm/x", "/etc", "/proc/1", "/lib"] {
            assert!(refused(&|r, _| r.project.cwd = cwd.into()).contains("can't be shared"), "{cwd}");
        }
        for cwd in ["/usr/src/p", "/root", "/home", "/tmp", "/mnt/a:b"] {
            assert!(check_bind(cwd).is_ok(), "{cwd}");
        }
    }

    #[test]
    fn bytes_as_quantities() {
        assert_eq!(quantity(512 << 20), "512Mi");
        assert_eq!(quantity(3 << 30), "3Gi");
        assert_eq!(quantity(1000), "1000");
        assert_eq!(quantity(0), "0");
        assert_eq!(about((47 << 30) / 2), "23.5Gi");
    }

    #[test]
    fn image_references_that_could_be_a_path_are_refused() {
        for good in ["ubuntu:22.04", "docker.io/r/womm-image-q", "localhost:5000/a@sha256:00", "sha256:ab"] {
            assert!(is_reference(good), "{good}");
        }
        for bad in ["", "a b", "a?b", "../x", "a/../b", "/a", "a//b", "ü"] {
            assert!(!is_reference(bad), "{bad}");
        }
    }
}
