//! A cluster of kind. Its node image can't be had here, so a node is what matters of one: a container with kind's label in
//! which a containerd runs, the workstation's own.

use crate::picture::shared;
use harness::image::Labelled;
use harness::{LONG, Project, image, tool, until};
use std::fs;
use std::process::{Command, Stdio};

/// A container, removed when this is dropped.
struct Node(String);

impl Node {
    #[track_caller]
    fn new(cluster: &str, number: u32) -> Self {
        let name = format!("womm-test-{cluster}-node{number}");
        let label = format!("io.x-k8s.kind.cluster={cluster}");
        let node = Self(name.clone()); // whatever becomes of it
        let mut words = vec!["run", "--detach", "--network", "none", "--name", &name, "--label", &label];
        // To mount what it unpacks. A machine that is a container itself may have no more to give.
        words.extend(["--cap-add", "SYS_ADMIN"]);
        words.extend(["--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"]);
        words.extend(["--label", "io.x-k8s.kind.role=worker", "--volume", "/usr:/usr:ro"]);
        // overlayfs can't be on the overlay that the container itself is on.
        words.extend(["--tmpfs", "/var/lib/containerd:exec", "--tmpfs", "/run"]);
        let base = image::base();
        words.extend([base.as_str(), "containerd"]);
        tool("docker", words);
        until(LONG, "containerd in the node", || node.ctr(&["version"]));
        node
    }

    /// One whose ctr is a script.
    #[track_caller]
    fn with_ctr(cluster: &str, script: &str) -> Self {
        let name = format!("womm-test-{cluster}-node1");
        let label = format!("io.x-k8s.kind.cluster={cluster}");
        let node = Self(name.clone()); // whatever becomes of it
        let mut words = vec!["run", "--detach", "--network", "none", "--name", &name, "--label", &label];
        let base = image::base();
        let line = "printf '%s\\n' \"$1\" >/usr/local/bin/ctr; chmod +x /usr/local/bin/ctr; exec sleep 1000";
        words.extend([base.as_str(), "sh", "-c", line, "sh", script]);
        tool("docker", words);
        until(LONG, "ctr in the node", || {
            let command = ["exec", &name, "test", "-x", "/usr/local/bin/ctr"];
            let status = Command::new("docker").args(command).stdin(Stdio::null()).status().unwrap();
            status.success().then_some(())
        });
        node
    }

    /// What ctr says; none if it fails.
    fn ctr(&self, words: &[&str]) -> Option<String> {
        let command = ["exec", &self.0, "ctr", "--namespace=k8s.io"];
        let output = Command::new("docker").args(command).args(words).stdin(Stdio::null()).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let mut command = Command::new("docker");
        let _ = command.args(["rm", "--force", "--volumes", &self.0]).stdin(Stdio::null()).output(); // it may be gone
    }
}

/// A kubeconfig whose context is the cluster's; nobody answers there.
fn kubeconfig(project: &Project, cluster: &str) -> std::path::PathBuf {
    let path = project.home().join("kind.conf");
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: kind-{cluster}, \
         clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1'}}}}], users: [{{name: u, user: {{token: t}}}}], \
         contexts: [{{name: kind-{cluster}, context: {{cluster: c, user: u}}}}]}}"
    );
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_image_is_loaded_into_each_node() {
    assert!(!shared().is_empty());
    let project = Project::without_engine();
    let cluster = format!("womm{}", std::process::id());
    let kubeconfig = kubeconfig(&project, &cluster);
    let cmd = |words: &str| project.cmd("womm-image").words(words).env("KUBECONFIG", &kubeconfig);
    // Without a node it is no place for an image.
    let base = Labelled::new(&project);
    let setup = cmd("setup --yes --engine kube --share none --base").arg(base.name());
    setup.clone().run().refuses(3, &[&cluster, "no running node", "--prefix"]);
    base.nothing_was_made();
    let nodes = [Node::new(&cluster, 1), Node::new(&cluster, 2)];
    let out = setup.run();
    out.succeeds();
    let name = project.womm_file()["image"].as_str().unwrap().to_owned();
    assert!(name.starts_with("womm-image-") && name.ends_with(":loaded"), "{name}");
    base.only_was_made(&name);
    for node in &nodes {
        out.holds("each node is named", out.stderr.contains(&format!("{}: Loaded, ", node.0)));
        let list = node.ctr(&["images", "list", "--quiet"]).unwrap();
        assert!(list.lines().any(|line| line == format!("docker.io/library/{name}")), "{list}");
        let unpacked = node.ctr(&["snapshots", "list"]).unwrap();
        assert!(unpacked.lines().count() > 1, "it is ready to run: {unpacked}");
    }
    let found = crate::doctor::findings(cmd("doctor --json"));
    let registry = crate::doctor::of(&found, "registry");
    assert!(registry["state"] == "ok" && registry["detail"].as_str().unwrap().contains(&nodes[1].0), "{registry}");
    tool("docker", ["image", "rm", "--force", &name]);
    base.nothing_was_made();
}

/// What it started may live on, with its output open: nothing comes of that but the end of the load.
#[test]
fn the_load_ends_with_ctr() {
    let project = Project::without_engine();
    let cluster = format!("wommend{}", std::process::id());
    let kubeconfig = kubeconfig(&project, &cluster);
    let words = "setup --yes --engine kube --share none --base";
    let base = Labelled::new(&project);
    let setup = project.cmd("womm-image").words(words).arg(base.name()).env("KUBECONFIG", &kubeconfig);
    let node = Node::with_ctr(&cluster, "#!/bin/sh\ncat >/dev/null\nsleep 1000 &\necho no room >&2\nexit 3");
    let out = setup.clone().run();
    out.exits(3);
    let last = out.stderr.lines().last().unwrap_or_default();
    out.holds(
        "why, last",
        last.starts_with("womm-image: ") && [&node.0, "no room"].iter().all(|word| last.contains(*word)),
    );
    base.nothing_was_made();
    drop(node);
    let _node = Node::with_ctr(&cluster, "#!/bin/sh\ncat >/dev/null\nsleep 1000 &");
    setup.run().succeeds();
    base.only_was_made(project.womm_file()["image"].as_str().unwrap());
}
