//! GNU parallel with pods as its hosts, beside GNU parallel without and beside kubectl, on a real cluster: jobs a second, CPU and
//! latency of one job, start to first output. One run, each measurement beside its peer's, median of five with the
//! spread; a table on stdout, JSON in the file that WOMM_BENCH_JSON names. `tests/bench dispatch` brings up what it needs. Wants a
//! quiet machine.

#![allow(clippy::print_stdout)] // the table is what it is for

mod fake_pods;
mod parts;
mod report;
mod ways;

use fake_pods::Fake;
use harness::{Cmd, Engine, LONG, Project, Running, kubectl_command, tool, until};
use parts::Part;
use report::{Report, Sample};
use std::cell::LazyCell;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use ways::{TICKS, Way};

const ROUNDS: usize = 5;
/// Jobs of a round, and where they run.
const JOBS: usize = 1200;
const PODS: u32 = 4;
const SLOTS: u32 = 4;

/// An ssh for GNU parallel that runs the command here.
const HERE: &str = "#!/bin/sh\nshift\n[ \"$1\" != -- ] || shift\nexec sh -c \"$*\"\n";

/// A shell for GNU parallel that thinks it runs its jobs here, and that runs them in the pods: no perl around the job there.
fn pod_shell(project: &Project, slots: u32) -> PathBuf {
    let host = format!("w$(printf %03d $(((PARALLEL_JOBSLOT - 1) / {slots} + 1)))");
    project.tool("pod-shell", &format!("#!/bin/sh\nexec womm-ssh \"{host}\" -- \"$2\"\n"))
}

fn rates(report: &mut Report, project: &Project) {
    let slots = (PODS * SLOTS).to_string();
    let mut ours = Way::new("womm parallel");
    let mut by_ssh = Way::new("GNU parallel, an ssh that runs it here");
    let mut nothing = Way::new("GNU parallel, an ssh that only exits 0");
    let mut local = Way::new("GNU parallel, local");
    let mut as_shell = Way::new("by `PARALLEL_SHELL`, tried");
    let shell = pod_shell(project, SLOTS);
    let hosts: Vec<String> = (1..=PODS).map(|number| format!("{SLOTS}/w{number:03}")).collect();
    let over = |ssh: PathBuf| project.cmd("parallel").arg("--ssh").arg(ssh).args(["-S", &hosts.join(",")]);
    for _ in 0..ROUNDS {
        let run = project.parallel(PODS).args(["--procs-per-pod", &SLOTS.to_string()]);
        ours.measure(project, run, "true", JOBS);
        by_ssh.measure(project, over(project.tool("here", HERE)), "true", JOBS);
        nothing.measure(project, over(project.tool("nothing", "#!/bin/sh\n")), "true", JOBS);
        local.measure(project, project.cmd("parallel").args(["-j", &slots]), "true", JOBS);
        // Pods that a run of its own keeps, with a slot more for the job that does.
        let idle = Idle::start(project, PODS, SLOTS + 1);
        let run = project.cmd("parallel").env("PARALLEL_SHELL", &shell).env("WOMM_RUN", &idle.folder);
        as_shell.measure(project, run.args(["-j", &slots]), "true", JOBS);
        idle.end();
    }
    let what = format!("jobs of `true`, {PODS} pods × {SLOTS}");
    ours.beside(&by_ssh, report, &what, "≥ 0.9");
    ours.beside(&nothing, report, &what, "said");
    ours.beside(&local, report, &what, "said");
    by_ssh.beside(&nothing, report, &what, "said");
    as_shell.beside(&local, report, &what, "≥ 0.8");
}

