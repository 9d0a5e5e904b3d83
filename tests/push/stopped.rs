//! Docker stops in the middle of a push.

use crate::picture::Picture;
use harness::dockerd::Stock;
use harness::registry::Config;
use harness::{Cmd, Dockerd, Project, Proxy, Registry, Running, Signal};
use std::time::Duration;

/// A Docker engine with an image of two layers, a registry that takes its time, a push of which one layer is through.
struct Push {
    run: Running,
    image: Picture,
    dockerd: Dockerd,
    before: Stock,
    proxy: Proxy,
    registry: Registry,
}

impl Push {
    #[track_caller]
    fn begin(project: &Project) -> Self {
        Self::of(project, |host, image, _| Self::cmd(project, host, image))
    }

    /// Of a program that is told the engine's host, the image's name, and where the registry is.
    #[track_caller]
    fn of(project: &Project, program: impl FnOnce(&str, &str, &str) -> Cmd) -> Self {
        let dockerd = Dockerd::start(project);
        let registry = Registry::start(project, &Config::default());
        let proxy = Proxy::tcp(([127, 0, 0, 1], registry.port).into());
        let image = Picture::new(project, &dockerd.host(), &format!("{}/x:1", proxy.address()), 20_000_000);
        image.add(project, 1_000);
        let before = dockerd.stock();
        proxy.delay(Duration::from_millis(50)); // 64 KiB each
        let mut run = program(&dockerd.host(), &image.name, &proxy.address()).start();
        run.until("the end of a small layer", |run| run.stderr().contains(": Pushed").then_some(()));
        // Docker writes down what the registry has; killed before that, it would send the layer again.
        let noted = Dockerd::data(project).join("image/vfs/distribution/v2metadata-by-diffid/sha256");
        let is_whole = |name: &std::ffi::OsStr| name.len() == 64; // not the file that it is written as at first
        run.until("Docker's note of it", |_| {
            std::fs::read_dir(&noted).ok()?.flatten().any(|entry| is_whole(&entry.file_name())).then_some(())
        });
        Self { run, image, dockerd, before, proxy, registry }
    }

    fn cmd(project: &Project, host: &str, image: &str) -> Cmd {
        project.cmd("womm-image").args(["push", "--image", image]).env("DOCKER_HOST", host)
    }

    /// Docker ends by a signal, and comes back when it is waited for: the push succeeds.
    #[track_caller]
    fn broken_by(mut self, signal: Signal) -> (Dockerd, Stock, Registry, Picture) {
        self.dockerd.end(signal);
        self.run.until("the reason of the wait", |run| run.stderr().contains("Docker went away (").then_some(()));
        self.proxy.pass();
        self.dockerd.resume();
        let out = self.run.finish();
        out.succeeds().holds("it is said that it goes on", out.stderr.contains("Docker is back"));
        out.holds("what had arrived stays", out.stderr.contains(": Layer already exists"));
        (self.dockerd, self.before, self.registry, self.image)
    }
}

#[track_caller]
fn a_push_is_taken_up_again(signal: Signal) {
    let project = Project::without_engine();
    let (dockerd, before, registry, _image) = Push::begin(&project).broken_by(signal);
    assert!(registry.has("x", "1"));
    assert_eq!(dockerd.stock(), before, "a push makes nothing here");
}

#[test]
fn killed_and_back() {
    a_push_is_taken_up_again(Signal::KILL);
}

#[test]
fn told_to_end_and_back() {
    a_push_is_taken_up_again(Signal::TERM);
}

/// Setup's own push is the same, and setup ends as it does else.
#[test]
fn killed_and_back_while_setup_pushes() {
    let project = Project::without_engine();
    let setup = |host: &str, base: &str, registry: &str| {
        let words = format!("setup --yes --engine kube --share none --prefix {registry}/ --base {base}");
        project.cmd("womm-image").words(&words).env("DOCKER_HOST", host)
    };
    let (dockerd, before, registry, base) = Push::of(&project, setup).broken_by(Signal::KILL);
    let file = project.womm_file();
    let name = file["image"].as_str().unwrap();
    let repository = name.split_once('/').unwrap().1.split_once(':').unwrap().0;
    assert!(registry.has(repository, "latest"), "{name}");
    let after = dockerd.stock();
    assert_eq!((after.containers, after.volumes), (before.containers, before.volumes));
    let images = dockerd.docker(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
    let mut images: Vec<_> = images.lines().collect();
    images.sort_unstable();
    let mut expected = [base.name.as_str(), name];
    expected.sort_unstable();
    assert_eq!(images, expected, "and nothing else");
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
    let again = Push::cmd(&project, &push.dockerd.host(), &push.image.name).run();
    again.succeeds().holds("what had arrived stays", again.stderr.contains(": Layer already exists"));
    assert!(push.registry.has("x", "1"));
    assert_eq!(push.dockerd.stock(), push.before, "a push makes nothing here");
}
