//! What a job finds around it: variables, user, cwd, host.

use harness::project::VARIABLE;
use harness::{Engine, Outcome, Project, image, tool};
use rustix::process::{getgid, getuid};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// The output of `env -0`.
fn variables(run: &Outcome) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(&run.succeeds().stdout).into_owned();
    let pairs = text.split('\0').filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn a_job_sees_its_pod_and_its_user() {
    let project = Engine::under_test().project();
    let run = project.parallel(1).words("-n0 -- env -0 ::: 1").run();
    let env = variables(&run);
    let task = run.quiet_task();
    let get = |name: &str| env.get(name).map(String::as_str).unwrap_or_default();
    run.holds("HOSTNAME is the pod's name", get("HOSTNAME").starts_with(&format!("womm-task-{task}-")));
    run.holds("HOME is the user's", get("HOME") == project.home().to_str().unwrap());
    run.holds("USER is the user's", get("USER") == project.user());
    run.holds("LOGNAME too", get("LOGNAME") == project.user());
    run.holds("SHELL is set", get("SHELL").starts_with('/'));
    run.holds("TMPDIR is set", get("TMPDIR").starts_with('/'));
    run.holds("PWD is the folder", get("PWD") == project.folder().to_str().unwrap());
    run.holds("what setup exported is there", get(VARIABLE.0) == VARIABLE.1);
    let ours: Vec<_> = env.keys().filter(|name| name.starts_with("WOMM_")).collect();
    run.holds(&format!("nothing of our own: {ours:?}"), ours.is_empty());
}

#[test]
fn what_the_environment_says_is_true() {
    let project = Engine::under_test().project();
    // A line for each; all of the script must succeed.
    let script = "set -e; uname -n; echo $HOSTNAME; pwd; /bin/pwd; id -u; id -g; whoami; \
        touch \"$TMPDIR/a\" \"$HOME/b\"; test -x \"$SHELL\"; command -v perl >/dev/null; echo good";
    let run = project.parallel(1).words("-n0 --").arg(script).words("::: 1").run();
    run.succeeds();
    let lines: Vec<_> = run.text().lines().collect();
    run.holds("HOSTNAME is the host's name", lines[0] == lines[1]);
    let folder = project.folder();
    run.holds("it stands in the folder", Path::new(lines[2]) == folder && Path::new(lines[3]) == folder);
    run.holds("as the user", lines[4] == getuid().as_raw().to_string() && lines[5] == getgid().as_raw().to_string());
    run.holds("who has a name", lines[6] == project.user());
    run.holds("in folders that can be written to", lines[7..] == ["good"]);
}

#[test]
fn the_variables_of_gnu_parallel_are_those_of_a_job_by_ssh() {
    let project = Engine::under_test().project();
    let job = ["-n0", "--", "env", "-0", ":::", "1"];
    let of_parallel = |run: &Outcome| {
        let mut env = variables(run);
        env.retain(|name, _| name.starts_with("PARALLEL_"));
        env
    };
    let real = of_parallel(&project.parallel_by_ssh().args(job).run());
    let ours = of_parallel(&project.parallel(2).args(job).run());
    assert_eq!(ours.keys().collect::<BTreeSet<_>>(), real.keys().collect::<BTreeSet<_>>());
    for name in ["PARALLEL_SEQ", "PARALLEL_JOBSLOT"] {
        assert_eq!(ours[name], real[name], "{name}");
    }
    assert!(["w001", "w002"].contains(&ours["PARALLEL_SSHHOST"].as_str()), "{ours:?}");
    assert_eq!(ours["PARALLEL_SSHHOST"], ours["PARALLEL_SSHLOGIN"]);
    assert!(ours["PARALLEL_PID"].parse::<u32>().is_ok(), "{ours:?}");
}

#[test]
fn parallels_env_option_exports() {
    let project = Engine::under_test().project();
    let value = "it's\n a \"greeting\" $HOME \\";
    let cmd = project.parallel(1).env("GREETING", value).env("SECRET", "not asked for");
    let run = cmd.words("--env GREETING -n0 --").arg("printf %s \"$GREETING$SECRET\"").words("::: 1").run();
    run.succeeds().writes(value).quiet_task();
}

#[test]
fn a_subfolder_is_the_cwd() {
    let project = Engine::under_test().project();
    let deep = project.at("a/b c");
    fs::create_dir_all(&deep).unwrap();
    project.write("a/b c/file", "content\n");
    let run = project.parallel(1).cwd(&deep).words("-n0 -- pwd ::: 1").run();
    run.succeeds().writes(format!("{}\n", deep.display())).quiet_task();
    if project.engine().shares_files() {
        let cmd = project.parallel(1).cwd(&deep).words("--").arg("cat {} && echo new >made && cat ../../.womm | wc -c");
        let run = cmd.words("::: file").run();
        let size = fs::metadata(project.at(".womm")).unwrap().len();
        run.succeeds().writes(format!("content\n{size}\n"));
        assert_eq!(fs::read_to_string(deep.join("made")).unwrap(), "new\n", "what jobs write is here");
    }
}

