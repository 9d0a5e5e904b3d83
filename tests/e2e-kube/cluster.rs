//! The cluster as its admin sees it, and what the tests here ask of a run.

use harness::{Cmd, Engine, Outcome, Project, Running, SOON, until};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// `womm parallel`: GNU parallel never started.
pub const NEVER_STARTED: i32 = 125;
/// What can't work is said within.
pub const SAID: Duration = Duration::from_secs(15);
/// A cluster that does not answer, or refuses us, has been waited for this long at most.
pub const QUICK: Duration = Duration::from_secs(30);
/// A job on a pod that is up, or is to be made.
const JOB: Duration = Duration::from_secs(60);
/// So little that many pods fit beside each other.
pub const LITTLE: &str = "--kube-cpu 0.1 --kube-mem 64Mi";

#[track_caller]
fn needed(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: see tests/e2e-kube/main.rs"))
}

/// The engine, once it is sure that it is the cluster.
#[track_caller]
pub fn engine() -> Engine {
    for name in ["WOMM_BIN", "WOMM_TEST_BASE", "WOMM_TEST_KUBECONFIG", "WOMM_TEST_REGISTRY"] {
        needed(name);
    }
    let engine = Engine::under_test();
    assert_eq!(engine, Engine::Kube, "these tests want WOMM_TEST_ENGINE=kube");
    engine
}

/// A project with an image that setup made.
#[track_caller]
pub fn project() -> Project {
    engine().project()
}

/// A kubeconfig beside the admin's: `team.conf`.
#[track_caller]
pub fn beside(name: &str) -> PathBuf {
    let path = Path::new(&needed("WOMM_TEST_KUBECONFIG")).with_file_name(name);
    assert!(path.is_file(), "{} is not there: tests/cluster makes it", path.display());
    path
}

/// The folder of all that the cluster is made of: its keys, and what its nodes are configured with.
#[track_caller]
pub fn directory() -> PathBuf {
    Path::new(&needed("WOMM_TEST_KUBECONFIG")).parent().unwrap().to_owned()
}

/// The workstation, as machines and pods of the cluster reach it: its address there ends in 254.
#[track_caller]
pub fn workstation() -> IpAddr {
    let server = kubectl("config view --minify -o jsonpath={.clusters[0].cluster.server}");
    let address = server.trim_start_matches("https://").parse::<SocketAddr>();
    let Ok(SocketAddr::V4(server)) = address else { panic!("{server} is the address of a tests/cluster") };
    let [a, b, c, _] = server.ip().octets();
    [a, b, c, 254].into()
}

/// The admin's kubeconfig, to be changed.
#[track_caller]
pub fn copied(project: &Project) -> PathBuf {
    let path = project.home().join("kubeconfig");
    std::fs::copy(needed("WOMM_TEST_KUBECONFIG"), &path).unwrap();
    path
}

/// Changes something that stands in a file, once at least.
#[track_caller]
pub fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} stands in {}", path.display());
    std::fs::write(path, text.replace(from, to)).unwrap();
}

/// kubectl, as admin.
#[track_caller]
pub fn kubectl(words: &str) -> String {
    Engine::kubectl(&words.split_whitespace().collect::<Vec<_>>())
}

#[track_caller]
fn items(words: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(&kubectl(&format!("get {words} -o json"))).unwrap();
    list["items"].as_array().unwrap().clone()
}

/// Objects of a task, in all namespaces.
#[track_caller]
pub fn objects(kinds: &str, task: &str) -> Vec<Value> {
    items(&format!("{kinds} -A -l womm.task={task}"))
}

/// The one object of this kind that a task has.
#[track_caller]
pub fn object(kind: &str, task: &str) -> Value {
    let mut all = objects(kind, task);
    assert_eq!(all.len(), 1, "{kind} of task {task}");
    all.remove(0)
}

fn names(objects: &[Value]) -> Vec<String> {
    let text = |v: &Value| v.as_str().unwrap_or("?").to_owned();
    let name = |o: &Value| format!("{} {}", text(&o["kind"]), text(&o["metadata"]["name"]));
    objects.iter().map(name).collect()
}

/// Where a task's Lease, Deployment and pods are.
#[track_caller]
pub fn lives_in(task: &str, namespace: &str) {
    for kind in ["leases", "deployments", "pods"] {
        let all = objects(kind, task);
        let there = all.iter().all(|o| o["metadata"]["namespace"] == namespace);
        assert!(there && !all.is_empty(), "{kind} of task {task} are in {namespace}: {all:#?}");
    }
}

/// Asserts that a task has nothing in the cluster any more, at once.
#[track_caller]
pub fn gone(task: &str) {
    let left = names(&objects("leases,deployments,replicasets,pods", task));
    assert!(left.is_empty(), "left of task {task}: {left:?}");
}

/// Everything in the cluster that a test's runs made, pods included: those have no note of the folder, but a variable.
#[track_caller]
pub fn left(project: &Project) -> Vec<String> {
    let root = project.root().to_str().unwrap();
    let ours = |text: &Value| text.as_str().is_some_and(|text| text.starts_with(root));
    let all = items("leases,deployments,replicasets,pods -A -l womm.task");
    let made = all.into_iter().filter(|o| {
        let env = o["spec"]["containers"][0]["env"].as_array().into_iter().flatten();
        ours(&o["metadata"]["annotations"]["womm.pwd"]) || env.into_iter().any(|variable| ours(&variable["value"]))
    });
    names(&made.collect::<Vec<_>>())
}

