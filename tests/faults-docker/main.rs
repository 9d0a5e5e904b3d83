//! The Docker engine itself breaks in the middle of a run: one of the test's own, since the machine's is everybody's.

// In a test a panic is the failure; clippy does not know the helpers beside the tests for such.
#![allow(clippy::unwrap_used)]

mod own;

use harness::fault::{Seen, Shape, Work};
use harness::{Engine, Project, tool};
use own::Own;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The folder of the engine that a test has.
const FOLDER: &str = "WOMM_TEST_OWN_DOCKER";

/// Eight jobs in two pods, whose engine is killed and started again after a while. `name` is the test's: it runs once more, in a
/// process of its own, where all that asks for an engine reaches that one.
fn killed_and_started_again(name: &str, live_restore: bool, judge: impl FnOnce(Seen)) {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        let project = Project::without_engine();
        let folder = project.root().join("docker");
        std::fs::create_dir(&folder).unwrap();
        tool("docker", ["save", "--output", image(&folder).to_str().unwrap(), &harness::image::base()]);
        let mut test = Command::new(std::env::current_exe().unwrap());
        test.args([name, "--exact", "--nocapture", "--test-threads=1"]);
        test.env(FOLDER, &folder).env("DOCKER_HOST", Own::host(&folder));
        assert!(test.status().unwrap().success(), "it has said why");
        return;
    };
    let mut own = Own::start(&folder, &image(&folder), live_restore);
    let away = Duration::from_secs(4);
    let shape = Shape { pods: 2, ..Shape::outlasting(away) };
    let work = Work::start(Engine::under_test().project(), shape, |cmd| cmd);
    own.kill();
    work.stands_still();
    std::thread::sleep(away);
    own.resume();
    judge(work.finish());
}

fn image(folder: &Path) -> PathBuf {
    folder.join("base.tar")
}

/// Containers go on without it, and so do their jobs; before Docker 25, when it comes back it ends those that it is to remove
/// once they have ended, as ours (moby#46308).
#[test]
fn with_live_restore() {
    killed_and_started_again("with_live_restore", true, |seen| {
        let version = tool("docker", ["version", "--format", "{{.Server.Version}}"]);
        let fault = "dockerd with `live-restore` is killed (SIGKILL), and started after 4 s";
        if version.split('.').next().unwrap().parse::<u32>().unwrap() >= 25 {
            seen.none_lost();
            assert_eq!(seen.pods.len(), 2, "both pods stayed: {:?}", seen.pods);
            seen.told(&format!("{fault}; Docker 25 or later; 2 pods"));
        } else {
            all_lost(&seen);
            seen.told(&format!("{fault}: before Docker 25 it ends our containers (moby#46308); 2 pods"));
        }
    });
}

fn all_lost(seen: &Seen) {
    seen.lost_are(&(1..=8).collect::<Vec<_>>()).because(&["removed"]);
}

/// When it comes back it ends all containers that it finds.
#[test]
fn without_live_restore() {
    killed_and_started_again("without_live_restore", false, |seen| {
        all_lost(&seen);
        seen.told("dockerd is killed (SIGKILL), and started after 4 s: it ends all containers; 2 pods");
    });
}
