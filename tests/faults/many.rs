//! More pods and more jobs at once than anybody's laptop should have to see: all of them in `tests/run soak`, a tenth in
//! every day's runs.

use harness::fault::{NOTES_ITS_BEGIN, began_once, is_soak, tell};
use harness::{Engine, LONG, Pod, Running, joblog};
use std::collections::BTreeSet;

/// What each takes of this machine, where pods and workstation are one: an estimate, not measured. The
/// rest is the others'.
const POD_MIB: u32 = 24;
const JOB_MIB: u32 = 4;
const LEFT_MIB: u32 = 1024;

/// Fails where there is too little memory for so many.
#[track_caller]
fn has_room_for(pods: u32, jobs: u32) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap();
    let free_mib = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024;
    let wanted_mib = u64::from(pods * POD_MIB + jobs * JOB_MIB + LEFT_MIB);
    assert!(
        free_mib >= wanted_mib,
        "{pods} pods and {jobs} jobs want {wanted_mib} MiB of memory, and {free_mib} MiB are free: run this on a larger \
        machine (WOMM_SOAK_WITHOUT=many:: leaves it out of a soak)"
    );
}

/// Runs something for each pod, some at once.
fn for_each<T: Send>(pods: &[Pod], run: impl Fn(&Pod) -> T + Sync) -> Vec<T> {
    let run = &run;
    std::thread::scope(|scope| {
        let parts = pods.chunks(pods.len().div_ceil(8).max(1));
        let parts: Vec<_> = parts.map(|part| scope.spawn(move || part.iter().map(run).collect::<Vec<T>>())).collect();
        parts.into_iter().flat_map(|part| part.join().expect("it has said why")).collect()
    })
}

/// A job that says in its pod that it is there, and ends when something is written to `go` there.
const WAITS: &str = r#"mkfifo "$TMPDIR/go" 2>/dev/null; : >"$TMPDIR/begun.{}"; read _ <"$TMPDIR/go""#;