/// A thousand slots, in pods that cost nothing: what is measured is GNU parallel and what of ours is on the workstation. An ssh that
/// sleeps by itself has nothing of ours: what it does not reach, GNU parallel's way with hosts is the cause of.
fn thousand(report: &mut Report) {
    const PODS: u32 = 10;
    const SLOTS: u32 = 100;
    const JOBS: usize = 3000;
    let project = Project::without_engine();
    let mut ours = Way::new("GNU parallel over womm-ssh");
    let mut local = Way::new("GNU parallel, local");
    let mut by_ssh = Way::new("GNU parallel, an ssh that only sleeps");
    let mut as_shell = Way::new("by `PARALLEL_SHELL`");
    let (shell, ssh) = (pod_shell(&project, SLOTS), project.tool("sleeps", "#!/bin/sh\nexec sleep 2\n"));
    let slots = (PODS * SLOTS).to_string();
    // GNU parallel has files open for each job, and takes fewer at once if they are too many.
    let files = |run: Cmd| run.by("sh", &["-c", "ulimit -n \"$(ulimit -Hn)\" && exec \"$@\"", "sh"]);
    for _ in 0..2 {
        let fake = Fake::start(&project, PODS, SLOTS, Duration::from_secs(2));
        ours.measure(&project, files(fake.parallel(&project)), "sleep 2", JOBS);
        let run = project.cmd("parallel").env("PARALLEL_SHELL", &shell).env("WOMM_RUN", &fake.folder);
        as_shell.measure(&project, files(run.args(["-j", &slots])), "sleep 2", JOBS);
        let run = project.cmd("parallel").arg("--ssh").arg(&ssh).arg("--sshloginfile").arg(fake.sshloginfile());
        by_ssh.measure(&project, files(run), "sleep 2", JOBS);
        fake.end();
        local.measure(&project, files(project.cmd("parallel").args(["-j", &slots])), "sleep 2", JOBS);
    }
    let what = format!("{JOBS} jobs of 2 s, {slots} slots in {PODS} fake pods");
    ours.beside(&local, report, &what, "≥ 0.95");
    ours.beside(&by_ssh, report, &what, "said");
    as_shell.beside(&local, report, &what, "said");
    as_shell.beside(&ours, report, &what, "said");
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

/// A run whose own job does nothing, so that its pods can be used from outside.
struct Idle {
    run: Running,
    folder: PathBuf,
    pod: String,
}

impl Idle {
    fn start(project: &Project, pods: u32, procs: u32) -> Self {
        let run =
            project.parallel(pods).args(["--procs-per-pod", &procs.to_string(), "--", "sleep", "1000", ":::", "1"]);
        let mut run = run.deadline(Duration::from_secs(900)).start();
        let task = run.task();
        let folder = project.run_folders().pop().expect("of the run");
        for number in 1..=pods {
            // The run's socket comes after the task; then womm-ssh waits for the place's pod.
            let mut there = Command::new(harness::project::programs().join("womm-ssh"));
            there.args([&format!("w{number:03}"), "--", "true"]).env("WOMM_RUN", &folder).stdin(Stdio::null());
            there.stderr(Stdio::null());
            until(LONG, "each host", || there.status().expect("can be run").success().then_some(()));
        }
        let pod = Engine::Kube.pods(&task).pop().expect("it runs").name;
        Self { run, folder, pod }
    }

    fn womm(&self, script: &str) -> Command {
        let mut command = Command::new(harness::project::programs().join("womm-ssh"));
        command.args(["w001", "--", script]).env("WOMM_RUN", &self.folder).stdin(Stdio::null());
        command
    }

    fn kubectl(&self, script: &str) -> Command {
        let mut command = kubectl_command(&["exec", &self.pod, "--", "sh", "-c", script]);
        command.stdin(Stdio::null());
        command
    }

    fn end(self) {
        self.run.signal(harness::Signal::INT);
        self.run.finish();
    }
}

fn one_job(report: &mut Report, project: &Project) {
    let idle = Idle::start(project, 1, 2);
    let marked = harness::process::marked(project.mark());
    // By the program, or by the script that a shell runs.
    let is_ours = |process: &&harness::process::Process| {
        let mut names = process.command.split(' ').take(2).filter_map(|word| word.rsplit('/').next());
        names.any(|name| name.starts_with("womm"))
    };
    let servers: Vec<i32> = marked.iter().filter(is_ours).map(|process| process.pid).collect();
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
    let (cpu_ours, latency_ours) = measure(&|| idle.womm("true"), &servers, 100);
    let (cpu_theirs, latency_theirs) = measure(&|| idle.kubectl("true"), &[], 10);
    let mut row = |what: &str, ours: Sample, theirs: Sample, aim: &str| {
        let ratio = format!("1/{:.0}", theirs.median() / ours.median());
        report.row(what, format!("{} ms", ours.text(2)), format!("kubectl exec {} ms", theirs.text(1)), ratio, aim);
    };
    row("CPU here of `womm-ssh w001 true`", cpu_ours, cpu_theirs, "≤ 1/20");
    row("time of `womm-ssh w001 true`", latency_ours, latency_theirs, "≤ 1/10");
    hashed(report, &idle);
    idle.end();
}

/// What a hundred megabytes of a job's stdout come to, and that they come unharmed.
fn hashed(report: &mut Report, idle: &Idle) {
    let (piece, pieces) = (64_000, 1563);
    let bytes = piece * pieces;
    let words = piece / 64;
    let script =
        format!("perl -e 'srand 7; print pack(\"N*\", map {{ int rand 2**32 }} 1..16) x {words} for 1..{pieces}'");
    let run = |mut command: Command| {
        let begun = Instant::now();
        let output = command.stderr(Stdio::null()).output().expect("can be run");
        (begun.elapsed().as_secs_f64(), output.status.success().then(|| digest(&output.stdout)))
    };
    let expected = digest(&Command::new("sh").args(["-c", &script]).output().expect("can be run").stdout);
    let (mut ours, mut theirs, mut torn) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let (took, digest) = run(idle.womm(&script));
        assert_eq!(digest.as_ref(), Some(&expected));
        ours.push(f64::from(bytes) / 1e6 / took);
        let (took, digest) = run(idle.kubectl(&script));
        torn += usize::from(digest.as_ref() != Some(&expected));
        theirs.push(f64::from(bytes) / 1e6 / took);
    }
    let (ours, theirs) = (Sample::of(ours), Sample::of(theirs));
    let ratio = format!("{:.2}", ours.median() / theirs.median());
    let beside = format!("kubectl exec {} MB/s, {torn} of {ROUNDS} harmed", theirs.text(0));
    report.row("100 MB of stdout, hash checked", format!("{} MB/s", ours.text(0)), beside, ratio, "≥ 1");
}

