//! A registry that wants a login, from the nodes too: by the pull secret that `.womm` names.

use crate::cluster::{
    LITTLE, Namespace, SAID, directory, engine, gone, is_clean, kubectl, lives_in, no_pod, open, workstation,
};
use harness::{Engine, LONG, Project, image, process, tool, until};
use serde_json::Value;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const USER: &str = "audrey";
const PASSWORD: &str = "open sesame";
/// As `htpasswd -B` has it.
const HTPASSWD: &str = "audrey:$2y$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n";

/// It runs as long as this lives.
struct Registry {
    child: Child,
    /// `localhost:PORT`, which Docker takes without TLS. Nodes are told below where that is.
    name: String,
    /// Where they are told.
    told: Vec<PathBuf>,
    /// The image that was pushed.
    made: Option<String>,
}

impl Registry {
    #[track_caller]
    fn new(project: &Project) -> Self {
        // Free just now, and nobody else here asks for it by number.
        let port = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let folder = project.root().join("registry");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("htpasswd"), HTPASSWD).unwrap();
        let at = folder.display();
        let config = format!(
            "version: 0.1\nlog: {{level: warn, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {at}/data}}}}\nhttp: {{addr: \":{port}\"}}\n\
             auth: {{htpasswd: {{realm: tests, path: {at}/htpasswd}}}}\n"
        );
        fs::write(folder.join("config.yml"), config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(folder.join("config.yml")).env(process::MARK, project.mark());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let name = format!("localhost:{port}");
        let mut registry = Self { child, name, told: Vec::new(), made: None };
        until(LONG, "the registry", || TcpStream::connect(("127.0.0.1", port)).ok());
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
        let _ = self.child.kill();
        let _ = self.child.wait();
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
