//! Other programs over womm-ssh: rsync, scp, sftp.

use crate::case::{Case, tree};
use harness::{Cmd, LONG, Project, Running, project::programs, until};
use std::fs;

/// A run of one pod whose jobs are the lines that it is sent; `womm ssh` finds it.
pub fn open_run(project: &Project) -> Running {
    let mut run = project.parallel(1).words("--").stdin_held().start();
    run.task();
    until(LONG, "the run's socket", || {
        project.run_folders().iter().any(|run| run.join("ssh.sock").exists()).then_some(())
    });
    run
}

pub fn close(run: Running) {
    run.finish().succeeds().task();
}

/// Files of several kinds in the folder `sent`.
fn write_files(project: &Project) {
    fs::create_dir_all(project.at("sent/deep")).unwrap();
    project.write("sent/a b", "one\n");
    project.write("sent/deep/ünï", "two\n");
    let noise: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    project.write("sent/noise", noise);
}

fn ok(cmd: Cmd) {
    cmd.run().succeeds();
}

fn same(project: &Project, back: &str) {
    assert_eq!(tree(&project.at("sent")), tree(&project.at(back)));
}

#[test]
fn rsync() {
    let case = Case::new("rsync -e womm-ssh");
    let project = case.project();
    write_files(project);
    let run = open_run(project);
    ok(project.cmd("rsync").words("-a -e womm-ssh sent/ w001:/tmp/by-rsync"));
    ok(project.ssh().args(["w001", "echo more >/tmp/by-rsync/deep/more; rm '/tmp/by-rsync/a b'"]));
    // Only what differs goes, and what is too much.
    let out = project.cmd("rsync").words("-ai --delete -e womm-ssh sent/ w001:/tmp/by-rsync").run();
    out.succeeds().holds("what is missing is sent", out.text().contains("+ a b\n"));
    out.holds(
        "what is too much goes, the rest stays",
        out.text().contains("deleting   deep/more") && !out.text().contains("noise"),
    );
    ok(project.cmd("rsync").words("-az -e womm-ssh someone@w001:/tmp/by-rsync/ back"));
    same(project, "back");
    close(run);
}

#[test]
fn scp() {
    let case = Case::new("scp -S womm-ssh");
    let project = case.project();
    write_files(project);
    let ssh = programs().join("womm-ssh");
    let scp = |words: &str| project.cmd("scp").arg("-S").arg(&ssh).words("-q -r").words(words);
    let run = open_run(project);
    // By sftp, and as it was before OpenSSH 9.
    for (option, folder) in [("-s", "new"), ("-O", "old")] {
        ok(scp(&format!("{option} sent w001:/tmp/{folder}")));
        ok(scp(&format!("{option} w001:/tmp/{folder} {folder}")));
        same(project, folder);
    }
    close(run);
}

#[test]
fn sftp() {
    let case = Case::new("sftp -S womm-ssh");
    let project = case.project();
    write_files(project);
    let sftp = project.cmd("sftp").arg("-S").arg(programs().join("womm-ssh")).words("-q -b - w001");
    let run = open_run(project);
    let out = sftp
        .stdin("mkdir /tmp/by-sftp\nput -r sent /tmp/by-sftp\nls -1 /tmp/by-sftp/sent\nget -r /tmp/by-sftp/sent back\n")
        .run();
    out.succeeds().holds("it lists", out.text().contains("/tmp/by-sftp/sent/noise\n"));
    same(project, "back");
    close(run);
}
