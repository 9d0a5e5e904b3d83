//! `womm doctor` where pods are containers of this machine. What it says of a cluster is in tests/e2e-kube/doctor.rs.

use crate::stub::Stub;
use harness::image::Labelled;
use harness::registry::Config;
use harness::{Cmd, Engine, Project, Proxy, Registry, image, screen, tool};
use serde_json::{Value, json};
use std::fs;

/// The findings of a `doctor --json`, whose exit status has to agree with them.
#[track_caller]
pub fn findings(cmd: Cmd) -> Vec<Value> {
    let out = cmd.run();
    let json = out.json();
    assert_eq!(json["kind"], "womm/doctor");
    let all = json["findings"].as_array().unwrap().clone();
    let wrong = all.iter().filter(|finding| finding["state"] == "wrong").count();
    out.exits(i32::from(wrong > 0));
    for finding in &all {
        let state = finding["state"].as_str().unwrap();
        out.holds("a state is one of three", ["ok", "wrong", "unknown"].contains(&state));
        out.holds("each says something", !finding["detail"].as_str().unwrap().is_empty());
        let has_remedy = finding["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty());
        out.holds(&format!("what is wrong has a remedy: {finding}"), has_remedy || state != "wrong");
    }
    all
}

/// The one of this name.
#[track_caller]
pub fn of<'a>(findings: &'a [Value], check: &str) -> &'a Value {
    let found = findings.iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("no finding \"{check}\" in {findings:#?}"))
}

#[track_caller]
fn is_wrong(findings: &[Value], check: &str, words: &[&str]) {
    let found = of(findings, check);
    assert_eq!(found["state"], "wrong", "{found}");
    for word in words {
        assert!(found.to_string().contains(word), "{word} is in {found}");
    }
}

/// Compares a table with the file of that name, whatever its columns' widths.
#[track_caller]
fn shows(project: &Project, name: &str, table: &str) {
    let root = tool("docker", ["info", "--format", "{{.DockerRootDir}}"]);
    let folder = project.folder();
    let names = [(folder.to_str().unwrap(), "/home/audrey/supercool"), (root.trim(), "/var/lib/docker")];
    let text = screen::measured(&screen::text(project, &names, table));
    let row = |line: &str| line.split('|').map(str::trim).collect::<Vec<_>>().join(" | ").trim_end().to_owned() + "\n";
    let rows: String = text.lines().filter(|line| !line.starts_with('-')).map(row).collect();
    screen::is(&format!("push/screens/{name}"), &rows);
}

#[test]
fn all_is_well() {
    let project = Engine::Docker.project();
    let out = project.womm().arg("doctor").run();
    out.succeeds().holds("stderr is empty", out.stderr.is_empty());
    for words in ["CHECK", "STATE", "DETAIL", "REMEDY", "GNU parallel", "docker's disk", ".womm", "API 1."] {
        out.holds(&format!("the table has {words:?}"), out.text().contains(words));
    }
    shows(&project, "doctor.txt", out.text());
    let all = findings(project.womm().args(["doctor", "--json", "--base", &image::base()]));
    for check in [".womm", "GNU parallel", "docker", "docker's disk", "image", "base image"] {
        assert_eq!(of(&all, check)["state"], "ok", "{all:#?}");
    }
    assert_eq!(of(&all, "cluster")["state"], "unknown");
    project.configure("image", "no-such-image-here:7");
    is_wrong(&findings(project.womm().words("doctor --json")), "image", &["no-such-image-here:7", "womm setup"]);
}

