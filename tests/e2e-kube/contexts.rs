//! Which cluster: a context that is not the current one, and kubeconfigs that change while jobs run.

use crate::cluster::{NEVER_STARTED, copied, echo, edit, engine, gone, job, kubectl, lives_in, open, project, refused};
use harness::{LONG, Project, Running, kubectl_program, tool, until};
use std::path::{Path, PathBuf};

#[test]
fn of_the_womm_file() {
    let project = project();
    project.configure("context", "womm-second");
    let (run, task) = open(project.parallel(1));
    lives_in(&task, "second");
    run.finish().succeeds().writes("first\n").quiet_task();
    gone(&task);
}

#[test]
fn of_the_command_line_before_that_of_the_womm_file() {
    let project = project();
    project.configure("context", "no-such-context");
    let (run, task) = open(project.parallel(1).words("--context womm-second"));
    lives_in(&task, "second");
    run.finish().succeeds().writes("first\n").quiet_task();
    gone(&task);
    // The namespace is another thing.
    let (run, task) = open(project.parallel(1).words("--context womm-second --namespace default"));
    lives_in(&task, "default");
    run.finish().succeeds().writes("first\n").quiet_task();
    gone(&task);
}

#[test]
fn that_does_not_exist() {
    let project = project();
    let words = ["context \"no-such-context\"", "womm, womm-second"];
    refused(&project, echo(project.parallel(1).words("--context no-such-context")), NEVER_STARTED, &words);
    project.configure("context", "no-such-context");
    refused(&project, echo(project.parallel(1)), NEVER_STARTED, &words);
}

#[test]
fn no_kubeconfig_at_all() {
    let project = project();
    let missing = project.home().join("none");
    let cmd = echo(project.parallel(1)).env("KUBECONFIG", &missing);
    refused(&project, cmd, NEVER_STARTED, &[missing.to_str().unwrap(), "--engine docker"]);
    let broken = project.home().join("broken");
    std::fs::write(&broken, "clusters: {{{\n").unwrap();
    let cmd = echo(project.parallel(1)).env("KUBECONFIG", &broken);
    refused(&project, cmd, 2, &[broken.to_str().unwrap()]);
}

/// A run by a kubeconfig of its own.
fn begun(project: &Project) -> (Running, String, PathBuf) {
    let kubeconfig = copied(project);
    let (run, task) = open(project.parallel(2).env("KUBECONFIG", &kubeconfig));
    lives_in(&task, "default");
    (run, task, kubeconfig)
}

/// A pod goes and another comes, so the cluster is asked for things; jobs run in it.
fn goes_on(run: &mut Running, task: &str) {
    let before = engine().pods(task);
    engine().remove_by_force(&before[0]);
    job(run, "second");
    until(LONG, "a pod in the place of the removed one", || {
        let now = engine().pods(task);
        (now.len() == 2 && !now.contains(&before[0])).then_some(())
    });
    job(run, "third");
    lives_in(task, "default");
}

fn ends(run: Running, task: &str) {
    let out = run.finish();
    out.succeeds().writes("first\nsecond\nthird\n").task();
    gone(task);
}

#[test]
fn another_is_selected_while_jobs_run() {
    let project = project();
    let (mut run, task, kubeconfig) = begun(&project);
    tool(&kubectl_program(), ["--kubeconfig", kubeconfig.to_str().unwrap(), "config", "use-context", "womm-second"]);
    goes_on(&mut run, &task);
    ends(run, &task);
}

#[test]
fn another_namespace_is_set_while_jobs_run() {
    let project = project();
    let (mut run, task, kubeconfig) = begun(&project);
    let set = ["config", "set-context", "womm", "--namespace", "second"];
    tool(&kubectl_program(), ["--kubeconfig", kubeconfig.to_str().unwrap()].iter().chain(&set));
    goes_on(&mut run, &task);
    ends(run, &task);
}

/// The kubeconfig becomes useless: what was begun by it is ended all the same.
fn spoiled(spoil: impl FnOnce(&Path)) {
    let project = project();
    let (mut run, task, kubeconfig) = begun(&project);
    spoil(&kubeconfig);
    goes_on(&mut run, &task);
    ends(run, &task);
}

fn server() -> String {
    kubectl("config view --minify -o jsonpath={.clusters[0].cluster.server}")
}

#[test]
fn it_leads_elsewhere_while_jobs_run() {
    spoiled(|path| edit(path, &server(), "https://127.0.0.1:1"));
}

#[test]
fn the_kubeconfig_is_removed_while_jobs_run() {
    spoiled(|path| std::fs::remove_file(path).unwrap());
}