/// Waits until all of that, and all else of a run, is gone; no longer than users are promised.
#[track_caller]
pub fn is_clean(project: &Project) {
    until(SOON, "the cluster to be as it was", || left(project).is_empty().then_some(()));
    project.is_clean();
}

/// A run that takes commands, has run one, and is where the options say; with its task.
#[track_caller]
pub fn open(cmd: Cmd) -> (Running, String) {
    let mut run = cmd.words(LITTLE).words("--line-buffer --").stdin_held().start();
    let task = run.task();
    job(&mut run, "first");
    (run, task)
}

/// Sends a job and waits for its output. GNU parallel first waits for lines of stdin as long as it has a free slot, and
/// looks after its jobs then: so it gets more of them.
#[track_caller]
pub fn job(run: &mut Running, word: &str) {
    run.send(format!("echo {word}\n"));
    let line = format!("{word}\n");
    until(JOB, format!("the job {word}"), || {
        if String::from_utf8_lossy(&run.stdout()).contains(&line) {
            return Some(());
        }
        std::thread::sleep(Duration::from_millis(200));
        run.send(":\n");
        None
    });
}

/// A run that leaves a trace in stdout.
pub fn echo(cmd: Cmd) -> Cmd {
    cmd.words(LITTLE).words("-- echo ran ::: 1")
}

/// Asserts that it is refused before anything is made: one line with these words, soon.
#[track_caller]
pub fn refused(project: &Project, cmd: Cmd, code: i32, words: &[&str]) {
    let out = cmd.deadline(QUICK).run();
    out.refuses(code, words);
    assert_eq!(left(project), Vec::<String>::new(), "nothing is left, at once");
    assert_eq!(project.left(), Vec::<String>::new(), "nothing is left, at once");
}

/// Asserts that a run ended because no pod can come: 125, and one line of womm-sshlogins with these words between
/// creation and deletion. What else is said says the same.
#[track_caller]
pub fn no_pod(out: &Outcome, words: &[&str]) {
    out.exits(NEVER_STARTED).writes("");
    let task = out.task();
    let said = out.other_stderr();
    let last: Vec<_> = said.lines().filter(|line| line.starts_with("womm-sshlogins: ")).collect();
    out.holds("it is said in one line", last.len() == 1);
    for word in words {
        out.holds(&format!("the line holds {word:?}"), last[0].contains(word));
    }
    gone(&task);
}

/// The same of a run whose Deployment is made at first; it is said no later than [`SAID`] after that.
#[track_caller]
pub fn no_pod_comes(cmd: Cmd, words: &[&str]) {
    let mut run = cmd.deadline(SAID + SAID).start();
    run.task();
    says(&mut run, words);
    no_pod(&run.finish(), words);
}

/// Waits until a running run says all of these words in one line, and no longer than [`SAID`].
#[track_caller]
pub fn says(run: &mut Running, words: &[&str]) {
    let since = Instant::now();
    run.until(&format!("a line with {words:?}"), |run| {
        run.stderr().lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
    });
    assert!(since.elapsed() <= SAID, "it took {:?} to say {words:?}", since.elapsed());
}

/// A namespace of a test's own, for as long as this lives.
pub struct Namespace(pub String);

impl Namespace {
    #[track_caller]
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("womm-{name}-{}-{number}", std::process::id());
        kubectl(&format!("create namespace {name}"));
        Self(name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let name = self.0.clone();
        // It may be dropped by a panic.
        let _ = std::panic::catch_unwind(|| kubectl(&format!("delete namespace {name} --wait=false")));
    }
}

/// Makes an object.
#[track_caller]
pub fn apply(project: &Project, object: &Value) {
    let path = project.root().join("object.json");
    std::fs::write(&path, object.to_string()).unwrap();
    Engine::kubectl(&["apply", "-f", path.to_str().unwrap()]);
}

/// A user who may do nothing at first, and a namespace for what they may do. The admin becomes them: impersonation (kubernetes.io,
/// "User impersonation").
pub struct User {
    pub namespace: Namespace,
    name: String,
    kubeconfig: PathBuf,
}

impl User {
    #[track_caller]
    pub fn new(project: &Project, name: &str) -> Self {
        let namespace = Namespace::new(name);
        let name = format!("{}-user", namespace.0);
        let kubeconfig = copied(project);
        edit(&kubeconfig, "user: {client-certificate-data", &format!("user: {{as: {name}, client-certificate-data"));
        Self { namespace, name, kubeconfig }
    }

    /// A command of theirs, in their namespace.
    pub fn runs(&self, cmd: Cmd) -> Cmd {
        cmd.env("KUBECONFIG", &self.kubeconfig).args(["--namespace", &self.namespace.0])
    }

    /// Gives them these rules of a Role, as YAML.
    #[track_caller]
    pub fn may(&self, project: &Project, rules: &[String]) {
        let path = project.root().join("role.yaml");
        let metadata = format!("metadata: {{name: some, namespace: {}}}", self.namespace.0);
        let api = "apiVersion: rbac.authorization.k8s.io/v1";
        let role = format!(
            "{api}\nkind: Role\n{metadata}\nrules: [{}]\n---\n{api}\nkind: RoleBinding\n{metadata}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: some}}\n\
             subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {}}}]\n",
            rules.join(", "),
            self.name
        );
        std::fs::write(&path, role).unwrap();
        kubectl(&format!("apply -f {}", path.display()));
    }
}
