//! Words of the user's that end in objects of the cluster.

use crate::cluster::{LITTLE, gone, job, object, project, refused};
use harness::{LONG, until};

#[test]
fn a_command_with_backslashes_and_quotes() {
    let project = project();
    let command =
        r#"printf '%s\n' '\n {not} "yaml": \x41 $(HOME) $$ %7b' {}; until test -e "$TMPDIR/go"; do sleep 0.1; done"#;
    let mut run = project.parallel(1).words(LITTLE).words("--").arg(command).args([":::", r"a\b"]).start();
    let task = run.task();
    for kind in ["leases", "deployments"] {
        let note = object(kind, &task)["metadata"]["annotations"]["womm.command"].as_str().unwrap().to_owned();
        // As a shell reads it: the words come back.
        let words = harness::tool("sh", ["-c", &format!("printf '%s\\0' {note}")]);
        let words: Vec<_> = words.split_terminator('\0').collect();
        assert!(words.ends_with(&[command, ":::", r"a\b"]), "{words:?}");
    }
    let engine = project.engine();
    until(LONG, "the pod", || {
        let pod = engine.pods(&task).pop()?;
        engine.inside(&pod, "touch /run/womm-tmp/go")
    });
    let out = run.finish();
    out.succeeds().writes("\\n {not} \"yaml\": \\x41 $(HOME) $$ %7b\na\\b\n").quiet_task();
    gone(&task);
}

/// Kubernetes expands $(NAME) in variables.
#[test]
fn a_folder_with_a_dollar_in_its_name() {
    let project = project();
    let folder = project.at("$(HOME) $$x \\y 'z'");
    std::fs::create_dir(&folder).unwrap();
    let cmd = project.parallel(1).words(LITTLE).words("-n0 -- pwd ::: 1").cwd(&folder);
    gone(&cmd.run().succeeds().writes(format!("{}\n", folder.display())).quiet_task());
}

#[test]
fn amounts() {
    let project = project();
    let bad = |words: &str, named: &[&str]| {
        refused(&project, project.parallel(1).words(words).words("-- echo ran ::: 1"), 2, named);
    };
    for amount in ["lots", "5MiB", "-1Gi", "0", "1e", "\\5Mi"] {
        bad(&format!("--kube-mem {amount}"), &["--kube-mem", amount]);
    }
    bad("--kube-cpu fast", &["--kube-cpu", "fast"]);
    bad("--kube-cpu -1", &["--kube-cpu", "-1"]);
    let mut run = project.parallel(1).words("--kube-cpu 250m --kube-mem 100M --line-buffer --").stdin_held().start();
    let task = run.task();
    job(&mut run, "first");
    let pod = object("pods", &task);
    assert_eq!(pod["spec"]["containers"][0]["resources"]["requests"]["cpu"], "250m");
    let memory = pod["spec"]["containers"][0]["resources"]["limits"]["memory"].as_str().unwrap().to_owned();
    assert!(["100M", "100000000"].contains(&memory.as_str()), "{memory}");
    run.finish().succeeds().quiet_task();
    gone(&task);
}
