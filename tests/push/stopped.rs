//! Docker stops in the middle of a push.

use crate::picture::Picture;
use harness::registry::Config;
use harness::{Dockerd, Project, Proxy, Registry, Running, Signal};
use std::time::Duration;

/// A Docker engine with an image of two layers, a registry that takes its time, a push of which one layer is through.
struct Push {
    run: Running,
    image: Picture,
    dockerd: Dockerd,
    proxy: Proxy,
    registry: Registry,
}

impl Push {
    #[track_caller]
    fn begin(project: &Project) -> Self {
        let dockerd = Dockerd::start(project);
        let registry = Registry::start(project, &Config::default());
        let proxy = Proxy::tcp(([127, 0, 0, 1], registry.port).into());
        let image = Picture::new(project, &dockerd.host(), &format!("{}/x:1", proxy.address()), 20_000_000);
        image.add(project, 1_000);
        proxy.delay(Duration::from_millis(50)); // 64 KiB each
        let mut run = Self::cmd(project, &dockerd, &image).start();
        run.until("the end of the small layer", |run| run.stderr().contains(": Pushed").then_some(()));
        // Docker writes down what the registry has; killed before that, it would send the layer again.
        let noted = Dockerd::data(project).join("image/vfs/distribution/v2metadata-by-diffid/sha256");
        let is_whole = |name: &std::ffi::OsStr| name.len() == 64; // not the file that it is written as at first
        run.until("Docker's note of it", |_| {
            std::fs::read_dir(&noted).ok()?.flatten().any(|entry| is_whole(&entry.file_name())).then_some(())
        });
        Self { run, image, dockerd, proxy, registry }
    }

    fn cmd(project: &Project, dockerd: &Dockerd, image: &Picture) -> harness::Cmd {
        project.cmd("womm-image").args(["push", "--image", &image.name]).env("DOCKER_HOST", dockerd.host())
    }
}

#[track_caller]
fn is_taken_up_again(signal: Signal) {
    let project = Project::without_engine();
    let mut push = Push::begin(&project);
    push.dockerd.end(signal);
    push.run.until("the reason of the wait", |run| run.stderr().contains("Docker went away (").then_some(()));
    push.proxy.pass();
    push.dockerd.resume();
    let out = push.run.finish();
    out.succeeds().holds("it is said that it goes on", out.stderr.contains("Docker is back"));
    out.holds("what had arrived stays", out.stderr.contains(": Layer already exists"));
    assert!(push.registry.has("x", "1"));
}

#[test]
fn killed_and_back() {
    is_taken_up_again(Signal::KILL);
}

#[test]
fn told_to_end_and_back() {
    is_taken_up_again(Signal::TERM);
}

#[test]
fn not_back_in_time() {
    let project = Project::without_engine();
    let mut push = Push::begin(&project);
    push.dockerd.end(Signal::KILL);
    let out = push.run.finish();
    out.exits(3);
    let last = out.stderr.lines().last().unwrap_or_default();
    for words in ["womm-image: push image", "was not back after 60 s", "do the same again"] {
        out.holds(&format!("its last line holds {words:?}"), last.contains(words));
    }
    push.proxy.pass();
    push.dockerd.resume();
    let again = Push::cmd(&project, &push.dockerd, &push.image).run();
    again.succeeds().holds("what had arrived stays", again.stderr.contains(": Layer already exists"));
    assert!(push.registry.has("x", "1"));
}
