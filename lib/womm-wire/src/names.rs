//! Names that two programs share: labels, environment variables, files. One writes, another reads.

/// The version of WOMM, in labels, images and handshakes.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of the handshake and the frames; an agent of another one is refused with a remedy.
pub const PROTOCOL: u32 = 2;

/// Label of everything that belongs to a task; its value is the task's id.
pub const LABEL_TASK: &str = "womm.task";
/// Label: who started the task, as the workstation names its user.
pub const LABEL_USER: &str = "womm.user";
/// Label of pods: which program made them.
pub const LABEL_MANAGED: &str = "app.kubernetes.io/managed-by";
/// The value of [`LABEL_MANAGED`].
pub const MANAGED_BY: &str = "womm";

/// Annotation (a label on Docker, which has no annotations): the workstation's name.
pub const NOTE_HOST: &str = "womm.host";
/// Annotation: the folder in which the user stood.
pub const NOTE_PWD: &str = "womm.pwd";
/// Annotation: the command, as a shell would take it; for people.
pub const NOTE_COMMAND: &str = "womm.command";
/// Annotation: when the task was made, RFC 3339.
pub const NOTE_CREATED: &str = "womm.created";
/// Annotation: the version of WOMM that made it.
pub const NOTE_VERSION: &str = "womm.version";
/// Docker only: the run folder, whose lock says whether the task has an owner.
pub const NOTE_RUN: &str = "womm.run";

/// Label of an image: the version of the agent that was baked in. Absent: `womm setup` never saw the image.
pub const IMAGE_LABEL_AGENT: &str = "womm.agent";
/// Label of an image: uid:gid of the user whom setup wrote into it.
pub const IMAGE_LABEL_USER: &str = "womm.uid";

/// Where setup bakes the agent into an image, and where the Docker engine puts it in containers of other images.
pub const AGENT_BAKED: &str = "/usr/local/libexec/womm-agent";
/// A folder of every pod for WOMM alone (tmpfs or emptyDir), mode 0700 or owned by the pod.
pub const POD_DIR: &str = "/run/womm";
/// Where an init container puts the agent in pods of images that setup never saw.
pub const AGENT_COPIED: &str = "/run/womm/womm-agent";
/// The agent's socket, in the pod.
pub const AGENT_SOCKET: &str = "/run/womm/agent.sock";

/// While `womm setup` has its shell: a tmpfs in that container, in a folder that is no part of any image.
pub const SETUP_DIR: &str = "/dev/womm";
/// In it: what is found before the image's own programs, `sudo` for one.
pub const SETUP_BIN: &str = "/dev/womm/bin";
/// In it: the socket at which root's process of the container takes `sudo`.
pub const SETUP_SUDO: &str = "/dev/womm/sudo.sock";
/// In it: what the setup shell reads when it starts, bash and the others.
pub const SETUP_BASHRC: &str = "/dev/womm/bashrc";
/// See [`SETUP_BASHRC`].
pub const SETUP_SHRC: &str = "/dev/womm/shrc";
/// In it: the setup shell's history, which is not for the image.
pub const SETUP_HISTORY: &str = "/dev/womm/history";
/// In the container itself, so that it is there again when a stopped one goes on, and away while an image is made of it.
pub const SETUP_KEPT: &str = "/.womm-setup";

/// Agent: the cwd of jobs whose own is not given, and the folder that is shared.
pub const ENV_CWD: &str = "WOMM_CWD";
/// Agent: make a job's cwd if it is missing (share "none").
pub const ENV_MAKE_CWD: &str = "WOMM_MAKE_CWD";
/// Agent: the user's name, home and uid:gid of the workstation.
pub const ENV_USER: &str = "WOMM_USER";
/// Agent: HOME of jobs.
pub const ENV_HOME: &str = "WOMM_HOME";
/// Agent: TMPDIR of jobs.
pub const ENV_TMPDIR: &str = "WOMM_TMPDIR";
/// Agent: seconds without any connection after which the agent ends, and the pod with it; 0: never.
pub const ENV_ORPHAN_S: &str = "WOMM_ORPHAN_S";
/// Agent: what jobs see as HOSTNAME.
pub const ENV_HOSTNAME: &str = "WOMM_HOSTNAME";
/// Every variable of the agent's own begins so, and is not passed on to jobs.
pub const ENV_PREFIX: &str = "WOMM_";

/// The run folder, on the workstation; set for GNU parallel and so for `womm-ssh`.
pub const ENV_RUN: &str = "WOMM_RUN";

/// In the run folder: the socket that `womm-ssh` talks to.
pub const RUN_SOCKET: &str = "ssh.sock";
/// In the run folder: lost jobs, a JSON line each.
pub const RUN_LOST: &str = "lost.jsonl";
/// In the run folder: locked (flock, shared) by each living helper of the run.
pub const RUN_LOCK: &str = "lock";
/// In the run folder: the folder where the user stood, raw bytes; how `womm ssh` finds "this folder's task".
pub const RUN_PWD: &str = "pwd";
/// In the run folder: the task's id.
pub const RUN_ID: &str = "id";
/// In the run folder: it exists once a job was sent to a pod.
pub const RUN_STARTED: &str = "started";
/// In the run folder: the process id of the supervisor of GNU parallel.
pub const RUN_SUPERVISOR: &str = "supervisor.pid";
/// In the run folder: the record with the task section.
pub const RUN_TASK: &str = "task";
/// In the run folder: why no pod can come. It exists only then.
pub const RUN_FAILED: &str = "failed";

/// `womm-task-ID`: the name of the Deployment and Lease, and how pods' names begin.
pub fn task_name(id: &str) -> String {
    format!("womm-task-{id}")
}
