//! The way to the engine's API breaks, by a proxy: as long as the pods are there, no job is lost.

use harness::fault::{NOTES_ITS_BEGIN, Shape, Work, began_once, full_or, is_soak, tell};
use harness::{Engine, LONG, Project, Proxy, joblog, until};
use std::time::{Duration, Instant};

/// Runs jobs through a proxy that something is done to.
fn through(fault: &str, length: Duration, how: impl FnOnce(&mut Work, &Proxy)) {
    let engine = Engine::under_test();
    let project: Project = engine.project();
    let (proxy, (name, value)) = engine.through_proxy(project.root());
    let mut work = Work::start(project, Shape::outlasting(length), |cmd| cmd.env(name, value));
    how(&mut work, &proxy);
    let seen = work.finish();
    seen.none_lost();
    assert_eq!(seen.pods.len(), 5, "all pods stayed: {:?}", seen.pods);
    seen.told(fault);
}

#[test]
fn is_reset_every_second() {
    let length = full_or(12, 60);
    through(
        &format!("every connection to the engine's API is reset each second, for {} s", length.as_secs()),
        length,
        |work, proxy| {
            let since = Instant::now();
            let mut broken = 0;
            while since.elapsed() < length {
                std::thread::sleep(Duration::from_secs(1));
                broken += proxy.reset();
            }
            // Those of five pods; some are being made again at that moment.
            let least = 5 * length.as_secs() as usize / 2;
            assert!(broken >= least, "{broken} connections were there to be reset, not {least}");
            work.goes_on();
        },
    );
}

/// Jobs are sent, begin and end while the streams break that carry them.
#[test]
fn is_reset_while_jobs_begin_and_end() {
    let engine = Engine::under_test();
    let project = engine.project();
    let (proxy, (name, value)) = engine.through_proxy(project.root());
    let count = if is_soak() { 1000 } else { 250 };
    let log = project.at("joblog");
    let job = format!("{NOTES_ITS_BEGIN}; sleep 0.3; echo {{}}; exit $(({{}} % 5))");
    let cmd = project.parallel(5).words("--procs-per-pod 4 -k --joblog").arg(&log).arg("--").arg(job).env(name, value);
    let numbers: String = (1..=count).map(|n| format!("{n}\n")).collect();
    let mut run = cmd.stdin(numbers.clone()).deadline(LONG * 4).start();
    run.task();
    let lines = || std::fs::read_to_string(&log).map_or(0, |text| text.lines().count());
    let mut broken = 0;
    run.until("the last job", |_| {
        std::thread::sleep(Duration::from_secs(1));
        broken += proxy.reset();
        (lines() > count).then_some(())
    });
    let out = run.finish();
    out.task();
    out.writes(numbers);
    let codes: Vec<i32> = (1..=count).map(|n| i32::try_from(n % 5).unwrap()).collect();
    assert_eq!(joblog::codes(&log), codes);
    assert!(broken > 5 * 5, "{broken} connections were reset");
    assert!(began_once(&project).is_none_or(|began| began == count), "every job runs once");
    let what = "every connection to the engine's API is reset each second, while jobs of 0.3 s come and go";
    tell(&project, what, &out.other_stderr(), &format!("{count} jobs whole, with their own codes"));
    // It looks whether anything is left, and the run's guard has the engine only by the proxy.
    drop(project);
}

#[test]
fn is_silent() {
    let length = full_or(20, 60);
    through(
        &format!("nothing passes to or from the engine's API for {} s", length.as_secs()),
        length,
        |work, proxy| {
            proxy.hold();
            work.stands_still();
            std::thread::sleep(length);
            proxy.pass();
            work.goes_on();
        },
    );
}

#[test]
fn is_refused() {
    let length = full_or(12, 60);
    through(&format!("the engine's API refuses connections for {} s", length.as_secs()), length, |work, proxy| {
        let before = proxy.most_open();
        proxy.refuse();
        work.stands_still();
        std::thread::sleep(length);
        proxy.most_open();
        proxy.pass();
        work.goes_on();
        // On a machine that is busy, tries beside a slow first one: up to four a pod, as womm-sshlogins has it.
        let (after, most) = (proxy.most_open(), before + 3 * 5);
        assert!(after <= most, "{after} connections were open at once when it was back, {before} before");
        until(LONG, "no more connections than before", || {
            proxy.most_open();
            (proxy.most_open() <= before).then_some(())
        });
    });
}

/// Some 2 s there and back, as no satellite has it.
#[test]
fn is_slow() {
    let length = Duration::from_secs(6);
    through("every piece takes 1 s more, each way", length, |work, proxy| {
        let each_way = Duration::from_secs(1);
        proxy.delay(each_way);
        // That it is felt, not how fast anything is.
        let since = Instant::now();
        work.project().ssh().words("w001 true").run().succeeds();
        let took = since.elapsed();
        assert!(took >= 2 * each_way, "there and back took {took:?}");
        std::thread::sleep(length);
        work.goes_on();
        proxy.pass();
    });
}