#[test]
fn what_is_wrong_is_named_with_its_remedy() {
    let project = Project::without_engine();
    project.write(".womm", "{");
    let empty = project.tool("parallel", "#!/bin/sh\necho parallel from moreutils\n");
    let path = format!("{}:{}", empty.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let doctor = || project.cmd(harness::project::programs().join("womm-image")).words("doctor --json --engine docker");
    let all = findings(doctor().env("PATH", &path).env("DOCKER_HOST", "unix:///nowhere.sock"));
    is_wrong(&all, ".womm", &["JSON", "womm setup"]);
    is_wrong(&all, "GNU parallel", &["not GNU", "install"]);
    is_wrong(&all, "docker", &["/nowhere.sock", "remedy"]);
    fs::remove_file(&empty).unwrap();
    project.tool("parallel", "#!/bin/sh\necho GNU parallel 20161222\n");
    is_wrong(&findings(doctor().env("PATH", &path)), "GNU parallel", &["20161222", "20221122"]);
    let all = findings(doctor().env("PATH", "/nowhere").args(["--base", "localhost:1/no-such-image:7"]));
    is_wrong(&all, "GNU parallel", &["run parallel"]);
    is_wrong(&all, "base image", &["localhost:1/no-such-image:7"]);
    doctor().arg("--base").arg("A:b").run().refuses(2, &["A:b"]);
    doctor().words("--engine podman").run().exits(2);
}

/// Every check has an end of its own.
#[test]
fn a_docker_that_says_nothing() {
    let project = Project::without_engine();
    let server = crate::picture::shared().strip_prefix("unix://").expect("a path").into();
    let proxy = Proxy::unix(project.root().join("docker.sock"), server);
    proxy.hold();
    let doctor = project.womm().words("doctor --json --engine docker");
    let all = findings(doctor.env("DOCKER_HOST", format!("unix://{}", proxy.address())));
    is_wrong(&all, "docker", &["no answer within 10 s"]);
}

#[test]
fn a_kubeconfig_that_is_not_there() {
    let project = Project::without_engine();
    let all = findings(project.womm().words("doctor --json --engine kube").env("KUBECONFIG", "/nowhere"));
    is_wrong(&all, "cluster", &["/nowhere", "womm setup --engine docker"]);
    assert_eq!(of(&all, "registry")["state"], "unknown");
}

/// Both by doctor and by setup, which makes nothing there.
#[test]
fn a_docker_that_is_too_old() {
    let project = Project::without_engine();
    let stub = Stub::unix(&project.root().join("docker.sock"), |path| match path.rsplit('/').next() {
        Some("version") => Some(json!({"Version": "19.03.15", "ApiVersion": "1.40", "MinAPIVersion": "1.12"})),
        Some("_ping") => Some(json!("OK")),
        Some("info") => Some(json!({"DockerRootDir": "/"})),
        _ => None,
    });
    let words = ["Docker 19.03.15, API 1.40 is too old", "1.41", "install Docker 20.10 or newer"];
    let doctor = project.womm().words("doctor --json --engine docker").env("DOCKER_HOST", stub.url());
    is_wrong(&findings(doctor), "docker", &words);
    let setup = project.womm().words("setup --yes --engine docker --base debian:12").env("DOCKER_HOST", stub.url());
    setup.run().refuses(3, &words);
    assert!(!project.at(".womm").exists());
}

/// Setup looks at them before it makes anything.
#[test]
fn nodes_that_can_not_run_the_image() {
    let project = Project::without_engine();
    let registry = Registry::start(&project, &Config::default());
    let base = Labelled::new(&project);
    // As Kubernetes and Docker name them, of which the tests' machine is one.
    let other = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };
    let stub = Stub::tcp(move |path| {
        let status = json!({"nodeInfo": {"architecture": other}, "conditions": [{"type": "Ready", "status": "True"}]});
        let node = json!({"metadata": {"name": "node1"}, "status": status});
        let list = json!({"kind": "NodeList", "apiVersion": "v1", "metadata": {}, "items": [node]});
        (path == "/api/v1/nodes").then_some(list)
    });
    let kubeconfig = project.home().join("kubeconfig");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "there",
        "clusters": [{"name": "c", "cluster": {"server": stub.url()}}], "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "there", "context": {"cluster": "c", "user": "u"}}],
    });
    fs::write(&kubeconfig, text.to_string()).unwrap();
    let setup = format!("setup --yes --engine kube --prefix {}/ --base {}", registry.name, base.name());
    let setup = project.womm().words(&setup).env("KUBECONFIG", &kubeconfig);
    setup.run().refuses(3, &[&format!("the nodes are {other}"), "womm setup --base"]);
    assert!(!project.at(".womm").exists());
    base.nothing_was_made();
}
