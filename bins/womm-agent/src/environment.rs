//! What a job finds: its environment, its cwd. And what must hold before it may start: GNU parallel's wrapper turns
//! its own death into exit 0 without SHELL, without TMPDIR, or with a full one (measured), so a job is refused then.

use crate::which::executable;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use womm_wire::frame::Open;
use womm_wire::names;

/// Free space in TMPDIR below which no job starts, bytes.
const LEAST_FREE: u64 = 256 << 10;
/// The same of inodes, on file systems that count them.
const LEAST_INODES: u64 = 16;
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is the same for all jobs of this pod.
#[derive(Debug)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    cwd: PathBuf,
    make_cwd: bool,
    shell: PathBuf,
    tmpdir: PathBuf,
}

impl Environment {
    /// From the container's own variables, and what the image's passwd says.
    pub fn of_this_pod() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let passwd = fs::read("/etc/passwd").unwrap_or_default();
        Self::new(std::env::vars_os().collect(), entry(&passwd, uid).unwrap_or_default())
    }

    fn new(given: BTreeMap<OsString, OsString>, entry: Entry) -> Self {
        let own = |name: &str| given.get(&OsString::from(name)).filter(|v| !v.is_empty()).cloned();
        let tmpdir = PathBuf::from(own(names::ENV_TMPDIR).unwrap_or_else(|| "/tmp".into()));
        let home = [own(names::ENV_HOME), Some(entry.home)];
        let home = home.into_iter().flatten().find(|home| usable_home(Path::new(home)));
        let home = home.unwrap_or_else(|| tmpdir.clone().into_os_string());
        let user = own(names::ENV_USER).unwrap_or(entry.name);
        let shell = [Some(entry.shell), Some("/bin/bash".into()), Some("/bin/sh".into())];
        let shell = shell.into_iter().flatten().map(PathBuf::from).find(|s| executable(s));
        let shell = shell.unwrap_or_else(|| "/bin/sh".into());

        let cwd = own(names::ENV_CWD).unwrap_or_else(|| "/".into());
        let hostname = own(names::ENV_HOSTNAME).unwrap_or_else(hostname);
        let mut variables: BTreeMap<OsString, OsString> = given.clone();
        variables.retain(|name, _| !ours(name));
        for (name, value) in [
            ("USER", user.clone()),
            ("LOGNAME", user),
            ("HOME", home),
            ("SHELL", shell.clone().into_os_string()),
            ("TMPDIR", tmpdir.clone().into_os_string()),
            ("HOSTNAME", hostname),
        ] {
            variables.insert(name.into(), value);
        }
        variables.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.into());
        variables.entry("LANG".into()).or_insert_with(|| "C.UTF-8".into());
        Self { variables, cwd: cwd.into(), make_cwd: own(names::ENV_MAKE_CWD).is_some(), shell, tmpdir }
    }

    /// The job as its supervisor is to run it: everything decided.
    ///
    /// # Errors
    /// Why it can't run here, in words.
    pub fn complete(&self, mut open: Open) -> Result<Open, String> {
        self.check()?;
        let cwd = open.cwd.take().map_or_else(|| self.cwd.clone(), |cwd| OsString::from_vec(cwd).into());
        if self.make_cwd && !cwd.exists() {
            let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&cwd);
            made.map_err(|e| format!("make the folder {cwd:?} in the pod: {e}"))?;
        }
        let mut variables = self.variables.clone();
        for (name, value) in open.env.drain(..) {
            variables.insert(OsString::from_vec(name), OsString::from_vec(value));
        }
        variables.insert("PWD".into(), cwd.clone().into_os_string());
        if let Some((term, _)) = &open.terminal {
            variables.insert("TERM".into(), OsString::from_vec(term.clone()));
        }
        if let Some(subsystem) = open.subsystem.take() {
            open.command = Some(self.subsystem(&subsystem)?);
        }
        open.cwd = Some(cwd.into_os_string().into_vec());
        open.env = variables.into_iter().map(|(k, v)| (k.into_vec(), v.into_vec())).collect();
        Ok(open)
    }

    fn check(&self) -> Result<(), String> {
        if !executable(&self.shell) {
            return Err(format!("the image has no shell: neither {} nor /bin/sh", self.shell.display()));
        }
        let tmpdir = self.tmpdir.display();
        let stat = rustix::fs::statvfs(&self.tmpdir).map_err(|e| format!("TMPDIR {tmpdir} in the pod: {e}"))?;
        let writable = rustix::fs::access(&self.tmpdir, rustix::fs::Access::WRITE_OK);
        writable.map_err(|e| format!("TMPDIR {tmpdir} in the pod can't be written to: {e}"))?;
        if let Some(full) = full(&stat) {
            return Err(format!("TMPDIR {tmpdir} in the pod {full}"));
        }
        Ok(())
    }

    /// sshd's `Subsystem sftp`, by the places where distributions keep the program.
    fn subsystem(&self, name: &[u8]) -> Result<Vec<u8>, String> {
        const SFTP: [&str; 4] = [
            "/usr/lib/openssh/sftp-server",
            "/usr/libexec/openssh/sftp-server",
            "/usr/lib/ssh/sftp-server",
            "/usr/libexec/sftp-server",
        ];
        match name {
            b"sftp" => SFTP
                .iter()
                .find(|path| executable(Path::new(path)))
                .map(|path| format!("exec {path}").into_bytes())
                .ok_or_else(|| "the image has no sftp-server: install openssh-sftp-server in it".into()),
            _ => Err(format!("no subsystem \"{}\", only sftp", String::from_utf8_lossy(name))),
        }
    }
}

