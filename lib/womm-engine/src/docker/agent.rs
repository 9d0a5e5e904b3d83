//! The agent's program, and what else an image that setup never saw lacks. `womm-image` bakes it into images;
//! [`super`] puts it into containers of images without it. Files travel as tar archives, which Docker's archive API
//! takes.

use crate::Error;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tar::{EntryType, Header};
use womm_wire::record::User;

/// Names the agent's program, if it is not beside the program that needs it.
pub const ENV_AGENT: &str = "WOMM_AGENT";
const PROGRAM: &str = "womm-agent";

/// The agent's program on the workstation: what `WOMM_AGENT` names, else `womm-agent` beside the running program.
///
/// # Errors
/// [`Error::Missing`] if it isn't a file there; says where it was looked for.
pub fn agent_binary() -> Result<PathBuf, Error> {
    find(std::env::var_os(ENV_AGENT), std::env::current_exe().ok().as_deref())
}

fn find(named: Option<OsString>, program: Option<&Path>) -> Result<PathBuf, Error> {
    let (path, help) = match (named.filter(|n| !n.is_empty()), program) {
        (Some(named), _) => (PathBuf::from(named), "WOMM_AGENT names it: correct or unset it".to_owned()),
        (None, Some(program)) => {
            let help = "build it with `bins/build`, or name it in WOMM_AGENT".to_owned();
            (program.with_file_name(PROGRAM), help)
        }
        (None, None) => (PathBuf::from(PROGRAM), "name its path in WOMM_AGENT".to_owned()),
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Missing { what: format!("the agent's program \"{}\"", path.display()), on: None, help })
}

/// A tar archive to be unpacked at `/`. Folders that hold an entry need none of their own: Docker makes those that are
/// missing, as root's and with mode 0755, and leaves the others as they are.
pub struct Archive {
    tar: tar::Builder<Vec<u8>>,
    now_s: u64,
}

impl Default for Archive {
    fn default() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { tar: tar::Builder::new(Vec::new()), now_s: now.as_secs() }
    }
}

impl Archive {
    /// Adds a file of root's, at an absolute path.
    ///
    /// # Errors
    /// If the path has `..` in it.
    pub fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        self.entry(EntryType::Regular, path, mode, (0, 0), bytes)
    }

    /// Adds a folder, at an absolute path. One that is there already gets this mode and owner.
    ///
    /// # Errors
    /// If the path has `..` in it.
    pub fn folder(&mut self, path: &str, mode: u32, uid: u32, gid: u32) -> io::Result<()> {
        self.entry(EntryType::Directory, path, mode, (uid, gid), &[])
    }

    fn entry(
        &mut self,
        kind: EntryType,
        path: &str,
        mode: u32,
        (uid, gid): (u32, u32),
        bytes: &[u8],
    ) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        header.set_mtime(self.now_s);
        header.set_size(bytes.len() as u64);
        self.tar.append_data(&mut header, path.trim_start_matches('/'), bytes)
    }

    /// The archive's bytes.
    ///
    /// # Errors
    /// None that a memory buffer has.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        self.tar.into_inner()
    }
}

/// `/etc/passwd` with an entry for the user; `None` if the uid has one already, or the entry can't be written there.
pub fn with_user(passwd: &[u8], user: &User) -> Option<Vec<u8>> {
    let line = format!("{}:x:{}:{}:{}:{}:/bin/sh", user.name, user.uid, user.gid, user.name, user.home);
    with_line(passwd, user.uid, &[&user.name, &user.home], &line)
}

/// `/etc/group` with an entry for the user's group; `None` if the gid has one already, or the entry can't be written.
pub fn with_group(group: &[u8], user: &User) -> Option<Vec<u8>> {
    let line = format!("{}:x:{}:", user.name, user.gid);
    with_line(group, user.gid, &[&user.name], &line)
}

/// Both files have the id third, and end a field with a colon.
fn with_line(file: &[u8], id: u32, fields: &[&str], line: &str) -> Option<Vec<u8>> {
    let id = id.to_string();
    let has_it = |entry: &[u8]| entry.split(|b| *b == b':').nth(2) == Some(id.as_bytes());
    let unfit = |field: &&str| field.contains([':', '\n', '\r']);
    if file.split(|b| *b == b'\n').any(has_it) || fields.iter().any(unfit) || fields[0].is_empty() {
        return None;
    }
    let mut text = file.to_vec();
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text.extend_from_slice(line.as_bytes());
    text.push(b'\n');
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn ada() -> User {
        User { name: "ada".into(), uid: 1000, gid: 1001, home: "/home/ada".into(), ..User::default() }
    }

    #[test]
    fn a_user_is_added_once() {
        let with = with_user(b"root:x:0:0:root:/root:/bin/bash", &ada()).expect("was missing");
        assert_eq!(with, b"root:x:0:0:root:/root:/bin/bash\nada:x:1000:1001:ada:/home/ada:/bin/sh\n");
        assert_eq!(with_user(&with, &ada()), None);
        assert_eq!(with_user(b"", &ada()).expect("empty"), b"ada:x:1000:1001:ada:/home/ada:/bin/sh\n");
        assert_eq!(with_group(b"staff:x:1001:\n", &ada()), None);
        assert_eq!(with_group(b"1001:x:5:\n", &ada()).expect("was missing"), b"1001:x:5:\nada:x:1001:\n");
        assert_eq!(with_user(b"", &User { home: "/a:b".into(), ..ada() }), None);
    }

    #[test]
    fn an_archive_holds_what_was_added() {
        let long = format!("/{}/x", "folder".repeat(40));
        let mut archive = Archive::default();
        archive.file("/usr/local/a", 0o755, b"abc").expect("a good path");
        archive.folder(&long, 0o1777, 7, 8).expect("a good path");
        assert!(archive.file("/a/../b", 0o644, b"").is_err());
        let bytes = archive.finish().expect("memory");
        let mut read = tar::Archive::new(&bytes[..]);
        let mut entries = read.entries().expect("a tar").map(|e| e.expect("an entry"));
        let mut file = entries.next().expect("first");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("memory");
        assert_eq!((file.path().expect("utf-8").to_str(), text.as_str()), (Some("usr/local/a"), "abc"));
        let folder = entries.next().expect("second");
        assert_eq!(folder.path().expect("utf-8").to_str(), Some(&long[1..]));
        assert_eq!((folder.header().mode().ok(), folder.header().uid().ok()), (Some(0o1777), Some(7)));
    }

    #[test]
    fn the_variable_wins_and_an_error_names_the_path() {
        let here = std::env::current_exe().expect("a test has a program");
        assert_eq!(find(Some(here.clone().into()), None).expect("a file"), here);
        let error = find(Some("/nowhere/a".into()), Some(&here)).expect_err("no such file").to_string();
        assert_eq!(error, "the agent's program \"/nowhere/a\" does not exist");
        let error = find(None, Some(Path::new("/nowhere/womm-pods"))).expect_err("no such file").to_string();
        assert_eq!(error, "the agent's program \"/nowhere/womm-agent\" does not exist");
    }
}
