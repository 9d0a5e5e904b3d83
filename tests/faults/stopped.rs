//! Programs of the workstation that are stopped, and go on.

use harness::fault::{Shape, Work, full_or, tell};
use harness::{Engine, Signal, Terminal, joblog, process, until};
use rustix::process::{Pid, kill_process};
use std::fs;

/// As a laptop's lid does it to all of them, and a debugger to one.
#[test]
fn womm_sshlogins() {
    let length = full_or(20, 120);
    let mut work = Work::start(Engine::under_test().project(), Shape::outlasting(length), |cmd| cmd);
    let all = process::marked(work.project().mark());
    let found: Vec<_> = all.iter().filter(|p| p.command.contains("/womm-sshlogins ")).collect();
    assert_eq!(found.len(), 1, "{all:?}");
    let pid = Pid::from_raw(found[0].pid).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    work.stands_still();
    std::thread::sleep(length);
    kill_process(pid, Signal::CONT).unwrap();
    work.goes_on();
    let seen = work.finish();
    seen.none_lost();
    seen.told(&format!("womm-sshlogins is stopped for {} s, and goes on", length.as_secs()));
}

#[test]
fn all_of_the_workstation() {
    let length = full_or(20, 120);
    let mut work = Work::start(Engine::under_test().project(), Shape::outlasting(length), |cmd| cmd);
    let all: Vec<Pid> = process::marked(work.project().mark()).iter().filter_map(|p| Pid::from_raw(p.pid)).collect();
    assert!(all.len() > 20, "GNU parallel, the helpers and a womm-ssh for every job: {all:?}");
    for pid in &all {
        let _ = kill_process(*pid, Signal::STOP); // the shortest-lived may have ended
    }
    work.stands_still();
    std::thread::sleep(length);
    for pid in &all {
        let _ = kill_process(*pid, Signal::CONT);
    }
    work.goes_on();
    let seen = work.finish();
    seen.none_lost();
    seen.told(&format!(
        "all of WOMM and GNU parallel are stopped for {} s, as by a suspend, and go on",
        length.as_secs()
    ));
}

/// ^Z and fg, of the whole pipeline.
#[test]
fn a_pipeline_in_a_terminal() {
    let length = full_or(15, 60);
    let project = Engine::under_test().project();
    // They would last longer than that, and write more than is on its way at most: they stand still, too.
    let (lines, fill) = (10 * (usize::try_from(length.as_secs()).unwrap() + 10), "x".repeat(4000));
    let job = format!(
        "perl -e '$| = 1; for (1 .. {lines}) {{ print \"J $ARGV[0] $_ \", \"x\" x 4000, \"\\n\"; select undef, undef, undef, 0.1 }}' {{}}"
    );
    let quoted = job.replace('\'', "'\\''");
    let line = format!(
        "{{ womm parallel --kube-pods 2 --procs-per-pod 2 --line-buffer --joblog log -- '{quoted}' ::: 1 2 3 4 2>err; \
        echo $? >code; }} | cat >out"
    );
    project.write("line", format!("{line}\n"));
    let mut terminal = Terminal::start(project.cmd("bash").words("--norc --noprofile -i"), 24, 200);
    terminal.keys("PS1='here''> '\n");
    terminal.until("here> ");
    terminal.keys(". ./line\n");
    let err = || fs::read_to_string(project.at("err")).unwrap_or_default();
    until(harness::LONG, "the task", || err().contains(" created").then_some(()));
    let text = || fs::read_to_string(project.at("out")).unwrap_or_default();
    let of = |text: &str, job: u32| -> Vec<String> {
        let head = format!("J {job} ");
        text.lines().filter(|line| line.starts_with(&head)).map(str::to_owned).collect()
    };
    until(harness::LONG, "output of all jobs", || (1..=4).all(|job| !of(&text(), job).is_empty()).then_some(()));
    terminal.keys("\x1a");
    terminal.until("Stopped");
    let stopped = text();
    std::thread::sleep(length);
    assert_eq!(stopped, text(), "all of it stands still");
    terminal.keys("fg\n");
    let code = || fs::read_to_string(project.at("code")).ok().filter(|text| text.ends_with('\n'));
    assert_eq!(until(harness::LONG, "the pipeline's end", code), "0\n");
    terminal.until("here> ");
    terminal.keys("exit 0\n");
    terminal.finish();
    let text = text();
    assert_eq!(text.lines().count(), 4 * lines);
    for job in 1..=4 {
        let whole: Vec<String> = (1..=lines).map(|i| format!("J {job} {i} {fill}")).collect();
        assert!(of(&text, job) == whole, "of job {job} all lines, in order");
    }
    assert_eq!(joblog::codes(&project.at("log")), [0; 4]);
    let said: Vec<String> =
        err().lines().filter(|line| !line.starts_with("deployment.apps")).map(str::to_owned).collect();
    tell(
        &project,
        &format!("`^Z`, and `fg` after {} s, of the whole pipeline", length.as_secs()),
        &said.join("\n"),
        "4 jobs whole, exit status 0",
    );
}
