//! Namespaces that enforce a Pod Security Standard: root's pods keep within `baseline`, others' within `restricted`.

use crate::cluster::{LITTLE, SAID, engine, gone, no_pod, project};
use harness::{Cmd, Project, image, tool};
use rustix::process::getuid;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

#[track_caller]
fn must_be_root() {
    assert!(getuid().is_root(), "this test becomes other users: run it as root");
}

const WHO: &str = "-n0 -- id -u ::: 1";

#[test]
fn root_within_baseline() {
    must_be_root();
    let project = project();
    let out = project.parallel(1).words("--namespace baseline").words(LITTLE).words(WHO).run();
    gone(&out.succeeds().writes("0\n").quiet_task());
    // By the init container, too.
    let base = project.engine().reachable(&image::base());
    let cmd = project.parallel(1).words("--namespace baseline --image").arg(base);
    gone(&cmd.words(LITTLE).words(WHO).run().succeeds().writes("0\n").quiet_task());
}

#[test]
fn root_is_refused_by_restricted() {
    must_be_root();
    let project = project();
    let cmd = project.parallel(2).words("--namespace restricted").words(LITTLE).words(WHO);
    let out = cmd.deadline(SAID).run();
    no_pod(&out, &["PodSecurity \"restricted:latest\"", "runAsNonRoot", "another user than root"]);
}

/// A project of a user without root's rights, whom the base image does not know; and how commands are run as him.
fn plain_user() -> (Project, impl Fn(Cmd) -> Cmd) {
    must_be_root();
    let engine = engine();
    let project = Project::without_image(engine);
    for path in [project.folder(), project.home(), project.root().join("run"), project.root().join("out")] {
        chown(path, Some(1234), Some(1234)).unwrap();
    }
    // The programs may be in a folder that only root can enter.
    let (from, to) = (harness::project::programs(), project.root().join("bin"));
    tool("cp", ["-rL".as_ref(), from.as_os_str(), to.as_os_str()]);
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", to.display(), std::env::var("PATH").unwrap());
    let kubeconfig = crate::cluster::copied(&project);
    chown(&kubeconfig, Some(1234), Some(1234)).unwrap();
    // Setup asks Docker.
    let docker = fs::metadata("/var/run/docker.sock").map_or(1234, |socket| socket.gid());
    let becomes = move |cmd: Cmd| {
        let cmd = cmd.env("PATH", &path).env("USER", "audrey").env("LOGNAME", "audrey").env("KUBECONFIG", &kubeconfig);
        cmd.by("setpriv", &["--reuid", "1234", "--regid", "1234", "--groups", &format!("1234,{docker}")])
    };
    let prefix = format!("{}/", std::env::var("WOMM_TEST_REGISTRY").unwrap());
    let setup = project.womm().args(["setup", "--yes", "--engine", "kube", "--prefix", &prefix, "--base"]);
    becomes(setup.arg(image::base())).run().succeeds();
    (project, becomes)
}

#[test]
fn a_plain_user_within_restricted_and_baseline() {
    let (project, becomes) = plain_user();
    let base = engine().reachable(&image::base());
    let script = "id -u; id -g; touch a \"$TMPDIR/b\" \"$HOME/c\" && echo written";
    for namespace in ["restricted", "baseline"] {
        for image in [None, Some(&base)] {
            let mut cmd = project.parallel(1).args(["--namespace", namespace]).words(LITTLE);
            if let Some(image) = image {
                cmd = cmd.args(["--image", image]);
            }
            let out = becomes(cmd.words("-n0 --").arg(script).words("::: 1")).run();
            gone(&out.succeeds().writes("1234\n1234\nwritten\n").quiet_task());
        }
    }
    tool("docker", ["image", "rm", "--force", project.womm_file()["image"].as_str().unwrap()]);
}

/// What a user adds may be refused as well; the words say so.
#[test]
fn a_patch_that_baseline_refuses() {
    let project = project();
    let patch = project.write("patch.json", r#"{"spec": {"template": {"spec": {"hostNetwork": true}}}}"#);
    let cmd = project.parallel(1).words("--namespace baseline --kube-patch").arg(patch).words(LITTLE).words(WHO);
    no_pod(&cmd.deadline(SAID).run(), &["PodSecurity \"baseline:latest\"", "host namespaces", "--kube-patch"]);
}