#[test]
fn a_subfolder_whose_name_is_not_utf8_is_the_cwd() {
    let project = Engine::under_test().project();
    let deep = project.at(OsStr::from_bytes(b"not \xff UTF-8"));
    fs::create_dir(&deep).unwrap();
    let expected = [deep.as_os_str().as_bytes(), b"\n"].concat();
    let job = project.parallel(1).cwd(&deep).words("-n0 -- /bin/pwd ::: 1");
    job.run().succeeds().writes(&expected).quiet_task();
    let job = project.parallel(1).arg("--workdir").arg(&deep).words("-n0 -- /bin/pwd ::: 1");
    job.run().succeeds().writes(&expected).quiet_task();
    let shell = project.womm().arg("shell").cwd(&deep).stdin("/bin/pwd\n").run();
    shell.succeeds().writes(&expected).quiet_task();
}

#[test]
fn files_that_jobs_write_are_the_users() {
    let project = Engine::under_test().project();
    if !project.engine().shares_files() {
        let run = project.parallel(1).words("-n0 --").arg("touch made; stat -c %u:%g made").words("::: 1").run();
        run.succeeds().writes(format!("{}:{}\n", getuid().as_raw(), getgid().as_raw()));
        assert!(!project.at("made").exists(), "this engine shares no files");
        return;
    }
    project.parallel(1).words("-n0 --").arg("touch made").words("::: 1").run().succeeds();
    let meta = fs::metadata(project.at("made")).expect("what jobs write is here");
    assert_eq!((meta.uid(), meta.gid()), (getuid().as_raw(), getgid().as_raw()));
}

#[test]
fn nothing_shared_is_an_empty_folder_of_the_users() {
    let project = Engine::under_test().project();
    project.configure("share_kind", "none");
    fs::create_dir(project.at("sub")).unwrap();
    let script = "pwd; ls -A | wc -l; touch a; stat -c %u a; ls -A";
    let run = project.parallel(1).words("-n0 --").arg(script).words("::: 1").run();
    let expected = format!("{}\n0\n{}\na\n", project.folder().display(), getuid().as_raw());
    run.succeeds().writes(expected).quiet_task();
    assert!(!project.at("a").exists(), "nothing is shared");
    let run = project.parallel(1).cwd(project.at("sub")).words("-n0 --").arg("pwd; ls -A").words("::: 1").run();
    run.succeeds().writes(format!("{}\n", project.at("sub").display()));
}

#[test]
fn jobs_have_the_memory_that_was_asked_for() {
    let project = Engine::under_test().project();
    let limit = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes";
    let run = project.parallel(1).words("--kube-mem 96Mi -n0 --").arg(limit).words("::: 1").run();
    run.succeeds().writes(format!("{}\n", 96 << 20));
}

/// A user whom the base image does not know, and whom root's rights don't help.
#[test]
fn a_plain_user_is_the_same_in_the_pod() {
    if !getuid().is_root() {
        return plain_user(&Engine::under_test().project(), |cmd| cmd, getuid().as_raw());
    }
    let engine = Engine::under_test();
    let project = Project::without_image(engine);
    for path in [project.folder(), project.home(), project.root().join("run"), project.root().join("out")] {
        std::os::unix::fs::chown(path, Some(4242), Some(4343)).unwrap();
    }
    fs::remove_dir_all(project.home().join(".parallel")).unwrap();
    // The programs may be in a folder that only root can enter.
    let (from, to) = (harness::project::programs(), project.root().join("bin"));
    tool("cp", [OsStr::new("-rL"), from.as_os_str(), to.as_os_str()]);
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", to.display(), std::env::var("PATH").unwrap());
    let mut groups = "4343".to_owned();
    if let Ok(socket) = fs::metadata("/var/run/docker.sock") {
        groups = format!("{groups},{}", socket.gid());
    }
    let kubeconfig = project.home().join("kubeconfig");
    if engine == Engine::Kube {
        let of_root = std::env::var("WOMM_TEST_KUBECONFIG").unwrap();
        fs::copy(of_root, &kubeconfig).unwrap();
        std::os::unix::fs::chown(&kubeconfig, Some(4242), Some(4343)).unwrap();
    }
    let becomes = move |cmd: harness::Cmd| {
        let cmd = cmd.env("PATH", &path).env("USER", "audrey").env("LOGNAME", "audrey").env("KUBECONFIG", &kubeconfig);
        cmd.by("setpriv", &["--reuid", "4242", "--regid", "4343", "--groups", &groups])
    };
    becomes(project.sh("mkdir ~/.parallel && touch ~/.parallel/will-cite")).run().succeeds();
    let mut setup = project.cmd("womm").words("setup --yes --base").arg(image::base());
    let image = image::Named::new(engine, "plain-user");
    setup = setup.args(["--engine", engine.name(), "--name", image.name()]);
    becomes(setup).run().succeeds();
    plain_user(&project, &becomes, 4242);
}

fn plain_user(project: &Project, becomes: impl Fn(harness::Cmd) -> harness::Cmd, uid: u32) {
    let script = "id -u; id -g; whoami; echo $HOME; touch \"$HOME/a\" \"$TMPDIR/b\" c && echo written";
    let run = becomes(project.parallel(1).words("-n0 --").arg(script).words("::: 1")).run();
    run.succeeds().quiet_task();
    let lines: Vec<_> = run.text().lines().collect();
    run.holds("the same user", lines[0] == uid.to_string());
    if uid == 4242 {
        run.holds("the same group and name", lines[1..3] == ["4343", "audrey"]);
    }
    run.holds("the same home", Path::new(lines[3]) == project.home());
    run.holds("who may write where they may here", lines[4..] == ["written"]);
    if project.engine().shares_files() {
        assert_eq!(fs::metadata(project.at("c")).unwrap().uid(), uid);
    }
}
