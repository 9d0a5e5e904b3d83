//! A test's own world: a project's folder, a HOME, a run folder, a TMPDIR, an environment; and, when it is dropped,
//! the proof that nothing of it is left.

use crate::command::Cmd;
use crate::engine::{Engine, kubeconfig};
use crate::image;
use crate::process;
use crate::wait::{PAUSE, SOON};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// What the shared image exports to jobs: name and value.
pub const VARIABLE: (&str, &str) = ("FROM_SETUP", "two  words, a \"quote\" and $HOME");

/// The user's name where no passwd entry says another.
pub const USER: &str = "audrey";

/// A test's own world.
#[derive(Debug)]
pub struct Project {
    engine: Option<Engine>,
    root: Option<TempDir>,
    path: PathBuf,
    mark: String,
    user: String,
    env: Vec<(OsString, OsString)>,
}

/// The folder of the programs under test.
///
/// # Panics
/// If there are none.
#[track_caller]
pub fn programs() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/womm/bin");
    let folder = std::env::var_os("WOMM_BIN").map_or(built, PathBuf::from);
    assert!(
        folder.join("womm").is_file(),
        "no program womm in {}: build the programs with bins/build, or name their folder in WOMM_BIN",
        folder.display()
    );
    fs::canonicalize(&folder).expect("it was there just now")
}

impl Project {
    /// With `.womm`, for an image that setup made.
    #[track_caller]
    pub(crate) fn on(engine: Engine) -> Self {
        let mut made = image::shared(engine).clone();
        let project = Self::without_image(engine);
        made["cwd"] = project.folder().to_str().expect("made of UTF-8 below").into();
        project.write(".womm", made.to_string());
        project
    }

    /// Without `.womm`.
    #[track_caller]
    pub fn without_image(engine: Engine) -> Self {
        let mut project = Self::without_engine();
        project.engine = Some(engine);
        project
    }