/// How many of them wait in a pod.
fn waiting(engine: Engine, pod: &Pod) -> usize {
    let count = engine.inside(pod, r#"set -- "$WOMM_TMPDIR"/begun.*; [ ! -e "$1" ] || echo $#"#);
    count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// Lets them go on. Who has the fifo open reads its end; who is about to open it finds a file.
#[track_caller]
fn let_go(engine: Engine, pod: &Pod) {
    let script = r#"cd "$WOMM_TMPDIR" && exec 3<>go && : >gone && mv -f gone go"#;
    engine.inside(pod, script).unwrap_or_else(|| panic!("jobs of {pod:?} can't be let go on"));
}

/// Waits until so many of them wait in each of so many pods: from then on until they are let go, all are at work at once.
#[track_caller]
fn all_wait(run: &mut Running, engine: Engine, task: &str, pods: u32, jobs: u32) -> Vec<Pod> {
    let all = run.until(&format!("{pods} pods"), |_| {
        let all = engine.pods(task);
        (all.len() == pods as usize).then_some(all)
    });
    let mut left = all.clone();
    run.until(&format!("{jobs} jobs at once in each of {pods} pods"), |_| {
        // To ask all of them costs what it is to be waited for: the processor.
        if left.last().is_some_and(|pod| waiting(engine, pod) < jobs as usize) {
            return None;
        }
        let counts = for_each(&left, |pod| waiting(engine, pod));
        assert!(counts.iter().all(|count| *count <= jobs as usize), "no pod has more than {jobs} jobs: {counts:?}");
        let mut counts = counts.into_iter();
        left.retain(|_| counts.next() < Some(jobs as usize));
        left.is_empty().then_some(())
    });
    all
}

/// Ten jobs at once in a pod are two hosts of GNU parallel's, which takes no more than nine on one.
#[test]
fn two_hundred_pods_and_two_thousand_jobs_at_once() {
    let engine = Engine::under_test();
    let (pods, procs) = (if is_soak() { 200 } else { 20 }, 10);
    let count = pods * procs;
    has_room_for(pods, count);
    let project = engine.project();
    let log = project.root().join("joblog");
    let cpu = if engine == Engine::Kube { "5m" } else { "0.1" };
    let cmd = project.womm().args(["parallel", "--kube-pods", &pods.to_string(), "--kube-cpu", cpu]);
    let cmd = cmd.args(["--procs-per-pod", &procs.to_string()]).words("--kube-mem 160Mi -k --joblog").arg(&log);
    let job = format!("uname -n; {WAITS}; echo {{}}; exit $(({{}} % 7))");
    let numbers: Vec<String> = (1..=count).map(|n| n.to_string()).collect();
    let cmd = cmd.arg("--").arg(job).stdin(numbers.join("\n") + "\n");
    let mut run = cmd.deadline(LONG * 10).start();
    let task = run.task();

    let all = all_wait(&mut run, engine, &task, pods, procs);
    assert!(joblog::read(&log).is_empty(), "none has ended yet");
    if engine == Engine::Kube {
        let nodes: BTreeSet<String> = for_each(&all, |pod| engine.node(pod)).into_iter().collect();
        assert!(nodes.len() >= 3, "they are on three nodes: {nodes:?}");
    }
    for_each(&all, |pod| let_go(engine, pod));

    let out = run.finish();
    out.task();
    let jobs = joblog::read(&log);
    let codes: Vec<i32> = jobs.values().map(|job| job.exit).collect();
    let expected: Vec<i32> = (1..=count).map(|n| i32::try_from(n % 7).unwrap()).collect();
    out.holds("every code is the job's own", codes == expected);
    let hosts: BTreeSet<&str> = jobs.values().map(|job| job.host.as_str()).collect();
    out.holds(&format!("two hosts for each pod: {hosts:?}"), hosts.len() == 2 * all.len() && hosts.contains("w001-2"));
    let mut lines = out.text().lines();
    let mut names = BTreeSet::new();
    for number in &numbers {
        names.insert(lines.next().unwrap_or_default());
        out.holds(&format!("job {number} is whole"), lines.next() == Some(number));
    }
    assert_eq!(names, all.iter().map(|pod| pod.name.as_str()).collect(), "every pod had jobs");
    out.exits(101);
    let what = format!("{pods} pods, {procs} jobs at once in each");
    tell(&project, &what, &out.other_stderr(), &format!("{count} jobs whole, with their own codes"));
}

/// More streams than a multiplexer may hold back of those that nobody has answered.
#[test]
fn three_hundred_silent_jobs_in_a_pod() {
    let engine = Engine::under_test();
    let jobs = 300;
    has_room_for(1, jobs);
    let project = engine.project();
    let log = project.root().join("joblog");
    let cmd =
        project.parallel(1).args(["--procs-per-pod", &jobs.to_string()]).words("--kube-mem 2Gi --joblog").arg(&log);
    let numbers: Vec<String> = (1..=jobs).map(|n| n.to_string()).collect();
    let cmd = cmd.arg("--").arg(format!("{WAITS}; true")).stdin(numbers.join("\n") + "\n");
    let mut run = cmd.deadline(LONG * 3).start();
    let task = run.task();
    let pods = all_wait(&mut run, engine, &task, 1, jobs);
    project.ssh().words("w001 echo answered").run().succeeds().writes("answered\n");
    let_go(engine, &pods[0]);
    let out = run.finish();
    out.succeeds().writes("").quiet_task();
    assert_eq!(joblog::codes(&log), vec![0; jobs as usize]);
}

/// A run by hand, whose record says that it has many more pods than come and go. $1: pods; $2: places for
/// them; $3: what each job begins with.
const BY_HAND: &str = r#"set -eu
run=$(mktemp -d "$XDG_RUNTIME_DIR/run.XXXXXX")
mkfifo "$run/life"; exec 7<>"$run/life" 8>"$run/life" 9<"$run/life" 7>&-
womm-image show >"$run/image"
womm-pods create --kube-pods "$1" --kube-cpu 0.2 --kube-mem 96Mi --run "$run" --while 9 <"$run/image" >"$run/task" 8>&-
{ womm-pods watch --while 9 <"$run/task" | sed -u '1s/"pods":'"$1"'\b/"pods":'"$2/" |
	womm-sshlogins --while 9 --file "$run/slf"; } 8>&- &
until [ -e "$run/slf" ]; do sleep 0.1; done
wc -l <"$run/slf" >hosts
cp "$run/task" task
code=0
WOMM_RUN=$run parallel --ssh womm-ssh --sshloginfile "$run/slf" -k --joblog log \
	"$3; sleep 0.5; echo done {}" || code=$?
cat "$run/lost.jsonl" >lost.jsonl
exec 8>&-
womm-pods delete <"$run/task"
wait
rm -rf "$run"
exit "$code""#;

/// Most hosts have no pod of their own at any time.
#[test]
fn a_thousand_slots_and_twelve_pods_that_come_and_go() {
    let engine = Engine::under_test();
    let project = engine.project();
    // After so many jobs a pod is killed.
    let (places, pods, count, each) = if is_soak() { (1000, 12, 2000, 33) } else { (100, 4, 200, 16) };
    let numbers: Vec<String> = (1..=count).map(|n: u32| n.to_string()).collect();
    let by_hand = project.sh(BY_HAND).args(["sh", &pods.to_string(), &places.to_string(), NOTES_ITS_BEGIN]);
    let mut run = by_hand.stdin(numbers.join("\n") + "\n").deadline(LONG * 10).start();
    let task = run.until("the task", |_| {
        let text = std::fs::read_to_string(project.at("task")).ok()?;
        let record: serde_json::Value = serde_json::from_str(&text).ok()?;
        record["task"]["id"].as_str().map(str::to_owned)
    });
    assert_eq!(std::fs::read_to_string(project.at("hosts")).unwrap().trim(), places.to_string());
    let ended = || std::fs::read_to_string(project.at("log")).map_or(0, |text| text.lines().skip(1).count());
    let mut killed = 0;
    // The one that was seen first is at work: one that has just been made may have no job yet.
    let mut seen: Vec<Pod> = Vec::new();
    while !run.has_ended() {
        if ended() > (killed + 1) * each {
            let there = engine.pods(&task);
            seen.retain(|pod| there.contains(pod));
            seen.extend(there.into_iter().filter(|pod| !seen.contains(pod)).collect::<Vec<_>>());
            if !seen.is_empty() {
                killed += usize::from(engine.is_removed_by_force(&seen.remove(0))); // the run may be about to end
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
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
    let said = std::fs::read_to_string(project.at("lost.jsonl")).unwrap_or_default();
    let host =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["host"].as_str().map(str::to_owned);
    let mut said: Vec<String> = said.lines().filter_map(host).collect();
    let mut hosts: Vec<String> = lost.iter().map(|number| log[number].host.clone()).collect();
    said.sort_unstable();
    hosts.sort_unstable();
    assert_eq!(said, hosts, "and every lost one is said");
    // How many that are, before all jobs have begun, is a matter of the machine.
    assert!(killed > 0 && lost.len() <= killed, "{killed} pods were killed, with one job each: {lost:?}");
    assert!(!lost.is_empty(), "a pod that is killed at work takes its job with it: none was run again");
    out.exits(i32::try_from(lost.len().min(101)).unwrap());
    assert!(began_once(&project).is_none_or(|began| began >= numbers.len() - lost.len()));
    let what = format!("{places} hosts, {pods} pods, one of which is killed after every {each} jobs");
    tell(&project, &what, &out.other_stderr(), "a job of a killed pod lost: 255; the others whole");
}
