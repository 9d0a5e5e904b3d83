//! The user's side is killed, in every way: within 15 s nothing of the run is left, anywhere. A local job has left a
//! daemon behind, and one in a pod too.

use harness::{Engine, LONG, Outcome, Project, Running, Signal, Terminal, process, until};
use std::time::Duration;

/// Jobs that say that they run, start daemons of two kinds, and never end.
const JOB: &str = "perl -MPOSIX -e 'fork and exit; setsid; fork and exit; exec qw(sleep 98901)'; \
    perl -MPOSIX -e 'fork and exit; setsid; fork and exit; POSIX::close($_) for 0 .. 1023; exec qw(sleep 98902)'; \
    trap '' TERM HUP INT; touch \"$TMPDIR/begun\"; sleep 98903; sleep 98904";

/// `womm parallel` as all tests here run it.
fn words(project: &Project) -> harness::Cmd {
    project.parallel(2).words("--local-procs 1 -n0 --").arg(JOB).words("::: 1 2 3 4 5 6")
}

/// Waits until jobs run in both pods and here.
fn begun(project: &Project, task: &str) {
    let begun = project.tmp().join("begun");
    until(LONG, "a job on the workstation", || begun.exists().then_some(()));
    until(LONG, "a job in every pod", || {
        (project.engine().pods_where(task, "test -e \"$WOMM_TMPDIR/begun\"").len() == 2).then_some(())
    });
    let daemons =
        || process::marked(project.mark()).into_iter().filter(|p| p.command.starts_with("sleep 9890")).count();
    assert!(daemons() >= 3, "the local job's own and its daemons are found by their mark");
}

fn killed(how: impl FnOnce(&Running)) -> (Project, Outcome) {
    let project = Engine::under_test().project();
    let mut run = words(&project).start();
    let task = run.task();
    begun(&project, &task);
    how(&run);
    // Its own end is its own affair if it was killed for good; else it comes in time, too.
    let outcome = run.finish();
    project.is_clean();
    (project, outcome)
}

#[test]
fn sigint() {
    let (_project, outcome) = killed(|run| run.signal(Signal::INT));
    outcome.exits(130).task();
}

#[test]
fn sigterm() {
    let (_project, outcome) = killed(|run| run.signal(Signal::TERM));
    outcome.exits(143).task();
}

#[test]
fn sighup() {
    let (_project, outcome) = killed(|run| run.signal(Signal::HUP));
    outcome.exits(129).task();
}

#[test]
fn sigkill() {
    let (_project, outcome) = killed(|run| run.signal(Signal::KILL));
    outcome.exits(137);
}

#[test]
fn sigint_to_the_group() {
    let (_project, outcome) = killed(|run| run.signal_group(Signal::INT));
    outcome.exits(130).task();
}

#[test]
fn sigterm_to_the_group() {
    let (_project, outcome) = killed(|run| run.signal_group(Signal::TERM));
    outcome.exits(143).task();
}

#[test]
fn sighup_to_the_group() {
    let (_project, outcome) = killed(|run| run.signal_group(Signal::HUP));
    outcome.exits(129).task();
}

#[test]
fn sigkill_to_the_group() {
    let (_project, outcome) = killed(|run| run.signal_group(Signal::KILL));
    outcome.exits(137);
}

#[test]
fn a_second_signal_hurries_nothing_into_the_open() {
    let (_project, outcome) = killed(|run| {
        run.signal(Signal::TERM);
        run.signal_group(Signal::INT);
        run.signal_group(Signal::INT);
    });
    outcome.holds("it ends by a signal", [130, 143].contains(&outcome.code())).task();
}

/// The task that a terminal shows.
fn task_on(terminal: &mut Terminal) -> String {
    terminal.until("deployment.apps/womm-task-");
    terminal.until(" created").trim().to_owned()
}

#[test]
fn a_closed_terminal() {
    let project = Engine::under_test().project();
    let mut terminal = Terminal::start(words(&project), 24, 80);
    let task = task_on(&mut terminal);
    begun(&project, &task);
    terminal.close();
    project.is_clean();
    assert_eq!(terminal.finish().0, 129);
}

/// As users have it: a shell in the terminal, `womm parallel` typed there.
fn typed(project: &Project) -> (Terminal, String) {
    let quoted = JOB.replace('\'', "'\\''");
    let line = format!("womm parallel --kube-pods 2 --local-procs 1 -n0 -- '{quoted}' ::: 1 2 3 4 5 6; echo it was $?");
    project.write("line", format!("{line}\n"));
    let mut terminal = Terminal::start(project.cmd("bash").words("--norc --noprofile -i"), 24, 80);
    terminal.keys("PS1='here''> '\n");
    terminal.until("here> ");
    terminal.keys(". ./line\n");
    let task = task_on(&mut terminal);
    begun(project, &task);
    (terminal, task)
}

#[test]
fn a_closed_terminal_with_a_shell_in_it() {
    let project = Engine::under_test().project();
    let (mut terminal, _) = typed(&project);
    terminal.close();
    project.is_clean();
}

#[test]
fn control_c_in_a_terminal() {
    let project = Engine::under_test().project();
    let (mut terminal, task) = typed(&project);
    terminal.keys("\x03");
    terminal.until(&format!("deployment.apps \"womm-task-{task}\" deleted"));
    // bash has seen that a signal ended it, and does not run the rest of the line.
    terminal.until("here> ");
    terminal.keys("exit 0\n");
    terminal.finish();
    project.is_clean();
}

/// Killed for good while pods are being made, at several moments of it.
fn during_start(delays_ms: &[u64], signal: Signal) {
    let project = Engine::under_test().project();
    for delay in delays_ms {
        let run = words(&project).start();
        std::thread::sleep(Duration::from_millis(*delay));
        // The slowest machine may not have made anything yet, the fastest may be done: each moment is one to survive.
        run.signal(signal);
        let outcome = run.finish();
        outcome.holds("it did not succeed", outcome.code() != 0);
        project.is_clean();
    }
}

#[test]
fn sigkill_while_it_starts_early() {
    during_start(&[10, 60, 150, 250], Signal::KILL);
}

#[test]
fn sigkill_while_it_starts_late() {
    during_start(&[400, 600, 900, 1300], Signal::KILL);
}

#[test]
fn sigterm_while_it_starts() {
    during_start(&[30, 200, 500, 1000], Signal::TERM);
}

#[test]
fn sigkill_as_soon_as_the_task_is_said() {
    let project = Engine::under_test().project();
    let mut run = words(&project).start();
    run.task();
    run.signal_group(Signal::KILL);
    run.finish().exits(137);
    project.is_clean();
}

#[test]
fn a_killed_gnu_parallel_is_no_success() {
    let project = Engine::under_test().project();
    let mut run = words(&project).start();
    let task = run.task();
    begun(&project, &task);
    let parallels: Vec<_> = process::marked(project.mark())
        .into_iter()
        .filter(|p| p.command.contains("perl") && p.command.contains("/parallel --ssh"))
        .collect();
    assert!(!parallels.is_empty(), "GNU parallel runs");
    process::kill(&parallels);
    let outcome = run.finish();
    outcome.exits(137).task();
    project.is_clean();
}

#[test]
fn a_stopped_run_goes_on() {
    let project = Engine::under_test().project();
    let mut run = project.parallel(1).words("-k --").arg("sleep 2; echo {}").words("::: 1 2").start();
    run.task();
    run.signal_group(Signal::STOP);
    std::thread::sleep(Duration::from_secs(3));
    run.signal_group(Signal::CONT);
    run.finish().succeeds().writes("1\n2\n").task();
}
