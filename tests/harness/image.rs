//! The image that tests share: made once in a test process, by `womm-image setup`, and removed when the process ends.

use crate::after;
use crate::command::tool;
use crate::engine::{Engine, needed, registry};
use crate::project::{Project, VARIABLE};
use crate::wait::{SOON, until};
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The base image for `womm-image setup`.
///
/// # Panics
/// If nobody has named one.
#[track_caller]
pub fn base() -> String {
    needed("WOMM_TEST_BASE", "tests/run makes a small Debian with perl and rsync, and names it there")
}

/// What setup wrote into `.womm`.
#[track_caller]
pub fn shared(engine: Engine) -> &'static Value {
    static MADE: OnceLock<Result<Value, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        // A panic would leave the lock empty, and each test would try, and fail, again.
        std::panic::catch_unwind(|| make(engine)).map_err(|_| "see the first test that failed".to_owned())
    });
    made.as_ref().unwrap_or_else(|why| panic!("the image for tests could not be made: {why}"))
}

fn make(engine: Engine) -> Value {
    let project = Project::without_image(engine);
    let (name, value) = VARIABLE;
    let mut setup = project.cmd("womm-image").words("setup --yes --base").arg(base());
    setup = setup.args(["--engine", engine.name(), "--env", &format!("{name}={value}")]);
    if engine == Engine::Kube {
        let prefix = format!("{}/", registry());
        setup = setup.args(["--prefix", &prefix]);
        project.cmd("womm-image").args(["agent", "--push", "--prefix", &prefix]).run().succeeds();
    }
    setup.run().succeeds();
    let made = project.womm_file();
    after::image(made["image"].as_str().expect("setup names the image"));
    made
}

/// An image of one test, removed when this is dropped.
#[derive(Debug)]
pub struct Named(String);

impl Named {
    /// A name for an image that pods are to be made of. It is made by somebody else.
    #[track_caller]
    pub fn new(engine: Engine, name: &str) -> Self {
        match engine {
            Engine::Docker => Self(local(name)),
            Engine::Kube => Self(format!("{}/{}", registry(), local(name))),
        }
    }

    /// Another name for an image of the local engine.
    ///
    /// # Panics
    /// If there is no such image.
    #[track_caller]
    pub fn tag(image: &str, name: &str) -> Self {
        let new = Self(local(name));
        tool("docker", ["tag", image, &new.0]);
        new
    }

    /// What a container has become.
    ///
    /// # Panics
    /// If there is no such container.
    #[track_caller]
    pub fn commit(container: &str, name: &str) -> Self {
        let new = Self(local(name));
        tool("docker", ["commit", container, &new.0]);
        new
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// The process id keeps it apart from that of another run of the tests.
fn local(name: &str) -> String {
    format!("womm-test-{name}-{}:latest", std::process::id())
}

impl Drop for Named {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = Command::new("docker").args(["image", "rm", "--force", &self.0]).stdin(Stdio::null()).output();
    }
}

/// A base image of one test with a label of its own, by which everything that is made of it is found: containers and images
/// inherit it. All of that is removed when this is dropped.
#[derive(Debug)]
pub struct Labelled {
    name: String,
    label: String,
    /// Volumes that no container had at the begin.
    volumes: Vec<String>,
}

impl Labelled {
    /// The small Debian.
    #[track_caller]
    pub fn new(project: &Project) -> Self {
        Self::on(project, "")
    }

    /// With what more lines of a Dockerfile make of it.
    ///
    /// # Panics
    /// If Docker does not build it.
    #[track_caller]
    pub fn on(project: &Project, more: &str) -> Self {
        let made = Self::named(project);
        let text = format!("FROM {}\nLABEL {}\n{more}", base(), made.label);
        let mut build = Command::new("docker");
        build.env("DOCKER_BUILDKIT", "0").args(["build", "--quiet", "--tag", &made.name, "-"]);
        let mut build =
            build.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("docker can be run");
        let written = build.stdin.take().map(|mut stdin| stdin.write_all(text.as_bytes()));
        assert!(
            written.is_some_and(|w| w.is_ok()) && build.wait().is_ok_and(|s| s.success()),
            "docker build of\n{text}"
        );
        made
    }

    /// With nothing but the files of an archive.
    ///
    /// # Panics
    /// If Docker does not take it.
    #[track_caller]
    pub fn import(project: &Project, archive: &Path, more: &str) -> Self {
        let made = Self::named(project);
        let (label, archive) = (format!("LABEL {}", made.label), archive.to_str().expect("UTF-8"));
        tool("docker", ["import", "-c", &label, "-c", more, archive, &made.name]);
        made
    }

    fn named(project: &Project) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("womm-test-base-{}-{number}:1", std::process::id());
        let label = format!("womm.test={}-{number}", project.mark());
        after::label(&label);
        Self { name, label, volumes: unused_volumes() }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Containers that were made of it or of what is on top of it, running or not.
    #[track_caller]
    pub fn containers(&self) -> Vec<String> {
        let filter = format!("label={}", self.label);
        lines(&tool("docker", ["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]))
    }

    /// Images on top of it, but for those below named ones.
    #[track_caller]
    pub fn images(&self) -> Vec<String> {
        let filter = format!("label={}", self.label);
        // Without --all: what is below a named image is part of it.
        let args = ["image", "ls", "--no-trunc", "--filter", &filter, "--format", "{{.Repository}}:{{.Tag}}"];
        lines(&tool("docker", args)).into_iter().filter(|name| *name != self.name).collect()
    }

    /// Proves that nothing is left that was made of it.
    ///
    /// # Panics
    /// If something is.
    #[track_caller]
    pub fn nothing_was_made(&self) {
        self.only(&[]);
    }

    /// Proves that nothing is left but an image of this name.
    ///
    /// # Panics
    /// If more is, or that is not.
    #[track_caller]
    pub fn only_was_made(&self, image: &str) {
        self.only(&[image]);
    }

    #[track_caller]
    fn only(&self, images: &[&str]) {
        assert_eq!(self.containers(), [""; 0], "containers");
        assert_eq!(self.images(), images, "images");
        // Volumes have no label of ours, and another test's may be on its way out.
        until(SOON, "the end of volumes that no container has", || {
            unused_volumes().iter().all(|volume| self.volumes.contains(volume)).then_some(())
        });
    }
}

impl Drop for Labelled {
    fn drop(&mut self) {
        let quiet = |args: &[&str]| drop(Command::new("docker").args(args).stdin(Stdio::null()).output());
        let filter = format!("label={}", self.label);
        let ids = |args: &[&str]| {
            let output = Command::new("docker").args(args).args(["--filter", &filter]).stdin(Stdio::null()).output();
            output.map_or(Vec::new(), |output| lines(&String::from_utf8_lossy(&output.stdout)))
        };
        for id in ids(&["ps", "--all", "--quiet"]) {
            quiet(&["rm", "--force", "--volumes", &id]);
        }
        // Those on top first: what is below one goes with it.
        for id in ids(&["image", "ls", "--quiet", "--no-trunc"]) {
            quiet(&["image", "rm", "--force", &id]);
        }
    }
}

/// Volumes that no container has.
#[track_caller]
fn unused_volumes() -> Vec<String> {
    lines(&tool("docker", ["volume", "ls", "--quiet", "--filter", "dangling=true"]))
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