/// What to say of a file system that has no room for a job.
fn full(stat: &rustix::fs::StatVfs) -> Option<&'static str> {
    if stat.f_bavail.saturating_mul(stat.f_frsize) < LEAST_FREE {
        return Some("is full");
    }
    // btrfs and others have none to run out of, and say 0 of 0.
    (stat.f_files > 0 && stat.f_favail < LEAST_INODES).then_some("is full: no inodes are free")
}

/// What is not for jobs: our own variables, and where the API server is, which the kubelet tells every container even
/// without service links. A job has no token for it, and on the workstation would not see it.
fn ours(name: &OsString) -> bool {
    let prefixes = [names::ENV_PREFIX, "KUBERNETES_SERVICE_", "KUBERNETES_PORT"];
    prefixes.iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes()))
}

fn usable_home(home: &Path) -> bool {
    home.is_absolute()
        && (home.is_dir() || fs::create_dir_all(home).is_ok())
        && rustix::fs::access(home, rustix::fs::Access::READ_OK).is_ok()
}

fn hostname() -> OsString {
    OsString::from_vec(rustix::system::uname().nodename().to_bytes().to_vec())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Entry {
    name: OsString,
    home: OsString,
    shell: OsString,
}

/// passwd(5): name:password:UID:GID:GECOS:directory:shell
fn entry(passwd: &[u8], uid: u32) -> Option<Entry> {
    let uid = uid.to_string();
    passwd.split(|b| *b == b'\n').find_map(|line| {
        let fields: Vec<_> = line.split(|b| *b == b':').collect();
        let text = |at: usize| OsString::from_vec(fields[at].to_vec());
        (fields.len() >= 7 && fields[2] == uid.as_bytes()).then(|| Entry {
            name: text(0),
            home: text(5),
            shell: text(6),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(tmpdir: &Path, more: &[(&str, &str)]) -> Environment {
        let mut given: BTreeMap<OsString, OsString> =
            more.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))).collect();
        given.insert(names::ENV_TMPDIR.into(), tmpdir.into());
        Environment::new(given, Entry { name: "image".into(), home: "/".into(), shell: "/bin/sh".into() })
    }

    fn value(open: &Open, name: &str) -> Option<String> {
        let (_, value) = open.env.iter().find(|(k, _)| k == name.as_bytes())?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    #[test]
    fn a_job_sees_the_user_and_not_our_own_variables() {
        let dir = tempfile::tempdir().expect("a folder");
        let given = [
            ("WOMM_USER", "audrey"),
            ("WOMM_HOSTNAME", "pod-1"),
            ("HOSTNAME", "setup"),
            ("APP", "1"),
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ];
        let open = environment(dir.path(), &given).complete(Open::default()).expect("runs");
        for (name, expected) in
            [("USER", "audrey"), ("LOGNAME", "audrey"), ("HOSTNAME", "pod-1"), ("APP", "1"), ("SHELL", "/bin/sh")]
        {
            assert_eq!(value(&open, name).as_deref(), Some(expected), "{name}");
        }
        assert!(!open.env.iter().any(|(k, _)| k.starts_with(b"WOMM_") || k.starts_with(b"KUBERNETES_")));
    }

    #[test]
    fn without_a_tmpdir_a_job_is_refused() {
        let gone = environment(Path::new("/nonexistent/tmp"), &[]).complete(Open::default());
        assert!(gone.unwrap_err().contains("TMPDIR /nonexistent/tmp"));
    }

    #[test]
    fn a_tmpdir_without_blocks_or_inodes_is_full() {
        let roomy = rustix::fs::StatVfs {
            f_bsize: 4096,
            f_frsize: 4096,
            f_blocks: 1000,
            f_bfree: 1000,
            f_bavail: 1000,
            f_files: 1000,
            f_ffree: 1000,
            f_favail: 1000,
            f_fsid: 0,
            f_flag: rustix::fs::StatVfsMountFlags::empty(),
            f_namemax: 255,
        };
        assert_eq!(full(&roomy), None);
        assert_eq!(full(&rustix::fs::StatVfs { f_files: 0, f_favail: 0, ..roomy }), None, "inodes without number");
        assert_eq!(full(&rustix::fs::StatVfs { f_favail: 15, ..roomy }), Some("is full: no inodes are free"));
        assert_eq!(full(&rustix::fs::StatVfs { f_bavail: 63, ..roomy }), Some("is full"));
    }

    #[test]
    fn share_none_makes_the_subfolder() {
        let dir = tempfile::tempdir().expect("a folder");
        let cwd = dir.path().join("a/b \u{fe}");
        let job = || Open { cwd: Some(cwd.as_os_str().as_bytes().to_vec()), ..Open::default() };
        environment(dir.path(), &[]).complete(job()).expect("the supervisor says it");
        assert!(!cwd.exists());
        environment(dir.path(), &[(names::ENV_MAKE_CWD, "1")]).complete(job()).expect("made");
        assert!(cwd.is_dir());
    }

    #[test]
    fn passwd_is_read_by_uid() {
        let passwd = b"root:x:0:0:root:/root:/bin/bash\nbroken\naudrey:x:1000:1000:,,,:/home/audrey:/bin/zsh\n";
        let found = entry(passwd, 1000).expect("there");
        assert_eq!((found.name, found.shell), ("audrey".into(), "/bin/zsh".into()));
        assert_eq!(entry(passwd, 7), None);
    }
}
