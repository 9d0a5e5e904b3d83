//! A project, a base image for it, and the proof that nothing else is left.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::image::Labelled;
use harness::inside::{self, Allowed};
use harness::{Audrey, Cmd, Engine, Outcome, Project, Terminal, screen, tool, until};
use std::fs;
use std::path::{Path, PathBuf};

/// A test's world.
pub struct World {
    base: Labelled,
    pub project: Project,
    /// Who runs setup, if it is not who runs the tests.
    user: Option<Audrey>,
    folder: PathBuf,
    home: PathBuf,
}

/// What the user has here, and is in no image: in the environment, in the Docker config, on lines that were typed.
const SECRETS: &[&str] = &["secret-of-the-environment", PASSWORD, "typed-secret"];
const PASSWORD: &str = "secret-of-the-config";

impl World {
    /// With the small Debian.
    pub fn new() -> Self {
        Self::on("")
    }

    /// With what more lines of a Dockerfile make of it.
    pub fn on(more: &str) -> Self {
        let project = Project::without_image(Engine::Docker);
        let base = Labelled::on(&project, more);
        Self::with(project, base)
    }

    /// With nothing but busybox: neither bash nor perl nor a package manager, not even /etc/passwd.
    pub fn busybox() -> Self {
        let project = Project::without_image(Engine::Docker);
        let program =
            std::env::var("WOMM_TEST_BUSYBOX").expect("WOMM_TEST_BUSYBOX: tests/run names a static busybox there");
        let root = project.root().join("busybox");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::copy(&program, root.join("bin/busybox")).unwrap();
        for name in tool(&program, ["--list"]).lines() {
            let _ = std::os::unix::fs::symlink("busybox", root.join("bin").join(name)); // busybox itself is in the list
        }
        let archive = project.root().join("busybox.tar");
        tool("tar", ["-C", root.to_str().unwrap(), "-cf", archive.to_str().unwrap(), "."]);
        let base = Labelled::import(&project, &archive, "CMD [\"/bin/sh\"]");
        Self::with(project, base)
    }

    fn with(project: Project, base: Labelled) -> Self {
        let (folder, home) = (project.folder(), project.home());
        let login = STANDARD.encode(format!("audrey:{PASSWORD}"));
        fs::create_dir(home.join(".docker")).unwrap();
        let config = format!("{{\"auths\": {{\"registry.example.org\": {{\"auth\": \"{login}\"}}}}}}");
        fs::write(home.join(".docker/config.json"), config).unwrap();
        Self { base, project, user: None, folder, home }
    }

    /// In another folder below the test's, which is made.
    pub fn within(mut self, folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        self.folder = folder.to_owned();
        self
    }

    /// With another HOME below the test's folder, which is made.
    pub fn at_home_in(mut self, home: &Path) -> Self {
        fs::create_dir_all(home).unwrap();
        self.home = home.to_owned();
        self
    }

    /// As a plain user, who is in a group more; where the tests are run by one, as that one.
    pub fn for_audrey(mut self) -> Self {
        self.user = Audrey::takes(&self.project, &[&self.folder, &self.home]);
        self
    }

    /// A program, as the user and in the folder of this test.
    pub fn cmd(&self, program: &str) -> Cmd {
        let cmd = self.project.cmd(program).cwd(&self.folder).env("HOME", &self.home).env_remove("LS_COLORS");
        let cmd = cmd.env("NOT_EXPORTED_THERE", SECRETS[0]);
        match &self.user {
            Some(audrey) => audrey.runs(cmd),
            None => cmd,
        }
    }

    /// `womm setup`.
    pub fn setup(&self, words: &str) -> Cmd {
        self.cmd("womm").arg("setup").words(words)
    }

    /// The same in a terminal.
    pub fn terminal(&self, words: &str) -> Terminal {
        Terminal::start(self.setup(words), 33, 101)
    }

    /// `womm setup --engine docker --share bind --base …`: only the shell is left to come; at its prompt.
    pub fn shell(&self, words: &str) -> Terminal {
        let words = format!("--engine docker --share bind --base {} {words}", self.base());
        let mut terminal = self.terminal(&words);
        prompt(&mut terminal);
        terminal
    }

    /// Runs a job on engine docker; what it wrote.
    pub fn job(&self, script: &str) -> Outcome {
        let cmd = self.cmd("womm").words("parallel --kube-pods 1 -n0 --").arg(script).words("::: 1");
        cmd.run()
    }

