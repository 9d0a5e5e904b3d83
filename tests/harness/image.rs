//! The image that tests share: made once in a test process, by `womm-image setup`, and removed when the process ends.

use crate::after;
use crate::command::tool;
use crate::engine::{Engine, needed, registry};
use crate::project::{Project, VARIABLE};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

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

/// Has containers and images with a label removed when the test process has ended, in whatever way.
pub fn remove_labelled(label: &str) {
    after::label(label);
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
