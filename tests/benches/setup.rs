//! `womm setup --yes` beside `docker build` and `docker push` of one layer of the same size: an image on a base that the
//! registry has. Each round changes what is in the layer, so that neither takes it from a cache. One run, each measurement beside
//! its peer's, median of seven with the spread; a table on stdout, JSON in the file that WOMM_BENCH_JSON names. `tests/bench setup`
//! brings up what it needs. Wants a quiet machine.

#![allow(clippy::print_stdout)] // the table is what it is for

mod report;

use harness::registry::Config;
use harness::{Cmd, Project, Registry, image, tool};
use report::{Report, Sample};
use std::time::Instant;

const ROUNDS: usize = 7;

fn timed(cmd: Cmd) -> f64 {
    let begun = Instant::now();
    cmd.run().succeeds();
    begun.elapsed().as_secs_f64()
}

fn main() {
    let project = Project::without_engine();
    let registry = Registry::start(&project, &Config::default());
    let agent = harness::project::programs().join("womm-agent");
    let context = project.root().join("context");
    std::fs::create_dir(&context).expect("it is ours");
    std::fs::write(context.join("Dockerfile"), format!("FROM {}\nADD agent round /womm/\n", image::base()))
        .expect("it is ours");
    std::fs::copy(&agent, context.join("agent")).expect("it is ours");
    let theirs_name = format!("{}/theirs:latest", registry.name);
    let ours = |round: usize| {
        // HOME is in the layer: in the user's line of /etc/passwd.
        let home = project.root().join(format!("home-{round}"));
        std::fs::create_dir_all(&home).expect("it is ours");
        let words = format!("setup --yes --engine kube --share none --prefix {}/ --base", registry.name);
        timed(project.womm().words(&words).arg(image::base()).env("HOME", home))
    };
    let theirs = |round: usize| {
        std::fs::write(context.join("round"), round.to_string()).expect("it is ours");
        let script = "docker build --quiet --tag \"$1\" \"$2\" && docker push \"$1\"";
        let cmd = project.cmd("sh").args(["-euc", script, "sh", &theirs_name]).arg(&context);
        timed(cmd.env("DOCKER_BUILDKIT", "0"))
    };
    // The base is in both repositories from here on.
    ours(0);
    theirs(0);
    let (mut of_ours, mut of_theirs) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        of_ours.push(ours(round));
        of_theirs.push(theirs(round));
    }
    let (of_ours, of_theirs) = (Sample::of(of_ours), Sample::of(of_theirs));
    let mut report = Report::default();
    let ratio = format!("{:.2}", of_ours.median() / of_theirs.median());
    let beside = format!("docker build, docker push {} s", of_theirs.text(2));
    report.row(
        "an image on a base that the registry has",
        format!("womm setup --yes {} s", of_ours.text(2)),
        beside,
        ratio,
        "≤ 1",
    );
    report.print();
    let name = project.womm_file()["image"].as_str().expect("setup wrote it").to_owned();
    tool("docker", ["image", "rm", "--force", &name, &theirs_name]);
}
