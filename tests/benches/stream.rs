//! The stream to a pod beside `kubectl exec`, on a real cluster: throughput, latency under load, memory, recovery after a
//! cut. One run, each measurement beside its peer's, median of five with the spread; a table on stdout, JSON in the file that
//! WOMM_BENCH_JSON names. `tests/bench stream` brings up what it needs. Wants a quiet machine.

#![allow(clippy::print_stdout)] // the table is what it is for

mod parts;
mod report;

use harness::{Engine, LONG, Pod, Project, Running, kubectl_command, until};
use parts::Part;
use report::{Report, Sample};
use std::cell::LazyCell;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const MIB: u64 = 1 << 20;

/// Slots of each pod: a run's own job takes one, those of the measurements are to find others free.
const SLOTS: u32 = 128;

/// A run whose pods do nothing, to be used as GNU parallel uses them.
struct Idle {
    project: Project,
    run: Running,
    pods: Vec<Pod>,
}

impl Idle {
    fn start(pods: u32) -> Self {
        let project = Engine::Kube.project();
        let options = format!("--kube-mem 512Mi --procs-per-pod {SLOTS} -- sleep 3600 {{#}} :::");
        let mut run = project.parallel(pods).words(&options).arg("1").deadline(Duration::from_secs(3600)).start();
        let task = run.task();
        let up = || Some(Engine::Kube.pods(&task)).filter(|up| up.len() == pods as usize);
        let pods = until(LONG, "all pods", up);
        let idle = Self { project, run, pods };
        // The last pod of the list may still be on its way: a job on each host says that all are there.
        for number in 1..=idle.pods.len() {
            let host = format!("w{number:03}");
            until(LONG, "each host", || idle.womm(&host, "true").status().ok()?.success().then_some(()));
        }
        idle
    }

    fn womm(&self, host: &str, script: &str) -> Command {
        let mut command = Command::new(harness::project::programs().join("womm-ssh"));
        command.arg(host).arg("--").arg(script).env("WOMM_RUN", &self.project.run_folders()[0]).stdin(Stdio::null());
        command
    }

    fn kubectl(&self, script: &str) -> Command {
        let mut command = kubectl_command(&["exec", &self.pods[0].name, "--", "sh", "-c", script]);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.run.signal(harness::Signal::INT);
        until(LONG, "the end of the run", || self.run.has_ended().then_some(()));
    }
}

/// How long programs that run at once take to write so much each, and how many wrote less or failed.
fn seconds(commands: Vec<Command>, bytes: u64) -> (f64, usize) {
    let begun = Instant::now();
    let children: Vec<Child> =
        commands.into_iter().map(|mut c| c.stdout(Stdio::piped()).spawn().expect("can be run")).collect();
    let readers: Vec<_> = children
        .into_iter()
        .map(|mut child| {
            std::thread::spawn(move || {
                let count = std::io::copy(&mut child.stdout.take().expect("piped"), &mut std::io::sink());
                count.expect("read") == bytes && child.wait().expect("waited for").success()
            })
        })
        .collect();
    let whole = readers.into_iter().map(|reader| reader.join().expect("no panic"));
    let torn = whole.filter(|whole| !whole).count();
    (begun.elapsed().as_secs_f64(), torn)
}

/// Until the first byte, milliseconds.
fn first_byte(mut command: Command) -> f64 {
    let begun = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().expect("can be run");
    let mut byte = [0];
    child.stdout.take().expect("piped").read_exact(&mut byte).expect("a byte");
    let took = begun.elapsed().as_secs_f64() * 1e3;
    assert!(child.wait().expect("waited for").success());
    took
}

