//! A registry of a test's own: Debian's docker-registry, with whatever it is to ask of those who push.

use crate::project::Project;
use crate::wait::LONG;
use crate::{process, until};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Who may push where a password is wanted.
pub const USER: &str = "audrey";
/// That password.
pub const PASSWORD: &str = "open sesame";
/// As `htpasswd -B` has it.
const HTPASSWD: &str = "audrey:$2y$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n";

/// It runs as long as this lives.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    folder: PathBuf,
    /// Where it listens.
    pub port: u16,
    /// `localhost:PORT`, which Docker takes without TLS.
    pub name: String,
}

/// How a registry is to be.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address that it listens on.
    pub address: IpAddr,
    /// Its `auth`, in YAML; none: everybody may push. FOLDER stands for its own folder.
    pub auth: Option<String>,
    /// More of its `http`, in YAML, such as `, tls: {…}`.
    pub http: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { address: Ipv4Addr::LOCALHOST.into(), auth: None, http: String::new() }
    }
}

impl Config {
    /// Wants [`USER`] and [`PASSWORD`].
    #[must_use]
    pub fn with_password(self) -> Self {
        Self { auth: Some("htpasswd: {realm: tests, path: FOLDER/htpasswd}".into()), ..self }
    }
}

impl Registry {
    /// Starts one.
    ///
    /// # Panics
    /// If there is no docker-registry, or it does not come up.
    #[track_caller]
    pub fn start(project: &Project, config: &Config) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = project.root().join(format!("registry-{number}"));
        fs::create_dir_all(folder.join("data")).expect("it is ours");
        fs::write(folder.join("htpasswd"), HTPASSWD).expect("it is ours");
        // Free just now, and nobody else here asks for it by number.
        let port = TcpListener::bind((config.address, 0)).and_then(|l| l.local_addr()).expect("a free port").port();
        let at = folder.display();
        let auth = config.auth.as_ref().map(|auth| format!("auth: {{{auth}}}\n").replace("FOLDER", &at.to_string()));
        let text = format!(
            "version: 0.1\nlog: {{level: warn, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {at}/data}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"{}:{port}\"{}}}\n{}",
            config.address,
            config.http,
            auth.unwrap_or_default()
        );
        fs::write(folder.join("config.yml"), text).expect("it is ours");
        let log = fs::File::create(folder.join("log")).expect("it is ours");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(folder.join("config.yml")).env(process::MARK, project.mark());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap_or_else(|e| panic!("run docker-registry, of Debian's package: {e}"));
        let registry = Self { child, folder, port, name: format!("localhost:{port}") };
        until(LONG, format!("the registry, see {}", registry.folder.join("log").display()), || {
            TcpStream::connect((config.address, port)).ok()
        });
        registry
    }

    /// Where it keeps what it has.
    pub fn storage(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Whether it has an image of this name and tag.
    pub fn has(&self, name: &str, tag: &str) -> bool {
        self.repository(name).join("_manifests/tags").join(tag).join("current/link").exists()
    }

    /// Uploads that were begun and neither finished nor called off. Of those that were, Debian's docker-registry leaves
    /// empty folders.
    pub fn uploads(&self, name: &str) -> usize {
        let all = fs::read_dir(self.repository(name).join("_uploads")).into_iter().flatten().flatten();
        all.filter(|upload| upload.path().join("startedat").exists()).count()
    }

    fn repository(&self, name: &str) -> PathBuf {
        self.storage().join("docker/registry/v2/repositories").join(name)
    }

    /// Its folder: configuration, log, and what is to be read by it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}
