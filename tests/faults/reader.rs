//! A reader of the output that stops for a while: the jobs stand still, as with a pipe, and nothing fills up.

use harness::fault::{full_or, tell};
use harness::{Engine, LONG, Pod, joblog, process, tool, until};
use std::fs;
use std::path::Path;

/// What a program may take while nobody takes its output, MiB: its own size, and some buffers of 1 to 2 MiB.
const MOST_MIB: u64 = 48;
/// What a job writes, MiB: much more than that.
const WRITTEN_MIB: u64 = 256;

fn noise() -> String {
    format!("perl -e 'srand 7; $x = pack \"N*\", map {{int rand 2**32}} 1 .. 262144; print $x for 1 .. {WRITTEN_MIB}'")
}

/// The most memory that a process has had, MiB, as /proc/PID/status says it.
fn most_mib(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says it");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}

/// The pid of `womm-agent connect` in a pod, which bridges the connection to it, and the most memory that it has had.
/// None: there is no connection.
fn bridge(engine: Engine, pod: &Pod) -> Option<(u32, u64)> {
    let script = r#"for p in /proc/[0-9]*; do
        case $(tr '\0' ' ' <$p/cmdline 2>/dev/null) in *womm-agent\ connect\ *) echo "${p#/proc/}"; cat $p/status ;; esac
        done"#;
    let said = engine.inside(pod, script)?;
    let numbers: Vec<u32> = said.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(numbers.len() < 2, "one connection to {pod:?}, not those of {numbers:?}");
    Some((*numbers.first()?, most_mib(&said)))
}

fn sum(path: &Path) -> String {
    tool("cksum", [path]).split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn that_stops_and_goes_on() {
    let length = full_or(15, 60);
    let engine = Engine::under_test();
    let project = engine.project();
    let local = project.sh(&noise()).run();
    project.write("job", noise());
    // With -u the output does not go through files of GNU parallel's, which would take all of it.
    let script = "
        { womm parallel --kube-pods 2 --procs-per-pod 2 CPU -u -n0 --joblog log -- \"$(cat job)\" ::: 1; echo $? >code; } |
            { dd bs=65536 count=64 iflag=fullblock 2>/dev/null; : >taken; until [ -e go-on ]; do sleep 0.1; done; cat; }";
    let cpu = if engine == Engine::Kube { "--kube-cpu 50m" } else { "" };
    let mut run = project.sh(&script.replace("CPU", cpu)).deadline(LONG + length).start();
    let task = run.task();
    run.until("4 MiB", |_| project.at("taken").exists().then_some(()));
    // The job needs one of the two only.
    let pods = run.until("two pods", |_| Some(engine.pods(&task)).filter(|pods| pods.len() == 2));
    let bridges = || pods.iter().map(|pod| bridge(engine, pod)).collect::<Option<Vec<_>>>();
    let before = run.until("a connection to each", |_| bridges());
    std::thread::sleep(length);
    assert_eq!(run.stdout().len(), 4 << 20, "nobody has taken more");

    let of = |name: &str| {
        let is = |p: &process::Process| p.command.split(' ').next().is_some_and(|program| program.ends_with(name));
        let all = process::marked(project.mark()).into_iter().filter(is);
        all.map(|p| most_mib(&fs::read_to_string(format!("/proc/{}/status", p.pid)).unwrap())).collect::<Vec<_>>()
    };
    let (helpers, clients) = (of("/womm-sshlogins"), of("/womm-ssh"));
    assert!(helpers.len() == 1 && !clients.is_empty(), "{helpers:?}, {clients:?}");
    let agents: Vec<u64> =
        pods.iter().map(|pod| most_mib(&engine.inside(pod, "cat /proc/1/status").unwrap())).collect();
    let after = bridges().expect("there is a connection to each");
    let pids = |bridges: &[(u32, u64)]| bridges.iter().map(|(pid, _)| *pid).collect::<Vec<_>>();
    assert_eq!(pids(&after), pids(&before), "no keepalive was lost: the connections are still the same");
    let connects: Vec<u64> = after.iter().map(|(_, mib)| *mib).collect();
    for (what, all) in [("womm-sshlogins", helpers), ("womm-ssh", clients), ("agents", agents), ("connect", connects)] {
        assert!(all.iter().all(|mib| *mib < MOST_MIB), "{what} have had {all:?} MiB");
    }

    // Beside the job that nobody reads, in either pod.
    for host in ["w001", "w002"] {
        project.ssh().arg(host).arg("echo beside").run().succeeds().writes("beside\n");
    }
    project.write("go-on", "");
    until(LONG, "more for who reads again", || (run.stdout().len() > 8 << 20).then_some(()));
    let out = run.finish();
    out.succeeds().quiet_task();
    assert_eq!(fs::read_to_string(project.at("code")).unwrap(), "0\n");
    assert_eq!(joblog::codes(&project.at("log")), [0]);
    assert_eq!(sum(&out.stdout_file), sum(&local.stdout_file));
    let fate = format!(
        "all of {WRITTEN_MIB} MiB arrive; none of womm-sshlogins, womm-ssh and agents takes {MOST_MIB} MiB; other jobs go on"
    );
    tell(&project, &format!("the reader of the output stops for {} s", length.as_secs()), &out.other_stderr(), &fate);
}
