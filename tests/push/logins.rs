//! Logins for a registry that wants a password: where they are kept, and what is said if they are missing or wrong.

use crate::picture::{Picture, shared};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use harness::registry::{Config, PASSWORD, USER};
use harness::{Cmd, Outcome, Project, Registry, image, tool};
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

/// Asserts that a push is refused with these words in its last line, and that setup is before it makes anything: in its one.
#[track_caller]
pub fn refused(project: &Project, registry: &Registry, image: &Picture, words: &[&str]) {
    let out = with_tools(project, project.cmd("womm-image").args(["push", "--image", &image.name])).run();
    out.exits(3).writes("");
    let last = out.stderr.lines().last().unwrap_or_default();
    for word in words {
        out.holds(
            &format!("its last line holds {word:?}"),
            last.starts_with("womm-image: push ") && last.contains(word),
        );
    }
    let out = setup(project, registry).run();
    out.refuses(3, words);
    assert!(!project.at(".womm").exists(), "nothing is written");
}

/// Asserts that both work; the repository that setup pushed to.
#[track_caller]
pub fn taken(project: &Project, registry: &Registry, image: &Picture) -> String {
    let out: Outcome = with_tools(project, project.cmd("womm-image").args(["push", "--image", &image.name])).run();
    out.succeeds();
    setup(project, registry).run().succeeds();
    let name = project.womm_file()["image"].as_str().unwrap().to_owned();
    tool("docker", ["image", "rm", "--force", &name]);
    let repository = name.split_once('/').unwrap().1.split_once(':').unwrap().0;
    assert!(registry.has(repository, "latest"), "{name}");
    fs::remove_file(project.at(".womm")).unwrap();
    repository.to_owned()
}

/// The same; and the upload that was begun to see whether it may be is called off.
#[track_caller]
fn taken_without_a_trace(project: &Project, registry: &Registry, image: &Picture) {
    let repository = taken(project, registry, image);
    assert_eq!(registry.uploads(&repository), 0, "of {repository}");
}

fn setup(project: &Project, registry: &Registry) -> Cmd {
    let words = format!("setup --yes --engine kube --share none --prefix {}/me/ --base", registry.name);
    with_tools(project, project.cmd("womm-image").words(&words).arg(image::base()))
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
    let image = Picture::new(&project, &shared(), &format!("{}/x:1", registry.name), 1_000);
    let login = format!("docker login {}", registry.name);
    refused(&project, &registry, &image, &[&format!("there is no login for {}: run `{login}`", registry.name)]);
    configure(&project, &password(&registry.name, "open barley"));
    refused(&project, &registry, &image, &["unauthorized", &login]);
    let docker = project.cmd("docker").args(["login", &registry.name, "--username", USER, "--password-stdin"]);
    docker.stdin(PASSWORD).run().succeeds();
    taken_without_a_trace(&project, &registry, &image);
    configure(&project, &json!("no config"));
    let out = project.cmd("womm-image").args(["push", "--image", &image.name]).run();
    out.exits(3).holds("a config that says nothing holds no login", out.stderr.contains(&login));
    fs::write(project.home().join(".docker/config.json"), "{").unwrap();
    let out = project.cmd("womm-image").args(["push", "--image", &image.name]).run();
    out.refuses(2, &["config.json", "JSON"]);
}

#[test]
fn in_a_credential_helper() {
    let project = Project::without_engine();
    let registry = Registry::start(&project, &Config::default().with_password());
    let image = Picture::new(&project, &shared(), &format!("{}/x:1", registry.name), 1_000);
    let answer = json!({"ServerURL": registry.name, "Username": USER, "Secret": PASSWORD});
    // Source of the protocol: docker/docker-credential-helpers, README.
    let name = &registry.name;
    let helper = format!("#!/bin/sh\n[ \"$1\" = get ] && [ \"$(cat)\" = '{name}' ] || exit 1\necho '{answer}'\n");
    project.tool("docker-credential-vault", &helper);
    project.tool("docker-credential-empty", "#!/bin/sh\necho credentials not found in native keychain\nexit 1\n");
    project.tool("docker-credential-locked", "#!/bin/sh\necho the keyring is locked\nexit 1\n");
    let login = format!("there is no login for {name}: run `docker login {name}`");
    configure(&project, &json!({"credHelpers": {name: "vault"}, "credsStore": "locked"}));
    taken_without_a_trace(&project, &registry, &image);
    configure(&project, &json!({"credsStore": "vault"}));
    taken_without_a_trace(&project, &registry, &image);
    configure(&project, &json!({"credsStore": "empty", "auths": {name: {}}}));
    refused(&project, &registry, &image, &[&login]);
    let fails = |helper: &str, words: &[&str]| {
        configure(&project, &json!({"credHelpers": {name: helper}}));
        setup(&project, &registry).run().refuses(3, words);
    };
    fails("locked", &["docker-credential-locked", "the keyring is locked"]);
    fails("nowhere", &["docker-credential-nowhere", "install it"]);
}

/// A registry that is not there is said before anything is made.
#[test]
fn a_registry_that_is_away() {
    let project = Project::without_engine();
    let registry = Registry::start(&project, &Config::default());
    let setup = setup(&project, &registry);
    let name = registry.name.clone();
    drop(registry);
    setup.run().refuses(3, &[&name, "connection refused"]);
    assert!(!project.at(".womm").exists());
}
