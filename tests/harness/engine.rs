//! The engine that pods run on, as the tests see it from outside: by docker's and kubectl's own programs.

use crate::command::tool;
use crate::project::Project;
use crate::proxy::Proxy;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Where pods run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The local Docker engine.
    Docker,
    /// The cluster of WOMM_TEST_KUBECONFIG.
    Kube,
}

/// A pod, or the container that is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    namespace: String,
}

/// An object that belongs to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    kind: String,
    name: String,
    namespace: String,
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// In a node's machine: $agent becomes the process id of the agent in the pod with this UID. The cgroup of the pod's other
/// container, which only holds its network, has other processes.
const OF_POD: &str = "
    agent=
    for p in /proc/[0-9]*; do
        if grep -q 'podUID' \"$p/cgroup\" 2>/dev/null && tr '\\0' ' ' <\"$p/cmdline\" 2>/dev/null | grep -q 'womm-agent serve $'; then
            agent=${p#/proc/}
        fi
    done
    [ -n \"$agent\" ]
";

/// A variable that a test cannot do without.
#[track_caller]
pub(crate) fn needed(name: &str, why: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: {why}"))
}

impl Engine {
    /// What WOMM_TEST_ENGINE says.
    ///
    /// # Panics
    /// If it says nothing known, or that engine does not answer.
    #[track_caller]
    pub fn under_test() -> Self {
        static CHECKED: OnceLock<Result<Engine, String>> = OnceLock::new();
        let checked = CHECKED.get_or_init(|| {
            let name = std::env::var("WOMM_TEST_ENGINE").unwrap_or_else(|_| "docker".into());
            let (engine, program, args) = match name.as_str() {
                "docker" => (Self::Docker, "docker".to_owned(), vec!["info".to_owned()]),
                "kube" => (Self::Kube, kubectl_program(), kubectl_args(&["version"])),
                other => return Err(format!("WOMM_TEST_ENGINE is \"{other}\", neither docker nor kube")),
            };
            match Command::new(&program).args(&args).stdin(Stdio::null()).output() {
                Ok(output) if output.status.success() => Ok(engine),
                Ok(output) => {
                    Err(format!("engine {name} does not answer: {}", String::from_utf8_lossy(&output.stderr)))
                }
                Err(e) => Err(format!("engine {name}: run {program}: {e}")),
            }
        });
        match checked {
            Ok(engine) => *engine,
            Err(why) => panic!("{why}"),
        }
    }

    /// A new project for this engine, with an image that setup made.
    #[track_caller]
    pub fn project(self) -> Project {
        Project::on(self)
    }

    /// As `.womm` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Kube => "kube",
        }
    }

    /// Whether jobs see the project's files.
    pub fn shares_files(self) -> bool {
        self == Self::Docker
    }

    /// A task's pods that are not on their way out.
    ///
    /// # Panics
    /// If the engine does not say.
    #[track_caller]
    pub fn pods(self, task: &str) -> Vec<Pod> {
        match self {
            Self::Docker => {
                let label = format!("label=womm.task={task}");
                let args = ["ps", "--filter", &label, "--filter", "status=running", "--format", "{{.Names}}"];
                let pod = |name: &str| Pod { name: name.into(), namespace: String::new() };
                tool("docker", args).lines().map(pod).collect()
            }
            Self::Kube => {
                let list = kube_list(&["pods", "-l", &format!("womm.task={task}")]);
                let alive = list.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
                alive.map(object).map(|o| Pod { name: o.name, namespace: o.namespace }).collect()
            }
        }
    }

    /// Removes a pod at once, as if its node had died.
    ///
    /// # Panics
    /// If the engine refuses.
    #[track_caller]
    pub fn remove_by_force(self, pod: &Pod) {
        assert!(self.is_removed_by_force(pod), "{} was gone already", pod.name);
    }

    /// The same of a pod that may have gone by itself: whether it was still there.
    ///
    /// # Panics
    /// If the engine refuses for another reason.
    #[track_caller]
    pub fn is_removed_by_force(self, pod: &Pod) -> bool {
        match self {
            Self::Docker => {
                let out = Command::new("docker").args(["rm", "--force", &pod.name]).output().expect("can be run");
                let why = String::from_utf8_lossy(&out.stderr);
                let gone = ["No such container", "already in progress"].iter().any(|word| why.contains(word));
                assert!(out.status.success() || gone, "docker rm --force {}: {why}", pod.name);
                !gone
            }
            Self::Kube => {
                let namespace = pod.namespace.as_str();
                let args =
                    ["delete", "pod", &pod.name, "-n", namespace, "--force", "--grace-period=0", "--ignore-not-found"];
                !Self::kubectl(&args).is_empty()
            }
        }
    }

    /// Removes a pod as a user does: it is told to end, and given the grace that it has.
    ///
    /// # Panics
    /// If the engine refuses.
    #[track_caller]
    pub fn remove(self, pod: &Pod) {
        match self {
            Self::Docker => _ = tool("docker", ["stop", &pod.name]),
            Self::Kube => _ = Self::kubectl(&["delete", "pod", &pod.name, "-n", &pod.namespace, "--wait=false"]),
        }
    }

    /// SIGKILL to a pod's agent, process 1 of its container.
    ///
    /// # Panics
    /// If it can't be had.
    #[track_caller]
    pub fn kill_agent(self, pod: &Pod) {
        match self {
            Self::Docker => _ = tool("docker", ["kill", &pod.name]),
            Self::Kube => {
                let script = format!("{OF_POD}kill -KILL \"$agent\"").replace("UID", &self.uid(pod));
                crate::machines::inside(&self.node(pod), &script);
            }
        }
    }

    /// Stops all processes of a pod, which none of them hears of: for everybody else the pod is silent.
    ///
    /// # Panics
    /// If they can't be stopped.
    #[track_caller]
    pub fn freeze(self, pod: &Pod) {
        match self {
            Self::Docker => _ = tool("docker", ["pause", &pod.name]),
            Self::Kube => self.freezer(pod, "FROZEN", 1),
        }
    }

    /// Lets them go on.
    ///
    /// # Panics
    /// If they can't.
    #[track_caller]
    pub fn thaw(self, pod: &Pod) {
        match self {
            Self::Docker => _ = tool("docker", ["unpause", &pod.name]),
            Self::Kube => self.freezer(pod, "THAWED", 0),
        }
    }

    #[track_caller]
    fn freezer(self, pod: &Pod, v1: &str, v2: u8) {
        let script = "
            v1=$(sed -n 's/^[0-9]*:freezer://p' \"/proc/$agent/cgroup\")
            if [ -n \"$v1\" ]; then echo STATE1 >\"/sys/fs/cgroup/freezer$v1/freezer.state\"
            else echo STATE2 >\"/sys/fs/cgroup$(sed -n 's/^0:://p' \"/proc/$agent/cgroup\")/cgroup.freeze\"
            fi";
        let script = format!("{OF_POD}{script}").replace("UID", &self.uid(pod));
        let script = script.replace("STATE1", v1).replace("STATE2", &v2.to_string());
        crate::machines::inside(&self.node(pod), &script);
    }

    /// The node that a pod is on; on docker there is none.
    ///
    /// # Panics
    /// If there is no such pod.
    #[track_caller]
    pub fn node(self, pod: &Pod) -> String {
        self.field(pod, "{.spec.nodeName}")
    }

    #[track_caller]
    fn uid(self, pod: &Pod) -> String {
        self.field(pod, "{.metadata.uid}")
    }

    #[track_caller]
    fn field(self, pod: &Pod, path: &str) -> String {
        assert_eq!(self, Self::Kube, "{path} is a pod's of a cluster");
        Self::kubectl(&["get", "pod", &pod.name, "-n", &pod.namespace, "-o", &format!("jsonpath={path}")])
    }

    /// kubectl, as the cluster's admin; its stdout.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn kubectl(args: &[&str]) -> String {
        tool(&kubectl_program(), kubectl_args(args))
    }

    /// The same for a question that may be refused.
    pub fn try_kubectl(args: &[&str]) -> Option<String> {
        let output = kubectl_command(args).stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Everything that a task has, on its way out or not.
    ///
    /// # Panics
    /// If the engine does not say.
    #[track_caller]
    pub fn of_task(self, task: &str) -> Vec<Object> {
        let label = format!("womm.task={task}");
        match self {
            Self::Docker => {
                let containers = containers(&format!("label={label}"), "{{.Names}}");
                containers.into_iter().map(|name| container(&name)).collect()
            }
            Self::Kube => {
                kube_list(&["deployments,replicasets,pods,leases", "-l", &label]).iter().map(object).collect()
            }
        }
    }

    /// The environment of programs that reach the engine through a proxy only, and the proxy.
    ///
    /// # Panics
    /// If it can't be made.
    #[track_caller]
    pub fn through_proxy(self, folder: &Path) -> (Proxy, (&'static str, String)) {
        match self {
            Self::Docker => {
                let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".into());
                let server = host.strip_prefix("unix://").expect("the local Docker engine has a path").into();
                let proxy = Proxy::unix(folder.join("docker.sock"), server);
                let address = format!("unix://{}", proxy.address());
                (proxy, ("DOCKER_HOST", address))
            }
            Self::Kube => {
                let text = std::fs::read_to_string(kubeconfig()).expect("WOMM_TEST_KUBECONFIG is readable");
                let server = text.split_once("server: \"https://").and_then(|(_, rest)| rest.split_once('"'));
                let server = server.expect("one of tests/cluster, which has a server").0;
                let proxy = Proxy::tcp(server.parse().expect("an address and a port"));
                let path = folder.join("proxied.conf");
                std::fs::write(&path, text.replace(server, &proxy.address())).expect("it is ours");
                (proxy, ("KUBECONFIG", path.display().to_string()))
            }
        }
    }

    /// Runs a script in a pod, beside its jobs; its stdout if it succeeds.
    pub fn inside(self, pod: &Pod, script: &str) -> Option<String> {
        let mut command = match self {
            Self::Docker => {
                let mut command = Command::new("docker");
                command.args(["exec", &pod.name, "sh", "-c", script]);
                command
            }
            Self::Kube => kubectl_command(&["exec", "-n", &pod.namespace, &pod.name, "--", "sh", "-c", script]),
        };
        let output = command.stdin(Stdio::null()).output().expect("docker and kubectl can be run");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The task's pods in which a script succeeds.
    #[track_caller]
    pub fn pods_where(self, task: &str, script: &str) -> Vec<Pod> {
        self.pods(task).into_iter().filter(|pod| self.inside(pod, script).is_some()).collect()
    }

    /// Everything that belongs to tasks that were started below a folder, on its way out or not.
    ///
    /// # Panics
    /// If the engine does not say.
    #[track_caller]
    pub fn left(self, root: &Path) -> Vec<Object> {
        let root = root.to_str().expect("made of UTF-8 by the harness");
        match self {
            Self::Docker => {
                let format = "{{.Names}}\t{{.Label \"womm.run\"}}\t{{.Label \"womm.pwd\"}}";
                let ours = |line: &String| line.split('\t').skip(1).any(|folder| folder.starts_with(root));
                let containers = containers("label=womm.task", format);
                let names = containers.iter().filter(|line| ours(line)).filter_map(|line| line.split('\t').next());
                names.map(container).collect()
            }
            Self::Kube => {
                let kinds = "deployments,replicasets,pods,leases,configmaps,secrets";
                let list = kube_list(&[kinds, "-l", "womm.task"]);
                let ours = |o: &&Value| {
                    o["metadata"]["annotations"]["womm.pwd"].as_str().is_some_and(|pwd| pwd.starts_with(root))
                };
                list.iter().filter(ours).map(object).collect()
            }
        }
    }

    /// Removes what is left, after a test that failed.
    pub fn clear(self, objects: &[Object]) {
        for o in objects {
            let mut command = match self {
                Self::Docker => {
                    let mut command = Command::new("docker");
                    command.args(["rm", "--force", &o.name]);
                    command
                }
                Self::Kube => {
                    let args = ["delete", &o.kind, &o.name, "-n", &o.namespace, "--ignore-not-found", "--wait=false"];
                    kubectl_command(&args)
                }
            };
            let _ = command.stdin(Stdio::null()).output(); // the test has failed already
        }
    }

    /// A name by which pods can be made of an image of the local Docker engine.
    ///
    /// # Panics
    /// If it can't be pushed.
    #[track_caller]
    pub fn reachable(self, image: &str) -> String {
        match self {
            Self::Docker => image.to_owned(),
            Self::Kube => {
                let name = format!("{}/{image}", registry());
                crate::after::image(&name); // here; the registry keeps it
                tool("docker", ["tag", image, &name]);
                tool("docker", ["push", "--quiet", &name]);
                name
            }
        }
    }
}

/// Where images for the cluster are.
#[track_caller]
pub(crate) fn registry() -> String {
    needed("WOMM_TEST_REGISTRY", "tests on kube push their images there")
}

/// The cluster's kubeconfig.
#[track_caller]
pub(crate) fn kubeconfig() -> String {
    needed("WOMM_TEST_KUBECONFIG", "tests on kube run on that cluster")
}

/// Which kubectl.
pub fn kubectl_program() -> String {
    std::env::var("WOMM_TEST_KUBECTL").unwrap_or_else(|_| "kubectl".into())
}

/// What `docker ps --all` has of the containers with this label, a line each; but for those of which it has only the ID left: after
/// a restart, Docker 20.10 may list some that it has removed, until the next.
fn containers(label: &str, format: &str) -> Vec<String> {
    let format = format!("{{{{.ID}}}} {{{{.Names}}}} {format}");
    let text = tool("docker", ["ps", "--all", "--no-trunc", "--filter", label, "--format", &format]);
    let is_known = |id: &str| {
        let mut inspect = Command::new("docker");
        let output = inspect.args(["container", "inspect", id]).stdin(Stdio::null()).output().expect("docker runs");
        output.status.success()
    };
    let listed = text.lines().filter_map(|line| {
        let [id, name, rest] = line.splitn(3, ' ').collect::<Vec<_>>().try_into().ok()?;
        Some((id, name, rest))
    });
    listed.filter(|(id, name, _)| !name.is_empty() || is_known(id)).map(|(_, _, rest)| rest.to_owned()).collect()
}

fn container(name: &str) -> Object {
    Object { kind: "container".into(), name: name.into(), namespace: String::new() }
}

fn kubectl_args(args: &[&str]) -> Vec<String> {
    ["--kubeconfig".to_owned(), kubeconfig()].into_iter().chain(args.iter().map(|a| a.to_string())).collect()
}

/// kubectl as the cluster's admin, not started yet.
pub fn kubectl_command(args: &[&str]) -> Command {
    let mut command = Command::new(kubectl_program());
    command.args(kubectl_args(args));
    command
}

#[track_caller]
fn kube_list(what: &[&str]) -> Vec<Value> {
    let args: Vec<&str> = ["get"].into_iter().chain(what.iter().copied()).chain(["-A", "-o", "json"]).collect();
    let text = Engine::kubectl(&args);
    let value: Value = serde_json::from_str(&text).expect("kubectl writes JSON when told to");
    value["items"].as_array().cloned().unwrap_or_default()
}

fn object(value: &Value) -> Object {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Object {
        kind: text(&value["kind"]),
        name: text(&value["metadata"]["name"]),
        namespace: text(&value["metadata"]["namespace"]),
    }
}