fn throughput(report: &mut Report, idle: &Idle) {
    let script = |mib: u64| format!("head -c {} /dev/zero", mib * MIB);
    for (what, jobs, mib) in [("stdout of one job", 1, 200), ("stdout of 50 jobs over one pod", 50, 8)] {
        let bytes = mib * MIB;
        let (mut ours, mut theirs, mut torn) = (Vec::new(), Vec::new(), 0);
        let rate = |seconds: f64| (mib * jobs) as f64 / seconds;
        for _ in 0..ROUNDS {
            let (took, none) = seconds((0..jobs).map(|_| idle.womm("w001", &script(mib))).collect(), bytes);
            assert_eq!(none, 0, "outputs that were not whole");
            ours.push(rate(took));
            let (took, some) = seconds((0..jobs).map(|_| idle.kubectl(&script(mib))).collect(), bytes);
            theirs.push(rate(took));
            torn += some;
        }
        let (ours, theirs) = (Sample::of(ours), Sample::of(theirs));
        let ratio = format!("{:.2}", ours.median() / theirs.median());
        let mut beside = format!("kubectl exec {} MiB/s", theirs.text(0));
        if torn > 0 {
            // kubernetes#124571: it may end early, and says nothing.
            beside += &format!(", {torn} of {} outputs not whole", jobs * ROUNDS as u64);
        }
        report.row(what, format!("{} MiB/s", ours.text(0)), beside, ratio, "≥ 1");
    }
}

fn latency(report: &mut Report, idle: &Idle) {
    let sample = || Sample::of((0..40).map(|_| first_byte(idle.womm("w001", "echo x"))).collect());
    let kubectl = Sample::of((0..10).map(|_| first_byte(idle.kubectl("echo x"))).collect());
    let alone = sample();
    let beside = |mut flood: Command| {
        let mut flood = flood.stdout(Stdio::null()).spawn().expect("can be run");
        std::thread::sleep(Duration::from_secs(1));
        let beside = sample();
        assert!(flood.try_wait().expect("waited for").is_none(), "the flood goes on");
        flood.kill().expect("it runs");
        let _ = flood.wait();
        beside
    };
    let flood = "cat /dev/zero";
    let (flooded, loaded) = (beside(idle.womm("w001", flood)), beside(idle.kubectl(flood)));
    let ratio = format!("{:.3}", alone.median() / kubectl.median());
    let theirs = format!("kubectl exec {} ms", kubectl.text(0));
    report.row("first byte of a job", format!("{} ms", alone.text(1)), theirs, ratio, "≤ 0.1");
    let more = |than: &Sample| format!("{:+.1} ms", flooded.median() - than.median());
    let ours = format!("{} ms", flooded.text(1));
    let mut row = |than: &Sample, beside: &str, aim| {
        report.row(
            "the same while a sibling floods",
            ours.clone(),
            format!("{beside} {} ms", than.text(1)),
            more(than),
            aim,
        );
    };
    row(&alone, "without it", "≤ 5 ms more");
    // It has a connection of its own: what is slow then is slow because the machine is busy.
    row(&loaded, "while kubectl exec floods instead", "said");
}

/// Resident memory, KiB.
fn resident(status: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("of a process that lives");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}

fn logins_memory(idle: &Idle) -> f64 {
    let marked = harness::process::marked(idle.project.mark());
    let logins = marked.iter().find(|p| p.command.contains("womm-sshlogins")).expect("it runs");
    resident(&std::fs::read_to_string(format!("/proc/{}/status", logins.pid)).expect("it runs"))
}

fn agent_memory(idle: &Idle) -> f64 {
    resident(&Engine::Kube.inside(&idle.pods[0], "cat /proc/1/status").expect("it runs"))
}

fn memory(report: &mut Report) {
    let (few, many, jobs) = (1, 9, 100);
    let idle = Idle::start(few);
    let (logins_few, agent_few) = (logins_memory(&idle), agent_memory(&idle));
    let mut sleepers: Vec<Child> =
        (0..jobs).map(|_| idle.womm("w001", "sleep 1000").spawn().expect("can be run")).collect();
    std::thread::sleep(Duration::from_secs(3));
    let (logins_jobs, agent_jobs) = (logins_memory(&idle), agent_memory(&idle));
    for sleeper in &mut sleepers {
        sleeper.kill().expect("it runs");
        let _ = sleeper.wait();
    }
    drop(idle);
    let idle = Idle::start(many);
    let logins_many = logins_memory(&idle);
    drop(idle);
    let mut row = |what: &str, kib: f64, how: &str| {
        report.row(what, format!("{kib:.0} KiB"), how.into(), String::new(), "said");
    };
    row("womm-sshlogins, one pod", logins_few, "resident");
    row("  for each further pod", (logins_many - logins_few) / f64::from(many - few), "9 pods less 1, by 8");
    row("  for each job", (logins_jobs - logins_few) / f64::from(jobs), "100 jobs that sleep, by 100");
    row("womm-agent serve, no job of ours", agent_few, "resident");
    row("  for each job", (agent_jobs - agent_few) / f64::from(jobs), "without its supervisor, a process of its own");
}

