//! Disks that are full: where Docker keeps images, and the registry's.

use crate::picture::{Picture, shared};
use harness::image::Labelled;
use harness::registry::Config;
use harness::{Dockerd, Project, Registry, tool};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A small disk, for as long as this lives.
struct Disk(PathBuf);

impl Disk {
    #[track_caller]
    fn mount(at: &Path, size: &str) -> Self {
        fs::create_dir_all(at).unwrap();
        tool("mount", ["-t", "tmpfs", "-o", &format!("size={size}"), "none", at.to_str().unwrap()]);
        Self(at.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).stderr(Stdio::null()).status(); // Dockerd may have done it
    }
}

#[test]
fn docker_s() {
    let project = Project::without_engine();
    let data = Dockerd::data(&project);
    let disk = Disk::mount(&data, "64m");
    let dockerd = Dockerd::start(&project);
    let base = Picture::new(&project, &dockerd.host(), "small:1", 1_000);
    let before = dockerd.stock();
    let on_it = |program: &str| project.cmd(program).env("DOCKER_HOST", dockerd.host());
    let out = on_it("womm-image").words("setup --yes --engine docker --base").arg(&base.name).run();
    out.refuses(3, &["free in", data.to_str().unwrap(), "docker system df"]);
    assert!(!project.at(".womm").exists());
    assert_eq!(dockerd.stock(), before, "nothing is made");
    let found = crate::doctor::findings(on_it("womm-image").words("doctor --engine docker --json"));
    assert_eq!(crate::doctor::of(&found, "docker's disk")["state"], "wrong");
    // It fills up later than at the first look.
    let _ = fs::write(data.join("filled"), vec![0; 64 << 20]); // as much as there is room for
    let out = on_it("womm-image").arg("agent").run();
    out.refuses(3, &["no space left on device", "docker system df"]);
    assert_eq!(dockerd.stock(), before, "nothing is left");
    drop(base);
    drop(dockerd);
    drop(disk);
}

#[test]
fn the_folder_s() {
    let project = Project::without_engine();
    let base = Labelled::new(&project);
    let disk = Disk::mount(&project.folder(), "64k");
    let _ = fs::write(project.at("filled"), vec![0; 1 << 20]); // as much as there is room for
    let out = project.womm().words("setup --yes --engine docker --base").arg(base.name()).run();
    out.exits(3).writes("");
    let last = out.stderr.lines().last().unwrap_or_default();
    for words in ["womm-image: write \"", "/.womm\"", "free some space there"] {
        out.holds(&format!("its last line holds {words:?}"), last.contains(words));
    }
    let names: Vec<_> = fs::read_dir(project.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["filled"], "nothing half-written");
    base.nothing_was_made();
    drop(disk);
}

/// Docker tries for some 50 s.
#[test]
fn the_registry_s() {
    let project = Project::without_engine();
    let registry = Registry::start(&project, &Config::default());
    let disk = Disk::mount(&registry.storage(), "2m");
    let image = Picture::new(&project, &shared(), &format!("{}/x:1", registry.name), 6_000_000);
    let out = project.cmd("womm-image").args(["push", "--image", &image.name]).run();
    out.exits(3).writes("");
    out.holds("it is said why it takes so long", out.stderr.contains(": Retrying in "));
    let last = out.stderr.lines().last().unwrap_or_default();
    for words in ["womm-image: push image", &registry.name, "is its disk full?"] {
        out.holds(&format!("its last line holds {words:?}"), last.contains(words));
    }
    drop(registry);
    drop(disk);
}
