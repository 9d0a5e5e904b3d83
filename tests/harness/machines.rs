//! The machines of the cluster under test, which only a cluster of tests/cluster lets a test break: WOMM_TEST_CLUSTER is
//! that program, for the instance of WOMM_CLUSTER_INSTANCE.

use crate::command::tool;
use crate::engine::{Engine, needed};
use crate::wait::{LONG, until};

/// Something of the cluster that is broken, until this is dropped or mended.
#[derive(Debug)]
pub struct Broken {
    remedy: Vec<String>,
    mended: bool,
}

#[track_caller]
fn cluster(words: &[&str]) -> String {
    let program = needed("WOMM_TEST_CLUSTER", "only the machines of tests/cluster can be broken; tests/run sets it");
    tool(&program, words)
}

/// SIGKILL to a daemon of a machine: `control`'s `apiserver`, `node1`'s `kubelet` or `containerd`.
#[track_caller]
pub fn kill(machine: &str, daemon: &str) -> Broken {
    cluster(&["kill", machine, daemon]);
    Broken::by(&["start", machine, daemon])
}

/// Pulls a machine's plug.
#[track_caller]
pub fn unplug(machine: &str) -> Broken {
    let broken = Broken::by(&["start", machine]);
    cluster(&["kill", machine]);
    broken
}

/// Takes a machine off the network.
#[track_caller]
pub fn cut(machine: &str) -> Broken {
    cluster(&["cut", machine]);
    Broken::by(&["heal", machine])
}

/// Runs a script inside a machine, as root; its stdout.
#[track_caller]
pub(crate) fn inside(machine: &str, script: &str) -> String {
    cluster(&["exec", machine, "sh", "-euc", script])
}

/// The nodes that are there, and whether each is Ready; none while the API server does not answer.
pub fn nodes() -> Vec<(String, bool)> {
    let ready = r#"{range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#;
    let text = Engine::try_kubectl(&["get", "nodes", "-o", &format!("jsonpath={ready}")]).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once(' ')).map(|(name, is)| (name.to_owned(), is == "True")).collect()
}

impl Broken {
    fn by(remedy: &[&str]) -> Self {
        Self { remedy: remedy.iter().map(|word| word.to_string()).collect(), mended: false }
    }

    /// Puts it right again.
    ///
    /// # Panics
    /// If the cluster can't.
    #[track_caller]
    pub fn mend(mut self) {
        self.mended = true;
        cluster(&self.remedy.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        // The next test must find a cluster that works, whatever became of this one.
        let mended = std::panic::catch_unwind(|| {
            if !self.mended {
                cluster(&self.remedy.iter().map(String::as_str).collect::<Vec<_>>());
            }
        });
        if let Err(panic) = mended
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Waits until the cluster is as a test wants to find it: all nodes Ready, the taints of those that were not gone.
#[track_caller]
pub fn well() {
    let taints = || Engine::try_kubectl(&["get", "nodes", "-o", "jsonpath={.items[*].spec.taints[*].key}"]);
    until(LONG, "a cluster whose nodes are all Ready", || {
        let nodes = nodes();
        let ready = !nodes.is_empty() && nodes.iter().all(|(_, ready)| *ready);
        (ready && taints().is_some_and(|taints| taints.is_empty())).then_some(())
    });
}
