//! A registry that wants a login, from the nodes too: by the pull secret that `.womm` names.

use crate::cluster::{
    LITTLE, Namespace, SAID, directory, engine, gone, is_clean, kubectl, lives_in, no_pod, open, workstation,
};
use harness::registry::{Config, PASSWORD, USER};
use harness::{Engine, Project, image, tool};
use serde_json::Value;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// It runs as long as this lives.
struct Registry {
    _server: harness::Registry,
    /// `localhost:PORT`. Nodes are told below where that is.
    name: String,
    /// Where they are told.
    told: Vec<PathBuf>,
    /// The image that was pushed.
    made: Option<String>,
}

impl Registry {
    #[track_caller]
    fn new(project: &Project) -> Self {
        let config = Config { address: Ipv4Addr::UNSPECIFIED.into(), ..Config::default() }.with_password();
        let server = harness::Registry::start(project, &config);
        let (name, port) = (server.name.clone(), server.port);
        let mut registry = Self { _server: server, name, told: Vec::new(), made: None };
        for node in fs::read_dir(directory()).unwrap() {
            let certs = node.unwrap().path().join("certs.d");
            if certs.is_dir() {
                let told = certs.join(&registry.name);
                fs::create_dir(&told).unwrap();
                registry.told.push(told.clone());
                let server = format!("http://{}:{port}", workstation());
                let hosts = format!("server = \"{server}\"\n[host.\"{server}\"]\n");
                fs::write(told.join("hosts.toml"), hosts).unwrap();
            }
        }
        assert!(!registry.told.is_empty(), "{} holds nodes of tests/cluster", directory().display());
        registry
    }

    /// The secret `my-registry` of a namespace, with this password.
    #[track_caller]
    fn secret(&self, namespace: &Namespace, password: &str) {
        let namespace = &namespace.0;
        kubectl(&format!("delete secret my-registry -n {namespace} --ignore-not-found"));
        let new = format!("create secret docker-registry my-registry -n {namespace} --docker-server={}", self.name);
        let login = [format!("--docker-username={USER}"), format!("--docker-password={password}")];
        Engine::kubectl(&new.split(' ').chain(login.iter().map(String::as_str)).collect::<Vec<_>>());
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for folder in &self.told {
            let _ = fs::remove_dir_all(folder);
        }
        if let Some(image) = &self.made {
            let _ = std::panic::catch_unwind(|| tool("docker", ["image", "rm", "--force", image]));
        }
    }
}

#[test]
fn a_registry_that_wants_a_login() {
    let project = Project::without_image(engine());
    let mut registry = Registry::new(&project);
    let namespace = Namespace::new("secret");
    let setup = || {
        let words = format!("setup --yes --engine kube --prefix {}/ --secret my-registry", registry.name);
        project.womm().words(&words).args(["--namespace", &namespace.0, "--base", &image::base()])
    };
    let login = format!("docker login {}", registry.name);
    let out = setup().run();
    out.exits(3).holds("the remedy for a push without a login", out.stderr.contains(&login));
    let docker = project.cmd("docker").args(["login", &registry.name, "--username", USER, "--password-stdin"]);
    docker.stdin(PASSWORD).run().succeeds();
    setup().run().succeeds();
    let file = project.womm_file();
    let image = file["image"].as_str().unwrap().to_owned();
    assert!(image.starts_with(&registry.name), "{image}");
    assert_eq!(file["secret_name"], "my-registry");
    registry.made = Some(image.clone());

    let ends = |words: &[&str]| {
        let cmd = project.parallel(2).words(LITTLE).words("-- echo ran ::: 1");
        no_pod(&cmd.deadline(SAID).run(), &[&[image.as_str(), "can't be pulled"], words].concat());
    };
    let named = ["pull secret \"my-registry\" in the namespace", "login"];
    ends(&named); // there is none of that name
    registry.secret(&namespace, "open barley");
    ends(&named);
    registry.secret(&namespace, PASSWORD);
    project.configure("secret_name", Value::Null);
    ends(&["wants a login", "\"secret_name\"", "womm setup --secret"]);

    project.configure("secret_name", "my-registry");
    let (mut run, task) = open(project.parallel(2));
    lives_in(&task, &namespace.0);
    run.send("echo pulled\n");
    run.finish().succeeds().writes("first\npulled\n").task();
    gone(&task);
    drop(registry); // its process is one of this test
    is_clean(&project);
}
