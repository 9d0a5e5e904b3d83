//! Images of a test's own, of random bytes: no two of them share a layer, nor compress.

use harness::{Project, tool};
use std::process::{Command, Stdio};

/// An image of the Docker engine at a host, removed when this is dropped, with all that had its name.
pub struct Picture {
    host: String,
    /// Its name.
    pub name: String,
}

/// The engine that all tests share.
pub fn shared() -> String {
    std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".into())
}

impl Picture {
    /// One layer of so many bytes.
    #[track_caller]
    pub fn new(project: &Project, host: &str, name: &str, bytes: u64) -> Self {
        let folder = project.root().join("picture");
        std::fs::create_dir_all(&folder).unwrap();
        let picture = Self { host: host.into(), name: name.into() };
        let script =
            "cd \"$1\" && head -c \"$2\" /dev/urandom >first && tar -c first | docker --host \"$3\" import - \"$4\"";
        tool("sh", ["-euc", script, "sh", folder.to_str().unwrap(), &bytes.to_string(), host, name]);
        picture
    }

    /// Puts a layer of so many bytes on top.
    #[track_caller]
    pub fn add(&self, project: &Project, bytes: u64) {
        let folder = project.root().join("picture");
        let script = "
            cd \"$1\" && head -c \"$2\" /dev/urandom >\"more\"
            container=$(docker --host \"$3\" create \"$4\" none)
            docker --host \"$3\" cp more \"$container:/more-$2\" && docker --host \"$3\" commit \"$container\" \"$4\"
            docker --host \"$3\" rm \"$container\"";
        tool("sh", ["-euc", script, "sh", folder.to_str().unwrap(), &bytes.to_string(), &self.host, &self.name]);
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        // What had the name before, and was pushed, is still there by its digest.
        let script = "
            docker --host \"$1\" image ls --quiet --filter \"reference=${2%:*}\" | sort -u |
                xargs -r docker --host \"$1\" image rm --force";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", &self.host, &self.name]);
        let _ = command.stdin(Stdio::null()).output(); // its engine may be gone
    }
}
