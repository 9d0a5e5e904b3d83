//! Runs beside each other and after each other, in the same folder.

use harness::{Engine, Signal};

#[test]
fn two_runs_at_once_in_the_same_folder() {
    let project = Engine::under_test().project();
    let start = |word: &str| {
        let job = format!("sleep 1; echo {word} {{}} $(uname -n | cut -d- -f3)");
        project.parallel(2).words("-k --").arg(job).words("::: 1 2 3 4").start()
    };
    let (first, second) = (start("one"), start("two"));
    let (first, second) = (first.finish(), second.finish());
    let (one, two) = (first.succeeds().quiet_task(), second.succeeds().quiet_task());
    assert_ne!(one, two);
    let lines = |word: &str, task: &str| (1..=4).map(|n| format!("{word} {n} {task}\n")).collect::<String>();
    first.writes(lines("one", &one));
    second.writes(lines("two", &two));
}

#[test]
fn the_end_of_one_run_is_nothing_to_another() {
    let project = Engine::under_test().project();
    let job = "sleep 3; echo {}";
    let mut long = project.parallel(1).words("-k --").arg(job).words("::: 1 2").start();
    let task = long.task();
    let mut killed = project.parallel(1).words("-k --").arg("sleep 1000").words("::: 1").start();
    killed.task();
    killed.signal(Signal::KILL);
    killed.finish().exits(137);
    project.parallel(1).words("-k -- echo ::: short").run().succeeds().writes("short\n").quiet_task();
    assert_eq!(project.engine().pods(&task).len(), 1, "the long run's pod is there");
    long.finish().succeeds().writes("1\n2\n").quiet_task();
}

#[test]
fn a_run_straight_after_another() {
    let project = Engine::under_test().project();
    let mut tasks = Vec::new();
    for word in ["first", "second", "third"] {
        let run = project.parallel(2).words("-- echo :::").arg(word).run();
        tasks.push(run.succeeds().writes(format!("{word}\n")).quiet_task());
        assert!(project.engine().left(project.root()).is_empty(), "womm returns when its pods are gone");
    }
    tasks.dedup();
    assert_eq!(tasks.len(), 3);
}
