//! What this version has not yet, and 0.1.6 had half: its `--async` made a Deployment, failed, and left it there.

use crate::cluster::{LITTLE, gone, open, project, refused};

#[test]
fn an_async_task_is_refused_and_leaves_nothing() {
    let project = project();
    let parallel = |words: &str| project.parallel(2).words(LITTLE).words(words);
    let not_yet = ["--async is not built yet", "leave it out"];
    refused(&project, parallel("--async -- echo ran ::: 1"), 2, &not_yet);
    refused(&project, parallel("--retries 2 --async --joblog log --").stdin("echo ran\n"), 2, &not_yet);
    refused(&project, parallel("--async --context no-such-context -- echo ran ::: 1"), 2, &not_yet);
    refused(&project, parallel("--async --local-procs 1 -- echo ran ::: 1"), 2, &["Conflict", "--local-procs"]);
    assert!(!project.at("log").exists());
    // What it is looked after with would find nothing.
    for verb in ["logs", "finish", "status"] {
        refused(&project, project.womm().args([verb, "abcdefgh"]), 2, &[verb, "not built yet"]);
    }
    // It is no obstacle to a run that is well.
    let (run, task) = open(project.parallel(1));
    run.finish().succeeds().writes("first\n").task();
    gone(&task);
}