    /// For programs that reach no engine.
    #[track_caller]
    pub fn without_engine() -> Self {
        let root = tempfile::Builder::new().prefix("womm-test-").tempdir().expect("room in TMPDIR");
        let path = fs::canonicalize(root.path()).expect("it was just made");
        // Others may pass through: some tests run as another user.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        for (name, mode) in [("project", 0o755), ("home", 0o755), ("run", 0o700), ("tmp", 0o1777), ("out", 0o755)] {
            DirBuilder::new().mode(mode).create(path.join(name)).expect("it is ours");
            fs::set_permissions(path.join(name), fs::Permissions::from_mode(mode)).expect("whatever the umask");
        }
        fs::create_dir(path.join("home/.parallel")).expect("it is ours");
        fs::write(path.join("home/.parallel/will-cite"), "").expect("it is ours");
        let mark = path.file_name().expect("it has one").to_string_lossy().into_owned();
        crate::after::test(&mark, &path);
        let user = user_by_passwd().unwrap_or_else(|| USER.to_owned());
        let mut project = Self { engine: None, root: Some(root), path, mark, user, env: Vec::new() };
        project.env = project.environment();
        project
    }

    fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut path = programs().into_os_string();
        if let Some(parallel) = std::env::var_os("WOMM_TEST_PARALLEL") {
            path.push(":");
            path.push(Path::new(&parallel).parent().expect("the path of a program"));
        }
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
        let mut env: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), path),
            ("HOME".into(), self.home().into()),
            ("USER".into(), self.user.clone().into()),
            ("LOGNAME".into(), self.user.clone().into()),
            ("SHELL".into(), "/bin/bash".into()),
            ("LANG".into(), "C.UTF-8".into()),
            ("TMPDIR".into(), self.tmp().into()),
            ("XDG_RUNTIME_DIR".into(), self.path.join("run").into()),
            (process::MARK.into(), self.mark.clone().into()),
        ];
        if std::env::var("WOMM_TEST_ENGINE").is_ok_and(|engine| engine == "kube") {
            env.push(("KUBECONFIG".into(), kubeconfig().into()));
        }
        env.extend(
            ["DOCKER_HOST", "WOMM_AGENT"].iter().filter_map(|name| Some((name.into(), std::env::var_os(name)?))),
        );
        env
    }

    /// The engine.
    ///
    /// # Panics
    /// If it has none.
    #[track_caller]
    pub fn engine(&self) -> Engine {
        self.engine.expect("this project has an engine")
    }

    /// The folder that holds all of this test.
    pub fn root(&self) -> &Path {
        &self.path
    }

    /// The project's folder.
    pub fn folder(&self) -> PathBuf {
        self.path.join("project")
    }

    /// HOME.
    pub fn home(&self) -> PathBuf {
        self.path.join("home")
    }

    /// TMPDIR.
    pub fn tmp(&self) -> PathBuf {
        self.path.join("tmp")
    }

    /// The user's name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What marks the processes of this test.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// A path in the project's folder.
    pub fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder().join(name)
    }

    /// Writes a file into the project's folder; its path.
    ///
    /// # Panics
    /// If it can't be written.
    #[track_caller]
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        fs::write(&path, content).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
        path
    }

    /// Writes a program into a folder of the test beside the project; its path.
    ///
    /// # Panics
    /// If it can't be written.
    #[track_caller]
    pub fn tool(&self, name: &str, script: &str) -> PathBuf {
        let folder = self.path.join("tools");
        fs::create_dir_all(&folder).expect("it is ours");
        let path = folder.join(name);
        fs::write(&path, script).expect("it is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        path
    }

    /// `.womm`.
    ///
    /// # Panics
    /// If there is none, or no JSON in it.
    #[track_caller]
    pub fn womm_file(&self) -> Value {
        let text = fs::read_to_string(self.at(".womm")).expect(".womm is there");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Changes a key of `.womm`.
    ///
    /// # Panics
    /// As [`Project::womm_file`].
    #[track_caller]
    pub fn configure(&self, key: &str, value: impl Into<Value>) {
        let mut file = self.womm_file();
        file[key] = value.into();
        self.write(".womm", file.to_string());
    }

    /// A program in the project's folder, with the test's environment.
    pub fn cmd(&self, program: impl AsRef<OsStr>) -> Cmd {
        Cmd::new(program, &self.folder(), self.env.clone(), &self.path.join("out"))
    }

    /// `sh -c SCRIPT`.
    pub fn sh(&self, script: &str) -> Cmd {
        self.cmd("sh").args(["-c", script])
    }

    /// `womm`.
    pub fn womm(&self) -> Cmd {
        self.cmd("womm")
    }

    /// `womm parallel --kube-pods N`.
    pub fn parallel(&self, pods: u32) -> Cmd {
        let cmd = self.womm().args(["parallel", "--kube-pods", &pods.to_string()]);
        match self.engine {
            // Requests, not limits, there: many tests at once must find room on a cluster of a small machine.
            Some(Engine::Kube) => cmd.words("--kube-cpu 50m"),
            _ => cmd,
        }
    }

    /// `womm ssh`, as from another terminal.
    pub fn ssh(&self) -> Cmd {
        self.womm().arg("ssh")
    }

    /// GNU parallel by itself over an ssh that runs its command on the workstation: how things should be.
    pub fn parallel_by_ssh(&self) -> Cmd {
        let ssh = self.tool("ssh", STAND_IN);
        self.cmd("parallel").arg("--ssh").arg(ssh).words("--sshlogin 1/w001,1/w002")
    }

    /// Run folders of this test. One without a lock is of a run that was killed in its first milliseconds, before it had
    /// any helper: the next run removes it.
    pub fn run_folders(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path.join("run/womm")).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|run| run.join("lock").exists()).collect()
    }

    /// What a run must not leave, in words.
    ///
    /// # Panics
    /// If the engine does not say what it has.
    #[track_caller]
    pub fn left(&self) -> Vec<String> {
        let processes = process::marked(&self.mark).into_iter().map(|p| format!("process {} ({})", p.pid, p.command));
        let objects = self.engine.map(|engine| engine.left(&self.path)).unwrap_or_default();
        let folders = self.run_folders().into_iter().map(|path| format!("run folder {}", path.display()));
        processes.chain(objects.iter().map(ToString::to_string)).chain(folders).collect()
    }

    /// Waits until nothing of this test is left, no longer than a user is promised.
    ///
    /// # Panics
    /// If something is.
    #[track_caller]
    pub fn is_clean(&self) {
        let since = Instant::now();
        loop {
            let left = self.left();
            if left.is_empty() {
                return;
            }
            assert!(since.elapsed() < SOON, "left after {} s:\n  {}", SOON.as_secs(), left.join("\n  "));
            std::thread::sleep(PAUSE);
        }
    }

    /// After a failure: nothing of it may disturb other tests.
    fn clear(&mut self) {
        process::kill(&process::marked(&self.mark));
        if let Some(engine) = self.engine {
            let left = std::panic::catch_unwind(|| engine.left(&self.path)).unwrap_or_default();
            engine.clear(&left);
        }
        if std::env::var_os("WOMM_TEST_KEEP").is_some()
            && let Some(root) = self.root.take()
        {
            let kept = self.path.with_extension("kept");
            match fs::rename(root.keep(), &kept) {
                Ok(()) => eprintln!("kept: {}", kept.display()),
                Err(e) => eprintln!("can't be kept as {}: {e}", kept.display()),
            }
        }
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.clear();
            return;
        }
        let clean = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.is_clean()));
        if let Err(panic) = clean {
            self.clear();
            std::panic::resume_unwind(panic);
        }
    }
}

/// The name that passwd has for us.
fn user_by_passwd() -> Option<String> {
    let output = Command::new("id").arg("-un").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let name = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    Some(name.trim().to_owned())
}

/// `ssh [OPTIONS] HOST -- COMMAND...`, on the workstation.
const STAND_IN: &str = r#"#!/bin/sh
# An ssh for GNU parallel that runs its command here: what a job over a real one would see. As with sshd, parallel's own
# variables stay behind.
for name in $(env | sed -n 's/^\(PARALLEL_[A-Z0-9_]*\)=.*/\1/p'); do unset "$name"; done
while [ "$1" != -- ]; do shift; done
shift
sh -c "$*"
exit $? # 128+N after signal N
"#;