/// How long after a cut is healed the next line of a job arrives, and a new TCP connection between the API server's machine and
/// the pod's node: for these two the outage lasts until ARP's next question, which comes once a second. All in seconds.
fn recovery(report: &mut Report, idle: &Idle) {
    let address = kubectl_command(&["get", "pod", &idle.pods[0].name, "-o", "jsonpath={.status.hostIP}"]).output();
    let address = String::from_utf8(address.expect("can be run").stdout).expect("an address");
    let connects = format!("timeout 0.1 bash -c 'exec 3<>/dev/tcp/{address}/10250' 2>&-");
    for cut in [5, 20] {
        let (mut outputs, mut connections, mut more) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let script = "while :; do echo x; sleep 0.01; done";
            let mut child = idle.womm("w001", script).stdout(Stdio::piped()).spawn().expect("can be run");
            let stdout = BufReader::new(child.stdout.take().expect("piped"));
            let arrivals = std::thread::spawn(move || {
                let lines = stdout.lines().map_while(Result::ok);
                lines.map(|_| Instant::now()).collect::<Vec<_>>()
            });
            std::thread::sleep(Duration::from_secs(2));
            on_nodes("cut");
            let (until_healed, connects) = (Duration::from_secs(cut), connects.clone());
            let connected = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(1));
                let until = format!("until {connects}; do :; done");
                let done = cluster().args(["exec", "control", "bash", "-c", &until]).status().expect("can be run");
                assert!(done.success(), "{until}");
                Instant::now()
            });
            std::thread::sleep(until_healed);
            on_nodes("heal");
            let healed = Instant::now();
            std::thread::sleep(Duration::from_secs(12));
            child.kill().expect("it runs");
            let _ = child.wait();
            let connected = connected.join().expect("it succeeds").saturating_duration_since(healed).as_secs_f64();
            let arrivals = arrivals.join().expect("read");
            let next = arrivals.iter().find(|at| **at > healed).expect("it goes on within 12 s");
            let next = next.duration_since(healed).as_secs_f64();
            outputs.push(next);
            connections.push(connected);
            more.push(next - connected);
        }
        let [ours, beside, more] = [outputs, connections, more].map(Sample::of);
        report.row(
            &format!("next output after all nodes were cut for {cut} s"),
            format!("{} s", ours.text(2)),
            format!("a TCP connection, tried all the time: {} s", beside.text(2)),
            format!("{:+.2} s", more.median()),
            "≤ 1 s more",
        );
    }
}

fn cluster() -> Command {
    Command::new(std::env::var("WOMM_TEST_CLUSTER").expect("tests/bench sets it"))
}

fn on_nodes(verb: &str) {
    for node in ["node1", "node2", "node3"] {
        let done = cluster().args([verb, node]).status().expect("can be run");
        assert!(done.success(), "{verb} {node}");
    }
}

/// What is measured, by the names that `tests/bench stream` takes.
const PARTS: [(&str, Part<LazyCell<Idle>>); 4] = [
    ("throughput", |report, idle| throughput(report, idle)),
    ("latency", |report, idle| latency(report, idle)),
    ("recovery", |report, idle| recovery(report, idle)),
    // In runs of its own.
    ("memory", |report, _| memory(report)),
];

fn main() -> ExitCode {
    parts::run(&PARTS, &LazyCell::new(|| Idle::start(1)))
}
