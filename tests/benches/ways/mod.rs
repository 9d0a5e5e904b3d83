//! Ways to run jobs by GNU parallel, each beside the others: jobs a second, and what the machine's CPUs spend on one.

use crate::report::{Report, Sample};
use harness::{Cmd, Project, joblog};
use std::fs;
use std::time::Duration;

/// The kernel's clock ticks of /proc/stat (proc(5)), a second.
pub const TICKS: f64 = 100.0;

const DEADLINE: Duration = Duration::from_secs(600);

/// What was measured of one way.
pub struct Way {
    name: &'static str,
    /// Jobs a second.
    rates: Vec<f64>,
    /// Of all CPUs, for each job: our processes, GNU parallel, and pods and cluster where they are on this machine, with their
    /// start.
    cpu_ms: Vec<f64>,
}

impl Way {
    pub fn new(name: &'static str) -> Self {
        Self { name, rates: Vec::new(), cpu_ms: Vec::new() }
    }

    /// Runs so many jobs, all of which have to succeed. Jobs a second are counted from the end of the first quarter: GNU parallel
    /// starts the first ones before the pods are up, and how long they take to come is measured apart, by `start`.
    pub fn measure(&mut self, project: &Project, run: Cmd, command: &str, jobs: usize) {
        let log = project.at("joblog");
        let _ = fs::remove_file(&log);
        let inputs: Vec<String> = (0..jobs).map(|number| number.to_string()).collect();
        // -n0: the command is all of the job; sleep(1) would add up what is put behind it.
        let run = run.arg("--joblog").arg(&log).args(["-n0", "--", command, ":::"]).args(inputs).deadline(DEADLINE);
        let before = busy();
        run.run().exits(0);
        self.cpu_ms.push((busy() - before) * 1e3 / jobs as f64);
        assert_eq!(joblog::read(&log).len(), jobs);
        let ends = ends(&fs::read_to_string(&log).expect("written"));
        let first = jobs / 4;
        self.rates.push((jobs - 1 - first) as f64 / (ends[jobs - 1] - ends[first]));
    }

    fn text(&self) -> String {
        let sample = |values: &[f64]| Sample::of(values.to_vec());
        format!("{} jobs/s, {} ms CPU each", sample(&self.rates).text(0), sample(&self.cpu_ms).text(1))
    }

    /// A row: this way beside another one.
    pub fn beside(&self, other: &Self, report: &mut Report, what: &str, aim: &str) {
        let median = |way: &Self| Sample::of(way.rates.clone()).median();
        let ratio = format!("{:.2}", median(self) / median(other));
        let what = format!("{what}: {}", self.name);
        report.row(&what, self.text(), format!("{}: {}", other.name, other.text()), ratio, aim);
    }
}

/// When each job of a joblog ended, seconds, in order.
fn ends(log: &str) -> Vec<f64> {
    let end = |line: &str| {
        let words = line.split('\t').skip(2).take(2);
        words.map(|word| word.trim().parse::<f64>().expect("a start and a duration")).sum()
    };
    let mut ends: Vec<f64> = log.lines().skip(1).map(end).collect();
    ends.sort_by(f64::total_cmp);
    ends
}

/// What all CPUs have spent so far, seconds.
fn busy() -> f64 {
    let text = fs::read_to_string("/proc/stat").expect("Linux has it");
    let words = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<f64> = words.map(|word| word.parse().expect("a number")).collect();
    // user, nice, system, irq, softirq (proc(5)); idle and iowait are neither.
    [0, 1, 2, 5, 6].iter().map(|field| ticks[*field]).sum::<f64>() / TICKS
}
