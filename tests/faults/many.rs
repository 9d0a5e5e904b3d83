//! More pods and more jobs at once than anybody's laptop should have to see.

use harness::{Engine, LONG, joblog};
use std::collections::BTreeSet;

/// What a job takes of this machine, where pods and workstation are one: 12 MiB, most of it GNU parallel's wrapper in the
/// pod, measured with 1,420 of them. Some is left to the rest.
const JOB_MIB: u64 = 13;
const LEFT_MIB: u64 = 4096;

/// Jobs at once in each of 200 pods: ten, as far as there is memory for them.
fn fitting() -> u32 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap();
    let free_mib = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024;
    let each = free_mib.saturating_sub(LEFT_MIB) / JOB_MIB / 200;
    assert!(each > 0, "{free_mib} MiB are not enough for 200 pods with a job each");
    u32::try_from(each.min(10)).unwrap()
}

/// Ten jobs at once in a pod are two hosts of GNU parallel's, which takes no more than nine on one.
#[test]
#[ignore = "200 pods and, memory permitting, 2,000 jobs at once: takes all of a machine, for tests/run soak"]
fn two_hundred_pods_and_two_thousand_jobs_at_once() {
    let engine = Engine::under_test();
    let project = engine.project();
    let log = project.root().join("joblog");
    let procs = fitting();
    let count = 200 * procs;
    let cpu = if engine == Engine::Kube { "5m" } else { "0.1" };
    let cmd = project.womm().words("parallel --kube-pods 200 --kube-mem 160Mi --kube-cpu").arg(cpu);
    let cmd = cmd.args(["--procs-per-pod", &procs.to_string()]).words("-k --joblog").arg(&log).arg("--");
    // All of them run before the first one ends: some ten are started in a second.
    let job = "uname -n; sleep 300; echo {}; exit $(({} % 7))";
    let numbers: Vec<String> = (1..=count).map(|n| n.to_string()).collect();
    let out = cmd.arg(job).stdin(numbers.join("\n") + "\n").deadline(LONG * 10).run();
    out.task();
    let codes = joblog::codes(&log);
    let expected: Vec<i32> = (1..=count).map(|n| i32::try_from(n % 7).unwrap()).collect();
    out.holds("every code is the job's own", codes == expected);
    let mut lines = out.text().lines();
    let mut pods = BTreeSet::new();
    for number in &numbers {
        pods.insert(lines.next().unwrap_or_default().to_owned());
        out.holds(&format!("job {number} is whole"), lines.next() == Some(number));
    }
    assert_eq!(pods.len(), 200, "every pod had jobs");
    out.exits(101);
    let what = format!("200 pods, {procs} jobs at once in each");
    harness::fault::tell(&project, &what, &out.other_stderr(), &format!("{count} jobs whole, with their own codes"));
}

/// A run by hand, whose record says that it has 1,000 pods, and twelve that come and go.
const BY_HAND: &str = r#"set -eu
run=$(mktemp -d "$XDG_RUNTIME_DIR/run.XXXXXX")
mkfifo "$run/life"; exec 7<>"$run/life" 8>"$run/life" 9<"$run/life" 7>&-
womm-image show >"$run/image"
womm-pods create --kube-pods 12 --kube-cpu 0.2 --kube-mem 96Mi --run "$run" --while 9 <"$run/image" >"$run/task" 8>&-
{ womm-pods watch --while 9 <"$run/task" | sed -u '1s/"pods":12\b/"pods":1000/' |
	womm-sshlogins --while 9 --file "$run/slf"; } 8>&- &
until [ -e "$run/slf" ]; do sleep 0.1; done
wc -l <"$run/slf" >hosts
cp "$run/task" task
code=0
WOMM_RUN=$run parallel --ssh womm-ssh --sshloginfile "$run/slf" -k --joblog log echo done || code=$?
cat "$run/lost.jsonl" >lost.jsonl
exec 8>&-
womm-pods delete <"$run/task"
wait
rm -rf "$run"
exit "$code""#;

#[test]
#[ignore = "1,000 jobs wait at once while pods come and go, for tests/run soak"]
fn a_thousand_slots_and_twelve_pods_that_come_and_go() {
    let engine = Engine::under_test();
    let project = engine.project();
    let count = 2000;
    let numbers: Vec<String> = (1..=count).map(|n: u32| n.to_string()).collect();
    let mut run = project.sh(BY_HAND).stdin(numbers.join("\n") + "\n").deadline(LONG * 10).start();
    let task = run.until("the task", |_| {
        let text = std::fs::read_to_string(project.at("task")).ok()?;
        let record: serde_json::Value = serde_json::from_str(&text).ok()?;
        record["task"]["id"].as_str().map(str::to_owned)
    });
    assert_eq!(std::fs::read_to_string(project.at("hosts")).unwrap().trim(), "1000");
    let mut killed = 0;
    while !run.has_ended() {
        if let Some(pod) = engine.pods(&task).pop().filter(|_| killed < 60) {
            engine.remove_by_force(&pod);
            killed += 1;
        }
        std::thread::sleep(std::time::Duration::from_millis(700));
    }
    let out = run.finish();
    let log = joblog::read(&project.at("log"));
    let lost: BTreeSet<u32> = log.iter().filter(|(_, job)| job.exit == 255).map(|(number, _)| *number).collect();
    assert!(log.len() == numbers.len() && log.values().all(|job| [0, 255].contains(&job.exit)));
    // What a job wrote before it was lost is shown, too.
    let lines: BTreeSet<&str> = out.text().lines().collect();
    for number in (1..=count).filter(|number| !lost.contains(number)) {
        assert!(lines.contains(format!("done {number}").as_str()), "job {number} is whole");
    }
    assert_eq!(out.text().lines().count(), lines.len(), "none is there twice");
    let said = std::fs::read_to_string(project.at("lost.jsonl")).unwrap_or_default().lines().count();
    assert_eq!(said, lost.len(), "and every lost one is said");
    assert!(killed > 10 && lost.len() <= killed, "{killed} pods were killed, with one job each: {lost:?}");
    let fate = format!("of {count} jobs {} lost: 255; the others whole", lost.len());
    harness::fault::tell(
        &project,
        &format!("1,000 hosts, 12 pods, {killed} of which are killed"),
        &out.other_stderr(),
        &fate,
    );
}
