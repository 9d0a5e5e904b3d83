//! Some user who is not the one that runs the tests, where root does: setup is for people.

use crate::command::{Cmd, tool};
use crate::project::{Project, programs};
use rustix::process::getuid;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

/// Their uid and gid.
pub const IDS: (u32, u32) = (4242, 4343);

/// That user.
#[derive(Debug)]
pub struct Audrey {
    setpriv: Vec<String>,
    path: String,
}

impl Audrey {
    /// Gives them a project's world, and more of its folders. They are in a group more. None where a plain user runs the
    /// tests: that one will do.
    ///
    /// # Panics
    /// If it can't be given.
    #[track_caller]
    pub fn takes(project: &Project, more: &[&Path]) -> Option<Self> {
        if !getuid().is_root() {
            return None;
        }
        let root = project.root();
        let (folder, home, bin) = (project.folder(), project.home(), root.join("bin"));
        let own = [folder, home.clone(), home.join(".parallel"), root.join("run"), root.join("out")];
        for path in own.iter().map(|path| path.as_path()).chain(more.iter().copied()) {
            chown(path, Some(IDS.0), Some(IDS.1)).expect("root may");
        }
        // The programs may be in a folder that only root can enter.
        let from = programs();
        tool("cp", ["-rL", from.to_str().expect("UTF-8"), bin.to_str().expect("UTF-8")]);
        fs::set_permissions(&bin, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let docker = fs::metadata("/var/run/docker.sock").map_or(IDS.1, |socket| socket.gid());
        let groups = format!("{},{docker},4444", IDS.1);
        let words = ["--reuid", &IDS.0.to_string(), "--regid", &IDS.1.to_string(), "--groups", &groups];
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        Some(Self { setpriv: words.map(str::to_owned).to_vec(), path })
    }

    /// A program, run by them.
    pub fn runs(&self, cmd: Cmd) -> Cmd {
        let words: Vec<_> = self.setpriv.iter().map(String::as_str).collect();
        cmd.env("PATH", &self.path).env("USER", "audrey").env("LOGNAME", "audrey").by("setpriv", &words)
    }
}
