//! Whether the scripts of `bins/womm`, which have no crate of their own, agree with our crates. Only tests.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../womm/womm-run.sh");
/// Set for the copies of this test that compare; each has an environment of its own, which a process can't change.
const COMPARE: &str = "WOMM_TEST_COMPARE";

#[test]
fn the_folder_of_runs_is_the_same_in_sh_and_in_rust() {
    if std::env::var_os(COMPARE).is_some() {
        return compare();
    }
    let dir = tempfile::tempdir().expect("a folder");
    let make = |name: &str, mode| {
        let path = dir.path().join(name);
        std::fs::create_dir(&path).expect("a folder");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        path
    };
    let (private, open, temporary) = (make("private", 0o700), make("open", 0o750), make("tmp", 0o755));
    for runtime in
        [private.as_os_str(), open.as_os_str(), OsStr::new("/nowhere"), OsStr::new("relative"), OsStr::new("")]
    {
        let program = std::env::current_exe().expect("a test has a program");
        let mut copy = Command::new(program);
        copy.args(["--exact", "scripts::the_folder_of_runs_is_the_same_in_sh_and_in_rust"]);
        copy.env(COMPARE, "1").env("XDG_RUNTIME_DIR", runtime).env("TMPDIR", &temporary);
        let output = copy.output().expect("it can be run");
        assert!(output.status.success(), "{runtime:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

fn compare() {
    let line = r#"name=test libexec=/; . "$1"; run_base"#;
    let output = Command::new("sh").args(["-uc", line, "sh", SCRIPT]).output().expect("there is a shell");
    let of_sh = String::from_utf8(output.stdout).expect("UTF-8");
    let of_rust = womm_cli::run::base().expect("a folder of runs");
    assert_eq!(of_sh.trim_end(), of_rust.to_str().expect("UTF-8"), "{}", String::from_utf8_lossy(&output.stderr));
}
