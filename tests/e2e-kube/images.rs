//! Images on their way to a cluster.

use crate::cluster::{LITTLE, gone, object, open, project};
use harness::{image, tool};

#[test]
fn setup_never_saw_it() {
    let project = project();
    let prefix = format!("{}/kube-{}-", std::env::var("WOMM_TEST_REGISTRY").unwrap(), std::process::id());
    let agent = project.cmd("womm-image").args(["agent", "--push", "--prefix", &prefix]).run();
    agent.succeeds();
    project.configure("prefix", prefix.clone());
    let base = project.engine().reachable(&image::base());
    let (mut run, task) = open(project.parallel(2).args(["--image", &base]));
    let pod = &crate::cluster::objects("pods", &task)[0];
    let init = pod["spec"]["initContainers"][0]["image"].as_str().unwrap();
    assert!(init.starts_with(&format!("{prefix}womm-agent:")), "{init}");
    assert_eq!(pod["spec"]["containers"][0]["image"], base.as_str());
    run.send("perl -e 'print \"perl\\n\"'\n");
    run.finish().succeeds().writes("first\nperl\n").quiet_task();
    gone(&task);
    tool("docker", ["image", "rm", "--force", agent.text().trim()]);
}

/// An image that setup made has the agent in it: no init container, which would cost time.
#[test]
fn setup_made_it() {
    let project = project();
    let (run, task) = open(project.parallel(1));
    let pod = object("pods", &task);
    assert!(pod["spec"]["initContainers"].is_null());
    run.finish().succeeds().quiet_task();
    gone(&task);
}

#[test]
fn a_pull_secret_is_named_in_the_pod() {
    let project = project();
    project.configure("secret_name", "my-registry");
    let cmd = project.parallel(1).words(LITTLE).words("--line-buffer --").stdin_held();
    let mut run = cmd.start();
    let task = run.task();
    crate::cluster::job(&mut run, "first"); // a secret that does not exist is no obstacle where none is needed
    assert_eq!(object("pods", &task)["spec"]["imagePullSecrets"][0]["name"], "my-registry");
    run.finish().succeeds();
    gone(&task);
}
