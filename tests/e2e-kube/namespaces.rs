//! A namespace that is not the context's: all of a run is there, and nowhere else.

use crate::cluster::{NEVER_STARTED, echo, gone, lives_in, open, project, refused};

#[test]
fn of_the_womm_file() {
    let project = project();
    project.configure("namespace", "second");
    let (run, task) = open(project.parallel(2));
    lives_in(&task, "second");
    run.finish().succeeds().writes("first\n").quiet_task();
    gone(&task);
    let shell = project.womm().arg("shell").stdin("echo in it\n").run();
    gone(&shell.succeeds().writes("in it\n").quiet_task());
}

#[test]
fn of_the_command_line_before_that_of_the_womm_file() {
    let project = project();
    project.configure("namespace", "no-such-namespace");
    let (run, task) = open(project.parallel(1).words("--namespace second"));
    lives_in(&task, "second");
    run.finish().succeeds().writes("first\n").quiet_task();
    gone(&task);
    let shell = project.womm().words("shell -n second").stdin("echo in it\n").run();
    gone(&shell.succeeds().writes("in it\n").quiet_task());
}

#[test]
fn that_does_not_exist() {
    let project = project();
    let words = ["namespace \"no-such-namespace\" does not exist", "https://", "context \"womm\"", "-n"];
    refused(&project, echo(project.parallel(1).words("--namespace no-such-namespace")), NEVER_STARTED, &words);
    project.configure("namespace", "no-such-namespace");
    refused(&project, echo(project.parallel(1)), NEVER_STARTED, &words);
    refused(&project, project.womm().arg("shell"), NEVER_STARTED, &words);
}

#[test]
fn that_can_be_none() {
    let project = project();
    let cmd = echo(project.parallel(1).words("--namespace No_Such"));
    refused(&project, cmd, 2, &["\"No_Such\" is no name for a namespace"]);
}
