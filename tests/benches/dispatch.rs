//! GNU parallel with pods as its hosts, beside GNU parallel without and beside kubectl, on a real cluster: jobs a second, CPU and
//! latency of one job, start to first output. One run, each measurement beside its peer's, median of five with the
//! spread; a table on stdout, JSON in the file that WOMM_BENCH_JSON names. `tests/bench dispatch` brings up what it needs. Wants a
//! quiet machine.

#![allow(clippy::print_stdout)] // the table is what it is for

mod report;

use harness::{Cmd, Engine, Project, joblog, tool};
use report::{Report, Sample};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
/// Jobs of a round, and where they run.
const JOBS: usize = 400;
const PODS: u32 = 4;
const SLOTS: u32 = 4;
/// The kernel's clock ticks of /proc/PID/stat (proc(5)), a second.
const TICKS: f64 = 100.0;

/// Jobs a second, from the start of the first to the end of the last: what starts and ends a run is measured apart.
fn rate(project: &Project, run: Cmd) -> f64 {
    let log = project.at("joblog");
    let _ = std::fs::remove_file(&log);
    let jobs: Vec<String> = (0..JOBS).map(|number| number.to_string()).collect();
    let run = run.arg("--joblog").arg(&log).args(["--", "true", ":::"]).args(jobs);
    run.deadline(Duration::from_secs(300)).run().exits(0);
    let jobs = joblog::read(&log);
    assert_eq!(jobs.len(), JOBS);
    let text = std::fs::read_to_string(&log).expect("written");
    let times = text.lines().skip(1).map(|line| {
        let mut words = line.split('\t').skip(2).map(|word| word.trim().parse::<f64>().expect("a number"));
        (words.next().expect("a start"), words.next().expect("a duration"))
    });
    let (first, last) =
        times.fold((f64::MAX, 0f64), |(first, last), (start, took)| (first.min(start), last.max(start + took)));
    JOBS as f64 / (last - first)
}

fn rates(report: &mut Report, project: &Project) {
    let slots = (PODS * SLOTS).to_string();
    let (mut ours, mut by_ssh, mut local) = (Vec::new(), Vec::new(), Vec::new());
    let stand_in = project.tool("stand-in", "#!/bin/sh\nshift\n[ \"$1\" != -- ] || shift\nexec sh -c \"$*\"\n");
    for _ in 0..ROUNDS {
        ours.push(rate(project, project.parallel(PODS).args(["--procs-per-pod", &SLOTS.to_string()])));
        let hosts: Vec<String> = (1..=PODS).map(|number| format!("{SLOTS}/w{number:03}")).collect();
        let ssh = project.cmd("parallel").arg("--ssh").arg(&stand_in).args(["-S", &hosts.join(",")]);
        by_ssh.push(rate(project, ssh));
        local.push(rate(project, project.cmd("parallel").args(["-j", &slots])));
    }
    let (ours, by_ssh, local) = (Sample::of(ours), Sample::of(by_ssh), Sample::of(local));
    for (beside, name, aim) in
        [(by_ssh, "parallel, an ssh that runs it here", "≥ 0.9"), (local, "parallel, local", "said")]
    {
        let ratio = format!("{:.2}", ours.median() / beside.median());
        let theirs = format!("{name}: {} jobs/s", beside.text(0));
        report.row(
            &format!("jobs of `true`, {PODS} pods × {SLOTS}"),
            format!("{} jobs/s", ours.text(0)),
            theirs,
            ratio,
            aim,
        );
    }
}

/// CPU of children that were waited for, and of processes that serve them, seconds.
fn cpu(servers: &[i32]) -> f64 {
    let ticks = |stat: &str, fields: [usize; 2]| {
        let rest = stat.rsplit_once(')').expect("proc(5)").1;
        let words: Vec<&str> = rest.split_whitespace().collect();
        fields.iter().map(|field| words[*field].parse::<f64>().expect("a number")).sum::<f64>()
    };
    let read = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let own = ticks(&read("self"), [13, 14]); // cutime and cstime
    let served: f64 = servers.iter().map(|pid| ticks(&read(&pid.to_string()), [11, 12])).sum();
    (own + served) / TICKS
}

