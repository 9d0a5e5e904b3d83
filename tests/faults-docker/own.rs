//! A Docker engine of a test's own that runs containers: in namespaces that live and die with one process, as the machines of
//! tests/cluster, so all that it starts and mounts goes with it. Wants root.

use harness::{LONG, tool, until};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// It runs as long as this lives, but for the time between [`Own::kill`] and [`Own::resume`].
pub struct Own {
    machine: Child,
    dockerd: Child,
    folder: PathBuf,
}

/// The machine's first process. /run is its own: a containerd of the system's there would be taken by dockerd.
const FIRST: &str = "mount -t tmpfs none /run && echo up && { sleep infinity & wait; }";

impl Own {
    /// Where DOCKER_HOST has to point for one in this folder.
    pub fn host(folder: &Path) -> String {
        format!("unix://{}/docker.sock", folder.display())
    }

    /// Starts one, with its socket and its data in a folder, and an image of `docker save` that is there.
    #[track_caller]
    pub fn start(folder: &Path, image: &Path, live_restore: bool) -> Self {
        assert!(rustix::process::getuid().is_root(), "this test starts a Docker engine: run it as root");
        fs::write(folder.join("daemon.json"), format!("{{\"live-restore\": {live_restore}}}")).unwrap();
        let mut command = Command::new("setpriv");
        // However this process ends.
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]);
        command.args(["--mount-proc", "sh", "-c", FIRST]).stdin(Stdio::null());
        let machine = command.stdout(fs::File::create(folder.join("up")).unwrap()).spawn().unwrap();
        let is_up = || fs::read_to_string(folder.join("up")).is_ok_and(|text| text == "up\n");
        until(LONG, "a machine", || is_up().then_some(()));
        let dockerd = dockerd(&machine, folder);
        let own = Self { machine, dockerd, folder: folder.into() };
        own.answers();
        tool("docker", ["--host", &Self::host(folder), "load", "--input", image.to_str().unwrap()]);
        own
    }

    /// SIGKILL to dockerd; its containerd goes with it, containers do not.
    #[track_caller]
    pub fn kill(&mut self) {
        let pid = self.folder.join("pid");
        let killed = inside(&self.machine).args(["sh", "-c", "kill -KILL \"$(cat \"$1\")\"", "sh"]).arg(&pid).status();
        assert!(killed.unwrap().success());
        self.dockerd.wait().unwrap();
        fs::remove_file(pid).unwrap(); // the number may be another's by then
    }

    /// Starts it again, with what it had.
    #[track_caller]
    pub fn resume(&mut self) {
        self.dockerd = dockerd(&self.machine, &self.folder);
        self.answers();
    }

    #[track_caller]
    fn answers(&self) {
        until(LONG, format!("dockerd, see {}/log", self.folder.display()), || {
            let mut command = Command::new("docker");
            command.args(["--host", &Self::host(&self.folder), "info"]).stdin(Stdio::null());
            command.output().is_ok_and(|output| output.status.success()).then_some(())
        });
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.machine.kill(); // its first process hears of it, and all others end with that
        let _ = self.machine.wait();
        let _ = self.dockerd.wait();
    }
}

/// A command inside the machine.
fn inside(machine: &Child) -> Command {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", machine.id())).unwrap();
    let mut command = Command::new("nsenter");
    command.args(["--target", children.trim(), "--mount", "--net", "--pid", "--"]).stdin(Stdio::null());
    command
}

fn dockerd(machine: &Child, folder: &Path) -> Child {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut command = inside(machine);
    // It finds out which storage driver the file system can have. There is no network beyond the machine's own.
    command.args(["dockerd", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]);
    command.args(["--config-file", &path("daemon.json"), "--pidfile", &path("pid"), "--host", &Own::host(folder)]);
    command.args(["--data-root", &path("data"), "--exec-root", &path("exec")]);
    let log = fs::File::options().create(true).append(true).open(path("log")).unwrap();
    command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
}