    pub fn base(&self) -> &str {
        self.base.name()
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The name of the image that `.womm` names.
    pub fn image(&self) -> String {
        let text = fs::read_to_string(self.folder.join(".womm")).expect(".womm is there");
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        file["image"].as_str().unwrap().to_owned()
    }

    /// What was on a terminal, as text that is the same each time.
    pub fn text(&self, seen: &str) -> String {
        let folder = self.folder.to_str().unwrap();
        screen::text(&self.project, &[(folder, "/home/audrey/supercool"), (self.base(), "debian:12")], seen)
    }

    /// Compares it with the file of that name.
    #[track_caller]
    pub fn shows(&self, name: &str, seen: &str) {
        screen::is(&format!("setup/screens/{name}"), &self.text(seen));
    }

    /// Containers of this test, running or not.
    pub fn containers(&self) -> Vec<String> {
        self.base.containers()
    }

    /// Images of this test, but for the base and what is below the named ones.
    pub fn images(&self) -> Vec<String> {
        self.base.images()
    }

    /// Proves that setup left nothing at all.
    #[track_caller]
    pub fn nothing_was_made(&self) {
        self.base.nothing_was_made();
        let names: Vec<_> = fs::read_dir(&self.folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(names.is_empty(), "files in the folder: {names:?}");
        assert!(!self.project.home().join(".womm_prefix").exists(), "a prefix was kept");
    }

    /// Proves that setup left the image, and `.womm`, and nothing else. Files of the test's own begin with "made".
    #[track_caller]
    pub fn only_the_image_was_made(&self) {
        self.base.only_was_made(&self.image());
        self.is_clean_inside();
        let names = fs::read_dir(&self.folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let names: Vec<_> = names.filter(|name| !name.starts_with("made")).collect();
        assert_eq!(names, [".womm"], "files in the folder");
    }

    /// Proves that the image has nothing in it that is the workstation's, setup's, or secret.
    #[track_caller]
    fn is_clean_inside(&self) {
        let login = STANDARD.encode(format!("audrey:{PASSWORD}"));
        let secrets: Vec<_> = SECRETS.iter().copied().chain([login.as_str()]).collect();
        let (root, cwd, home) = (self.project.root(), self.folder.as_path(), self.home.as_path());
        inside::is_clean(&self.image(), self.base(), &Allowed { root, cwd, home, secrets: &secrets });
    }

    /// A question of Docker's about the image.
    pub fn inspect(&self, format: &str) -> String {
        tool("docker", ["image", "inspect", "--format", format, &self.image()]).trim().to_owned()
    }
}

/// Waits for the setup shell's first prompt, and makes it one that is known.
#[track_caller]
pub fn prompt(terminal: &mut Terminal) {
    terminal.until("are installed: perl");
    terminal.until_any(&["# ", "$ "]);
    // What the shell writes itself is not on the line that is typed.
    terminal.keys("PS1='prompt''> '\n");
    terminal.until("prompt> ");
}

/// Runs a line in it.
#[track_caller]
pub fn run(terminal: &mut Terminal, line: &str) -> String {
    terminal.keys(&format!("{line}\n"));
    terminal.until("\r\n"); // what was typed
    // What bash says to the terminal about pasting is no output.
    terminal.until("prompt> ").replace("\x1b[?2004l\r", "").replace("\x1b[?2004h", "")
}

/// Waits for a question, and answers it.
#[track_caller]
pub fn answer(terminal: &mut Terminal, question: &str, keys: &str) {
    terminal.answer(question, keys);
}

/// Leaves the shell; it works.
#[track_caller]
pub fn it_works(mut terminal: Terminal) -> String {
    terminal.keys("exit\n");
    answer(&mut terminal, "Does it work? y/n", "y\n");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 0, "{seen}");
    seen
}

/// Ends a setup by `*` at the last question, so that nothing is made.
#[track_caller]
pub fn throw_away(mut terminal: Terminal) {
    terminal.keys("exit\n");
    terminal.answer("Does it work? y/n", "*\n");
    let (code, seen) = terminal.finish();
    assert_eq!(code, 1, "{seen}");
}

/// Waits until a container does not run any more.
#[track_caller]
pub fn until_stopped(container: &str) {
    until(harness::LONG, "the end of the container", || {
        let state = tool("docker", ["inspect", "--format", "{{.State.Running}}", container]);
        (state.trim() == "false").then_some(())
    });
}
