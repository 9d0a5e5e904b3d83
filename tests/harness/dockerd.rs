//! A Docker engine of a test's own, to be broken: its data, its socket and its containerd are in the test's folder. It makes
//! images and pushes them; its containers would have no network. Wants root.

use crate::command::tool;
use crate::project::Project;
use crate::wait::LONG;
use crate::{process, until};
use rustix::process::{Pid, Signal, getuid, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// It runs as long as this lives, unless it is ended before.
#[derive(Debug)]
pub struct Dockerd {
    child: Option<Child>,
    folder: PathBuf,
    mark: String,
}

impl Dockerd {
    /// Starts one that has no image.
    ///
    /// # Panics
    /// If it does not come up.
    #[track_caller]
    pub fn start(project: &Project) -> Self {
        assert!(getuid().is_root(), "this test starts a Docker engine: run it as root");
        let folder = project.root().join("dockerd");
        fs::create_dir_all(folder.join("data")).expect("it is ours");
        fs::write(folder.join("daemon.json"), "{}").expect("it is ours");
        let mut dockerd = Self { child: None, folder, mark: project.mark().to_owned() };
        dockerd.resume();
        dockerd
    }

    /// Where its data is going to be: to be mounted on before [`Dockerd::start`].
    pub fn data(project: &Project) -> PathBuf {
        project.root().join("dockerd/data")
    }

    /// Starts it again, with what it had.
    ///
    /// # Panics
    /// If it does not come up.
    #[track_caller]
    pub fn resume(&mut self) {
        let (folder, host) = (self.folder.clone(), self.host());
        let path = |name: &str| folder.join(name).display().to_string();
        let log = fs::File::options().create(true).append(true).open(path("log")).expect("it is ours");
        let mut command = Command::new("dockerd");
        // vfs works on any file system, and leaves no mount behind. The bridge is that of the machine's engine: told to have
        // none, dockerd removes docker0, whoever has made it.
        command.args(["--storage-driver=vfs", "--bridge=docker0", "--iptables=false", "--ip6tables=false"]);
        command.args(["--config-file", &path("daemon.json"), "--pidfile", &path("pid")]);
        command.args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--host", &host]);
        command.env(process::MARK, &self.mark).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = self.child.insert(command.spawn().unwrap_or_else(|e| panic!("run dockerd: {e}")));
        until(LONG, format!("dockerd, see {}", path("log")), || {
            let ended = child.try_wait().is_ok_and(|status| status.is_some());
            assert!(!ended, "dockerd ended: {}", fs::read_to_string(path("log")).unwrap_or_default());
            let asked = Command::new("docker").args(["--host", &host, "info"]).stdin(Stdio::null()).output();
            asked.is_ok_and(|output| output.status.success()).then_some(())
        });
    }

    /// Ends it by a signal, and waits until it is gone.
    ///
    /// # Panics
    /// If it does not end.
    #[track_caller]
    pub fn end(&mut self, signal: Signal) {
        let Some(mut child) = self.child.take() else { return };
        let _ = kill_process(Pid::from_child(&child), signal); // it may have ended
        until(LONG, "the end of dockerd", || child.try_wait().ok().flatten());
        // Its containerd goes with it, or is one of the marked.
        let marked = || process::marked(&self.mark).into_iter().filter(|p| p.command.contains("containerd"));
        until(LONG, "the end of its containerd", || {
            let left: Vec<_> = marked().collect();
            process::kill(&left);
            left.is_empty().then_some(())
        });
        // SIGKILL leaves notes of who runs; the numbers may be others', or a zombie's.
        let _ = fs::remove_file(self.folder.join("pid"));
        let _ = fs::remove_dir_all(self.folder.join("exec"));
    }

    /// For DOCKER_HOST.
    pub fn host(&self) -> String {
        format!("unix://{}", self.folder.join("docker.sock").display())
    }

    /// `docker`, of this engine; its stdout.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn docker(&self, args: &[&str]) -> String {
        let host = self.host();
        tool("docker", ["--host", &host].iter().chain(args))
    }

    /// All that it has, whoever made it: to be compared.
    ///
    /// # Panics
    /// If it does not say.
    #[track_caller]
    pub fn stock(&self) -> Stock {
        let images = ["image", "ls", "--all", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"];
        // Docker lists what is of one second in any order.
        let sorted = |words: &[&str]| {
            let text = self.docker(words);
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            lines.join("\n")
        };
        Stock {
            containers: sorted(&["ps", "--all", "--format", "{{.Names}}"]),
            images: sorted(&images),
            volumes: sorted(&["volume", "ls", "--quiet"]),
        }
    }
}

/// What a Docker engine has.
#[derive(Debug, PartialEq, Eq)]
pub struct Stock {
    /// Names of containers, running or not.
    pub containers: String,
    /// Ids and names of images, those below others too.
    pub images: String,
    /// Volumes.
    pub volumes: String,
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.end(Signal::TERM)));
        unmount_below(&self.folder);
    }
}

/// Takes away all mounts below a folder, the inner ones first.
fn unmount_below(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points =
        mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| Path::new(point).starts_with(folder));
    for point in points.collect::<Vec<_>>().into_iter().rev() {
        let _ = Command::new("umount").args(["--lazy", point]).stderr(Stdio::null()).status(); // it may be gone
    }
}