fn one_job(report: &mut Report, project: &Project) {
    let mut run = project
        .parallel(1)
        .args(["--procs-per-pod", "2", "--", "sleep", "1000", ":::", "1"])
        .deadline(Duration::from_secs(600))
        .start();
    let task = run.task();
    let folder = project.run_folders().pop().expect("of the run");
    let womm = || {
        let mut command = Command::new(harness::project::programs().join("womm-ssh"));
        command.args(["w001", "--", "true"]).env("WOMM_RUN", &folder).stdin(Stdio::null());
        command
    };
    assert!(womm().status().expect("can be run").success());
    let pod = Engine::Kube.pods(&task).pop().expect("it runs").name;
    let kubectl = || {
        let mut command = Command::new(std::env::var("WOMM_TEST_KUBECTL").unwrap_or_else(|_| "kubectl".into()));
        let kubeconfig = std::env::var("WOMM_TEST_KUBECONFIG").expect("tests/bench sets it");
        command.args(["--kubeconfig", &kubeconfig, "exec", &pod, "--", "true"]).stdin(Stdio::null());
        command
    };
    let marked = harness::process::marked(project.mark());
    let servers: Vec<i32> = marked.iter().filter(|p| p.command.contains("womm-sshlogins")).map(|p| p.pid).collect();
    let measure = |command: &dyn Fn() -> Command, servers: &[i32], count: usize| {
        let (mut took, mut spent) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let before = cpu(servers);
            for _ in 0..count {
                let begun = Instant::now();
                assert!(command().status().expect("can be run").success());
                took.push(begun.elapsed().as_secs_f64() * 1e3);
            }
            spent.push((cpu(servers) - before) * 1e3 / count as f64);
        }
        (Sample::of(spent), Sample::of(took))
    };
    let (cpu_ours, latency_ours) = measure(&womm, &servers, 100);
    let (cpu_theirs, latency_theirs) = measure(&kubectl, &[], 10);
    let mut row = |what: &str, ours: Sample, theirs: Sample, aim: &str| {
        let ratio = format!("1/{:.0}", theirs.median() / ours.median());
        report.row(what, format!("{} ms", ours.text(2)), format!("kubectl exec {} ms", theirs.text(1)), ratio, aim);
    };
    row("CPU here of `womm-ssh w001 true`", cpu_ours, cpu_theirs, "≤ 1/20");
    row("time of `womm-ssh w001 true`", latency_ours, latency_theirs, "≤ 1/10");
    run.signal(harness::Signal::INT);
    run.finish();
}

/// From nothing to the first output of a job, and to all pods being Ready, seconds.
fn start(report: &mut Report, project: &Project) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let image = project.womm_file()["image"].as_str().expect("setup wrote it").to_owned();
    for round in 0..ROUNDS {
        let begun = Instant::now();
        // By line, so that the output is seen before the job has ended, and the run goes on until it was seen.
        let run = project.parallel(PODS).args(["--line-buffer", "--", "echo", "out;", "sleep", "60", ":::"]);
        let mut run = run.args(["1", "2", "3", "4"]).deadline(Duration::from_secs(120)).start();
        run.until("the first output", |run| (!run.stdout().is_empty()).then_some(()));
        ours.push(begun.elapsed().as_secs_f64());
        run.signal(harness::Signal::INT);
        run.finish();
        let name = format!("bench-{round}");
        let begun = Instant::now();
        let replicas = format!("--replicas={PODS}");
        let kubectl = |args: &[&str]| {
            let kubeconfig = std::env::var("WOMM_TEST_KUBECONFIG").expect("tests/bench sets it");
            let program = std::env::var("WOMM_TEST_KUBECTL").unwrap_or_else(|_| "kubectl".into());
            tool(&program, ["--kubeconfig", &kubeconfig].iter().chain(args));
        };
        kubectl(&["create", "deployment", &name, "--image", &image, &replicas, "--", "sleep", "1000"]);
        kubectl(&["rollout", "status", "deployment", &name]);
        theirs.push(begun.elapsed().as_secs_f64());
        kubectl(&["delete", "deployment", &name, "--grace-period=0", "--force"]);
    }
    let (ours, theirs) = (Sample::of(ours), Sample::of(theirs));
    let ratio = format!("{:.2}", ours.median() / theirs.median());
    let beside = format!("kubectl create deployment, rollout status {} s", theirs.text(2));
    report.row("start to first output, straight after a run", format!("{} s", ours.text(2)), beside, ratio, "≤ 1.2");
}

fn main() {
    let project = Engine::Kube.project();
    let mut report = Report::default();
    one_job(&mut report, &project);
    start(&mut report, &project);
    rates(&mut report, &project);
    report.print();
}
