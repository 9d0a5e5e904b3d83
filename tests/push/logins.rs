//! Logins for a registry that wants a password: where they are kept, and what is said if they are missing or wrong.

use crate::picture::{Picture, shared};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use harness::image::Labelled;
use harness::registry::{Config, PASSWORD, USER};
use harness::{Cmd, Project, Registry, screen, tool};
use serde_json::{Value, json};
use std::fs;

/// Writes the Docker config of the test's user.
pub fn configure(project: &Project, config: &Value) {
    let folder = project.home().join(".docker");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

/// A config with a password for a registry.
pub fn password(registry: &str, password: &str) -> Value {
    json!({"auths": {registry: {"auth": STANDARD.encode(format!("{USER}:{password}"))}}})
}

/// Who pushes to a registry: an image of their own, and what setup makes of a base image.
pub struct Pusher<'a> {
    project: &'a Project,
    registry: &'a Registry,
    image: Picture,
    base: Labelled,
}

impl<'a> Pusher<'a> {
    #[track_caller]
    pub fn new(project: &'a Project, registry: &'a Registry) -> Self {
        let image = Picture::new(project, &shared(), &format!("{}/x:1", registry.name), 1_000);
        Self { project, registry, image, base: Labelled::new(project) }
    }

    fn push(&self) -> Cmd {
        with_tools(self.project, self.project.cmd("womm-image").args(["push", "--image", &self.image.name]))
    }

    fn setup(&self) -> Cmd {
        setup(self.project, &self.registry.name, &self.base)
    }

    /// Asserts that a push is refused with these words in its last line, and that setup is before it makes anything: in its one.
    /// Both lines.
    #[track_caller]
    pub fn is_refused(&self, words: &[&str]) -> String {
        let out = self.push().run();
        out.exits(3).writes("");
        let last = out.stderr.lines().last().unwrap_or_default();
        for word in words {
            out.holds(
                &format!("its last line holds {word:?}"),
                last.starts_with("womm-image: push ") && last.contains(word),
            );
        }
        format!("{last}\n{}", self.setup_is_refused(words))
    }

    /// The same for setup alone.
    #[track_caller]
    fn setup_is_refused(&self, words: &[&str]) -> String {
        let out = self.setup().run();
        out.refuses(3, words);
        assert!(!self.project.at(".womm").exists(), "nothing is written");
        self.base.nothing_was_made();
        out.stderr
    }

    /// Asserts that both work; the repository that setup pushed to.
    #[track_caller]
    pub fn is_taken(&self) -> String {
        self.push().run().succeeds();
        self.setup().run().succeeds();
        let name = self.project.womm_file()["image"].as_str().unwrap().to_owned();
        self.base.only_was_made(&name);
        tool("docker", ["image", "rm", "--force", &name]);
        self.base.nothing_was_made();
        let repository = name.split_once('/').unwrap().1.split_once(':').unwrap().0;
        assert!(self.registry.has(repository, "latest"), "{name}");
        fs::remove_file(self.project.at(".womm")).unwrap();
        repository.to_owned()
    }

    /// The same; and the upload that was begun to see whether it may be is called off.
    #[track_caller]
    fn is_taken_without_a_trace(&self) {
        let repository = self.is_taken();
        assert_eq!(self.registry.uploads(&repository), 0, "of {repository}");
    }
}

fn setup(project: &Project, registry: &str, base: &Labelled) -> Cmd {
    let words = format!("setup --yes --engine kube --share none --prefix {registry}/me/ --base");
    with_tools(project, project.cmd("womm-image").words(&words).arg(base.name()))
}

/// With the test's own tools on the PATH: credential helpers.
fn with_tools(project: &Project, cmd: Cmd) -> Cmd {
    let (programs, path) = (harness::project::programs(), std::env::var("PATH").unwrap());
    cmd.env("PATH", format!("{}:{}:{path}", project.root().join("tools").display(), programs.display()))
}

#[test]
fn in_the_config() {
    let project = Project::without_engine();
    let registry = Registry::start(&project, &Config::default().with_password());
    let pusher = Pusher::new(&project, &registry);
    let login = format!("docker login {}", registry.name);
    let mut said = pusher.is_refused(&[&format!("there is no login for {}: run `{login}`", registry.name)]);
    configure(&project, &password(&registry.name, "open barley"));
    said += &pusher.is_refused(&["unauthorized", &login]);
    let said = screen::text(&project, &[(&registry.name, "registry.example.org")], &said);
    screen::is("push/screens/logins.txt", &said);
    let docker = project.cmd("docker").args(["login", &registry.name, "--username", USER, "--password-stdin"]);
    docker.stdin(PASSWORD).run().succeeds();
    pusher.is_taken_without_a_trace();
    configure(&project, &json!("no config"));
    let out = pusher.push().run();
    out.exits(3).holds("a config that says nothing holds no login", out.stderr.contains(&login));
    fs::write(project.home().join(".docker/config.json"), "{").unwrap();
    let out = pusher.push().run();
    out.refuses(2, &["config.json", "JSON"]);
}

#[test]
fn in_a_credential_helper() {
    let project = Project::without_engine();
    let registry = Registry::start(&project, &Config::default().with_password());
    let pusher = Pusher::new(&project, &registry);
    let answer = json!({"ServerURL": registry.name, "Username": USER, "Secret": PASSWORD});
    // Source of the protocol: docker/docker-credential-helpers, README.
    let name = &registry.name;
    let helper = format!("#!/bin/sh\n[ \"$1\" = get ] && [ \"$(cat)\" = '{name}' ] || exit 1\necho '{answer}'\n");
    project.tool("docker-credential-vault", &helper);
    project.tool("docker-credential-empty", "#!/bin/sh\necho credentials not found in native keychain\nexit 1\n");
    project.tool("docker-credential-locked", "#!/bin/sh\necho the keyring is locked\nexit 1\n");
    let login = format!("there is no login for {name}: run `docker login {name}`");
    configure(&project, &json!({"credHelpers": {name: "vault"}, "credsStore": "locked"}));
    pusher.is_taken_without_a_trace();
    configure(&project, &json!({"credsStore": "vault"}));
    pusher.is_taken_without_a_trace();
    configure(&project, &json!({"credsStore": "empty", "auths": {name: {}}}));
    pusher.is_refused(&[&login]);
    let fails = |helper: &str, words: &[&str]| {
        configure(&project, &json!({"credHelpers": {name: helper}}));
        pusher.setup_is_refused(words);
    };
    fails("locked", &["docker-credential-locked", "the keyring is locked"]);
    fails("nowhere", &["docker-credential-nowhere", "install it"]);
}

/// A registry that is not there is said before anything is made.
#[test]
fn a_registry_that_is_away() {
    let project = Project::without_engine();
    let registry = Registry::start(&project, &Config::default());
    let (base, name) = (Labelled::new(&project), registry.name.clone());
    drop(registry);
    setup(&project, &name, &base).run().refuses(3, &[&name, "connection refused"]);
    assert!(!project.at(".womm").exists());
    base.nothing_was_made();
}