fn digest(bytes: &[u8]) -> String {
    let mut sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("can be run");
    sum.stdin.take().expect("piped").write_all(bytes).expect("it reads");
    String::from_utf8_lossy(&sum.wait_with_output().expect("waited for").stdout).into_owned()
}

/// From nothing to the first output of a job, and to all pods being Ready, seconds.
fn start(report: &mut Report, project: &Project, cold: bool) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let image = project.womm_file()["image"].as_str().expect("setup wrote it").to_owned();
    for round in 0..ROUNDS {
        if cold {
            forget_images();
        }
        let begun = Instant::now();
        // By line, so that the output is seen before the job has ended, and the run goes on until it was seen.
        let run = project.parallel(PODS).args(["--line-buffer", "--", "echo", "out;", "sleep", "60", ":::"]);
        let mut run = run.args(["1", "2", "3", "4"]).deadline(Duration::from_secs(120)).start();
        run.until("the first output", |run| (!run.stdout().is_empty()).then_some(()));
        ours.push(begun.elapsed().as_secs_f64());
        run.signal(harness::Signal::INT);
        run.finish();
        if cold {
            forget_images();
        }
        let begun = Instant::now();
        let name = format!("bench-{round}-{cold}");
        let replicas = format!("--replicas={PODS}");
        // It ends when it is told to: what is measured next is not to wait for it.
        let idle = "trap exit TERM; sleep 1000 & wait";
        Engine::kubectl(&["create", "deployment", &name, "--image", &image, &replicas, "--", "sh", "-c", idle]);
        Engine::kubectl(&["rollout", "status", "deployment", &name]);
        theirs.push(begun.elapsed().as_secs_f64());
        Engine::kubectl(&["delete", "deployment", &name]);
        Engine::kubectl(&["wait", "pod", "--for=delete", "--timeout=60s", "-l", &format!("app={name}")]);
    }
    let (ours, theirs) = (Sample::of(ours), Sample::of(theirs));
    let ratio = format!("{:.2}", ours.median() / theirs.median());
    let beside = format!("kubectl create deployment, rollout status {} s", theirs.text(2));
    let when = if cold { "the image not on the nodes" } else { "straight after a run" };
    report.row(&format!("start to first output, {when}"), format!("{} s", ours.text(2)), beside, ratio, "≤ 1.2");
}

/// The nodes have no image but those of their own daemons.
fn forget_images() {
    let script = "ctr -n k8s.io images ls -q | grep -v pause | xargs -r ctr -n k8s.io images rm --sync";
    for (node, _) in harness::machines::nodes() {
        tool(&std::env::var("WOMM_TEST_CLUSTER").expect("tests/bench sets it"), ["exec", &node, "sh", "-c", script]);
    }
}

/// What is measured, by the names that `tests/bench dispatch` takes.
const PARTS: [(&str, Part<LazyCell<Project>>); 5] = [
    ("job", |report, project| one_job(report, project)),
    ("start", |report, project| start(report, project, false)),
    ("cold", |report, project| start(report, project, true)),
    ("rates", |report, project| rates(report, project)),
    // On no engine.
    ("thousand", |report, _| thousand(report)),
];

fn main() -> ExitCode {
    parts::run(&PARTS, &LazyCell::new(|| Engine::Kube.project()))
}
