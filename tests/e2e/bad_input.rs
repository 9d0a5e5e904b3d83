//! What users get wrong, and machines that lack something: one clear line that names the thing, an exit code that means
//! something, and nothing made, or all of it removed.

use harness::{Cmd, Engine, Project, image};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

/// Wrong usage or unreadable input, of `womm parallel` too.
const USAGE: i32 = 2;
/// `womm parallel`: GNU parallel never started.
const NEVER_STARTED: i32 = 125;

fn names(project: &Project) -> BTreeSet<OsString> {
    let entries = fs::read_dir(project.folder()).unwrap().chain(fs::read_dir(project.tmp()).unwrap());
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

/// Asserts that it is refused with one line that holds these words, that no job runs, and that nothing is made.
#[track_caller]
fn refused(project: &Project, cmd: Cmd, code: i32, words: &[&str]) {
    let before = names(project);
    cmd.run().refuses(code, words);
    assert_eq!(names(project), before, "no file is made");
    assert_eq!(project.left(), Vec::<String>::new(), "nothing is left, at once");
}

/// A run that would leave a trace in stdout.
fn run(project: &Project) -> Cmd {
    project.parallel(1).words("-- echo ran ::: 1")
}

#[test]
fn no_womm_file() {
    let project = Project::without_image(Engine::under_test());
    refused(&project, run(&project), USAGE, &["womm setup"]);
    refused(&project, project.womm().arg("shell"), USAGE, &["womm setup"]);
    fs::create_dir(project.at(".womm")).unwrap();
    refused(&project, run(&project), USAGE, &["womm setup"]);
}

#[test]
fn a_womm_file_that_is_none() {
    let project = Project::without_image(Engine::under_test());
    let path = project.at(".womm").display().to_string();
    for (content, word) in [
        (&b""[..], "JSON"),
        (b"{\n  \"image\": \"x\",,", "line 2"),
        (b"\xff\xfe\x00", "JSON"),
        (b"[1, 2]", "object"),
        (b"{}", "image"),
        (b"{\"hello\": 1}", "image"),
        (b"{\"image\": [\"a\"]}", "image"),
        (b"{\"image\": \"Not:A:Name\"}", "\"image\": \"Not:A:Name\" is no name of an image"),
        (b"{\"image\": \"a b\", \"engine\": \"docker\"}", "\"image\": \"a b\""),
        (b"{\"image\": \"a\", \"engine\": \"podman\"}", "podman"),
        (b"{\"image\": \"a\", \"engine\": \"docker\", \"share_kind\": \"nfs\"}", "nfs"),
        (b"{\"image\": \"a\", \"engine\": \"docker\", \"share_kind\": \"lazy\"}", "lazy"),
    ] {
        project.write(".womm", content);
        let cmd = run(&project);
        let out = cmd.clone().run();
        // The file is to blame, or the value in it, which the user has to find in the file.
        out.holds("it names the file or the value", out.stderr.contains(&path) || out.stderr.contains(word));
        refused(&project, cmd, USAGE, &[word]);
    }
}

#[test]
fn a_folder_whose_path_is_not_utf8() {
    let project = Project::without_image(Engine::under_test());
    let folder = project.at(OsStr::from_bytes(b"not \xff UTF-8"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(".womm"), "{\"image\": \"a\", \"engine\": \"docker\", \"share_kind\": \"bind\"}").unwrap();
    refused(&project, run(&project).cwd(&folder), USAGE, &["UTF-8"]);
    let setup = project.womm().words("setup --yes --engine docker --base").arg(image::base());
    refused(&project, setup.cwd(&folder), USAGE, &["UTF-8"]);
}

#[test]
fn options_of_ours() {
    let project = Engine::under_test().project();
    let parallel = |words: &str| project.womm().arg("parallel").words(words);
    let bad = |words: &str, named: &[&str]| refused(&project, parallel(words), USAGE, named);
    bad("--kube-pods 1 echo ran ::: 1", &["You need to use -- as a separator"]);
    bad("-- echo ran ::: 1", &["You need to specify --kube-pods"]);
    bad("--kube-pods x -- echo ran ::: 1", &["Expected integer argument to --kube-pods, got x"]);
    bad("--kube-pods=1.5 -- echo ran ::: 1", &["--kube-pods", "1.5"]);
    bad("--kube-pods -1 -- echo ran ::: 1", &["--kube-pods", "-1"]);
    bad("--kube-pods 0 -- echo ran ::: 1", &["--kube-pods", "0"]);
    bad("--kube-pods= -- echo ran ::: 1", &["--kube-pods"]);
    bad("--kube-pods 99999999999999999999 -- echo ran ::: 1", &["--kube-pods"]);
    bad("--kube-pods -- echo ran ::: 1", &["--kube-pods"]);
    bad("--kube-pods 1 --procs-per-pod 0 -- echo ran ::: 1", &["--procs-per-pod"]);
    bad("--kube-pods 1 --procs-per-pod many -- echo ran ::: 1", &["--procs-per-pod", "many"]);
    bad("--kube-pods 1 --local-procs x -- echo ran ::: 1", &["--local-procs", "x"]);
    bad("--kube-pods 1 --kube-gpu x -- echo ran ::: 1", &["--kube-gpu", "x"]);
    bad("--kube-pods 1 --kube-mem lots -- echo ran ::: 1", &["--kube-mem", "lots"]);
    bad("--kube-pods 1 --kube-mem 5MiB -- echo ran ::: 1", &["--kube-mem", "5MiB"]);
    bad("--kube-pods 1 --kube-mem -1Gi -- echo ran ::: 1", &["--kube-mem", "-1Gi"]);
    bad("--kube-pods 1 --kube-cpu fast -- echo ran ::: 1", &["--kube-cpu", "fast"]);
    bad("--kube-pods 1 --async --local-procs 1 -- echo ran ::: 1", &["--async", "--local-procs"]);
    bad("--kube-pods 1 --async -- echo ran ::: 1", &["--async"]);
    bad("--kube-pods 1 --image Not:A:Name -- echo ran ::: 1", &["Not:A:Name"]);
    refused(&project, project.womm().words("shell --kube-mem lots"), USAGE, &["--kube-mem", "lots"]);
    refused(&project, project.womm().words("shell --no-such-option"), USAGE, &["--no-such-option"]);
    refused(&project, project.womm().words("shell --kube-cpu"), USAGE, &["--kube-cpu"]);
}

#[test]
fn options_that_mean_nothing_on_this_engine() {
    let project = Engine::under_test().project();
    let parallel = |words: &str| project.womm().words("parallel --kube-pods 1").words(words);
    let patch = project.write("patch.json", "{}");
    let patched = project.parallel(1).arg("--kube-patch").arg(&patch).words("-- echo ran ::: 1");
    match project.engine() {
        Engine::Docker => {
            refused(&project, patched, USAGE, &["--kube-patch", "docker"]);
            refused(&project, parallel("--context other -- echo ran ::: 1"), USAGE, &["--context", "docker"]);
            refused(&project, parallel("--namespace other -- echo ran ::: 1"), USAGE, &["--namespace", "docker"]);
        }
        Engine::Kube => {
            for (content, word) in [("{no JSON", "JSON"), ("[no YAML", "YAML"), ("neither", "object")] {
                project.write("patch.json", content);
                refused(&project, patched.clone(), USAGE, &["--kube-patch", word]);
            }
            let missing = parallel("--kube-patch /nonexistent.json -- echo ran ::: 1");
            refused(&project, missing, USAGE, &["--kube-patch", "/nonexistent.json"]);
        }
    }
}

#[test]
fn more_than_the_engine_has() {
    let project = Engine::under_test().project();
    let cpus = project.parallel(1).words("--kube-cpu 1000 -- echo ran ::: 1");
    let memory = project.parallel(1).words("--kube-mem 1000Ti -- echo ran ::: 1");
    match project.engine() {
        Engine::Docker => {
            refused(&project, cpus, USAGE, &["--kube-cpu 1000", "more than"]);
            refused(&project, memory, USAGE, &["--kube-mem", "more than"]);
            let little = project.parallel(1).words("--kube-mem 1Mi -- echo ran ::: 1");
            refused(&project, little, USAGE, &["--kube-mem", "1Mi"]);
        }
        Engine::Kube => {
            for (cmd, word) in [(cpus, "cpu"), (memory, "memory")] {
                let run = cmd.run();
                run.exits(NEVER_STARTED).writes("");
                run.holds("what is missing is named", run.stderr.contains(word));
            }
        }
    }
}

#[test]
fn hosts_of_the_users_own() {
    let project = Engine::under_test().project();
    let parallel = |words: &str| project.womm().words("parallel --kube-pods 1").words(words);
    for (words, named) in [
        ("-S host -- echo ran ::: 1", "-S"),
        ("-S4/host -- echo ran ::: 1", "-S"),
        ("--sshlogin host -- echo ran ::: 1", "--sshlogin"),
        ("--sshlogin=host -- echo ran ::: 1", "--sshlogin"),
        ("--slf hosts -- echo ran ::: 1", "--slf"),
        ("--sshloginfile hosts -- echo ran ::: 1", "--sshloginfile"),
        ("--ssh rsh -- echo ran ::: 1", "--ssh"),
    ] {
        refused(&project, parallel(words), USAGE, &[named]);
    }
    refused(&project, run(&project).env("PARALLEL", "-j2 --sshlogin host"), USAGE, &["PARALLEL", "hosts"]);
    let profile = project.home().join(".parallel/config");
    fs::write(&profile, "--sshlogin host\n").unwrap();
    refused(&project, run(&project), USAGE, &[profile.to_str().unwrap()]);
    // A profile about other things is parallel's own affair.
    fs::write(&profile, "--tag\n").unwrap();
    run(&project).run().succeeds().writes("1\tran 1\n").quiet_task();
}

#[test]
fn options_that_would_delete_the_users_files() {
    let project = Engine::under_test().project();
    project.write("input", "precious");
    for (words, named) in [("--trc {}.out", "--trc"), ("--transferfile {} --cleanup", "--cleanup")] {
        let cmd = project.parallel(1).words(words).words("-- echo ran ::: input");
        if project.engine().shares_files() {
            refused(&project, cmd, USAGE, &[named]);
        } else {
            cmd.run(); // --trc's own file is not made by this job, so how it ends does not matter
        }
        assert_eq!(fs::read_to_string(project.at("input")).unwrap(), "precious");
    }
}

#[test]
fn options_with_which_no_job_can_be_run_again() {
    let project = Engine::under_test().project();
    for words in [
        "--transferfile {}",
        "--return {}.out",
        "--basefile input",
        "--tty",
        "--open-tty",
        "-ko",
        "--pipe --round-robin",
    ] {
        let cmd = project.parallel(1).words("--kube-retries 1").words(words).words("-- echo ran ::: 1");
        let named = words.split(' ').rfind(|word| word.starts_with("--")).unwrap_or("-o");
        refused(&project, cmd, USAGE, &["--kube-retries", named, "--retries"]);
    }
    let cmd = project.parallel(1).words("--kube-retries 1 -- echo ran ::: 1").env("PARALLEL", "--round-robin");
    refused(&project, cmd, USAGE, &["--kube-retries", "PARALLEL"]);
    project.parallel(1).words("--kube-retries 0 -- echo ran ::: 1").run().succeeds().writes("ran 1\n");
}

#[test]
fn a_command_that_does_not_exist() {
    let project = Project::without_engine();
    for (word, nearest) in
        [("paralel", "parallel"), ("setpu", "setup"), ("shel", "shell"), ("clear-prefx", "clear-prefix")]
    {
        let near = format!("womm {nearest}");
        refused(&project, project.womm().args([word, "--kube-pods", "1"]), USAGE, &[word, &near]);
    }
    refused(&project, project.womm().arg("xyzzy"), USAGE, &["xyzzy", "womm help"]);
    refused(&project, project.womm().arg(""), USAGE, &["\"\"", "womm help"]);
    refused(&project, project.womm().arg("a b\nc*"), USAGE, &["a b"]);
    refused(&project, project.womm().arg("--nonsense"), USAGE, &["--nonsense"]);
    refused(&project, project.womm().arg("status"), USAGE, &["status"]);
}

#[test]
fn an_engine_that_does_not_answer() {
    let project = Engine::under_test().project();
    let gone = |cmd: Cmd| match project.engine() {
        Engine::Docker => cmd.env("DOCKER_HOST", "unix:///nonexistent.sock"),
        Engine::Kube => cmd.env("KUBECONFIG", "/nonexistent.kubeconfig"),
    };
    let word = match project.engine() {
        Engine::Docker => "/nonexistent.sock",
        Engine::Kube => "nonexistent.kubeconfig",
    };
    refused(&project, gone(run(&project)), NEVER_STARTED, &[word]);
    refused(&project, gone(project.womm().arg("shell")), NEVER_STARTED, &[word]);
    let bare = Project::without_image(project.engine());
    let setup = bare.womm().words("setup --yes --engine docker --base").arg(image::base());
    refused(&bare, setup.env("DOCKER_HOST", "unix:///nonexistent.sock"), 3, &["/nonexistent.sock"]);
    // Something listens there that is no engine.
    if project.engine() == Engine::Docker {
        let socket = project.root().join("mute.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            use std::io::Write;
            while let Ok((mut client, _)) = listener.accept() {
                let _ = client.write_all(b"I am no Docker\r\n\r\n");
            }
        });
        let host = format!("unix://{}", socket.display());
        refused(&project, run(&project).env("DOCKER_HOST", host), NEVER_STARTED, &["mute.sock"]);
    }
}

#[test]
fn an_image_that_is_missing() {
    let project = Engine::under_test().project();
    let name = "no-such-image-here:7";
    let named = project.parallel(1).args(["--image", name]).words("-- echo ran ::: 1");
    match project.engine() {
        Engine::Docker => {
            refused(&project, named, NEVER_STARTED, &[name]);
            project.configure("image", name);
            refused(&project, run(&project), NEVER_STARTED, &[name, "womm setup"]);
        }
        Engine::Kube => {
            let run = named.run();
            run.exits(NEVER_STARTED).writes("");
            run.holds("the image is named", run.stderr.contains(name));
        }
    }
}

/// A PATH with all that is on this machine's, but for these.
fn path_without(project: &Project, missing: &[&str]) -> OsString {
    let folder = project.root().join("path");
    fs::create_dir_all(&folder).unwrap();
    let all = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect::<Vec<_>>();
    for entry in all.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten() {
        let name = entry.file_name();
        if !missing.iter().any(|m| name == *m) {
            let _ = symlink(entry.path(), folder.join(name)); // the first of a name wins
        }
    }
    let mut path = harness::project::programs().into_os_string();
    path.push(":");
    path.push(folder);
    path
}

#[test]
fn gnu_parallel_is_not_installed() {
    let project = Engine::under_test().project();
    let path = path_without(&project, &["parallel"]);
    refused(&project, run(&project).env("PATH", &path), NEVER_STARTED, &["GNU parallel is not installed", "apt-get"]);
    // Another program of that name is in moreutils.
    let other = project.root().join("path/parallel");
    fs::write(&other, "#!/bin/sh\necho 'parallel [OPTIONS] command -- arguments'\nexit 1\n").unwrap();
    tool_mode(&other);
    refused(&project, run(&project).env("PATH", &path), NEVER_STARTED, &["not GNU parallel", "path/parallel"]);
}

fn tool_mode(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn options_that_gnu_parallel_refuses_end_the_run() {
    let project = Engine::under_test().project();
    let run = project.parallel(1).words("--no-such-option-of-parallel -- echo ran ::: 1").run();
    run.exits(255).task();
    run.holds("parallel says it", run.other_stderr().contains("no-such-option-of-parallel"));
    run.holds("no job ran", !run.text().lines().any(|line| line == "ran 1"));
}

#[test]
fn help_and_citation_need_no_project() {
    let project = Project::without_engine();
    let help = project.womm().words("parallel --help").run();
    help.succeeds().holds("stderr is empty", help.stderr.is_empty());
    for word in ["--kube-pods", "--local-procs", "--procs-per-pod", "--kube-mem", "125", "man.html"] {
        help.holds(&format!("it names {word}"), help.text().contains(word));
    }
    fs::remove_dir_all(project.home().join(".parallel")).unwrap();
    // Debian's parallel has no --citation any more, but says with every usage how it is cited.
    let own = project.cmd("parallel").arg("--citation").stdin("will cite\n").run();
    let remembered = project.home().join(".parallel");
    let remembers = remembered.exists();
    let _ = fs::remove_dir_all(&remembered);
    let ours = project.womm().words("parallel --citation").stdin("will cite\n").run();
    ours.exits(own.code()).writes(&own.stdout).holds("it says how", ours.text().contains("Tange"));
    assert_eq!(remembered.exists(), remembers, "and remembers");
}
