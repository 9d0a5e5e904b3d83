//! `womm-image check`: whether an image has what jobs of GNU parallel need. Nothing is run in it.

use crate::cli;
use crate::docker;
use crate::leftovers::Leftovers;
use crate::probe::Probe;
use bollard::Docker;
use bollard::models::ImageInspect;
use futures::future::try_join_all;
use std::io::Write;
use womm_cli::Failure;

/// What must be on the image's PATH, and why.
const NEEDED: &[(&str, &str)] =
    &[("sh", "a shell, in which jobs run"), ("perl", "perl, in which GNU parallel wraps jobs")];
/// What Docker sets where an image sets none. Source: moby, `daemon/pkg/oci/defaults.go`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Writes where each is to stdout.
///
/// # Errors
/// No (1) if one is missing, usage (2) without a project, outside (3) if Docker can't say.
pub async fn run(args: &cli::Check, leftovers: &Leftovers) -> Result<(), Failure> {
    let name = crate::show::image_name(&args.find, args.image.as_deref())?;
    let docker = docker::connect().await?;
    let image = docker::inspect(&docker, &name).await?;
    let image = image.ok_or_else(|| crate::show::missing(&name, args.image.is_some()))?;
    let found = look(&docker, leftovers, &name, &image).await?;
    let mut stdout = std::io::stdout().lock();
    for (program, path) in found.iter().filter_map(|(program, path)| path.as_ref().map(|path| (program, path))) {
        // A reader that went away is no failure.
        let _ = writeln!(stdout, "{program}\t{path}");
    }
    match lacks(&found) {
        Some(what) => Err(Failure::no(format!("image \"{name}\" lacks {what}")).help("install it in the base image")),
        None => Ok(()),
    }
}

/// Each program that is needed, and where the image has it.
pub type Found = Vec<(&'static str, Option<String>)>;

/// Looks into an image.
///
/// # Errors
/// Outside (3) if Docker can't say.
pub async fn look(docker: &Docker, leftovers: &Leftovers, name: &str, image: &ImageInspect) -> Result<Found, Failure> {
    let path = path_with(image, &[]);
    let probe = Probe::open(docker, leftovers, name).await?;
    let mut found = Vec::new();
    for (program, _) in NEEDED {
        found.push((*program, probe.which(program, &path).await?));
    }
    probe.close().await?;
    Ok(found)
}

/// What an image has of that on a PATH, which of several of one name does not matter.
///
/// # Errors
/// Outside (3) if Docker can't say.
pub async fn found(probe: &Probe<'_>, path: &str) -> Result<Found, Failure> {
    find(probe, path, NEEDED.iter().map(|(program, _)| *program)).await
}

/// The manager that an image has on a PATH.
///
/// # Errors
/// Outside (3) if Docker can't say.
pub async fn manager_in(probe: &Probe<'_>, path: &str) -> Result<Option<&'static Manager>, Failure> {
    find(probe, path, MANAGERS.iter().map(|manager| manager.program)).await.map(|found| manager(&found))
}

async fn find(probe: &Probe<'_>, path: &str, programs: impl Iterator<Item = &'static str>) -> Result<Found, Failure> {
    let path = &usual_first(path);
    try_join_all(programs.map(async |program| Ok((program, probe.which(program, path).await?)))).await
}

/// A PATH with the folders first in which programs mostly are: each look takes Docker its time.
fn usual_first(path: &str) -> String {
    let mut folders: Vec<_> = path.split(':').collect();
    folders.sort_by_key(|folder| !matches!(*folder, "/usr/bin" | "/bin"));
    folders.join(":")
}

/// What is missing, in words; `None` if nothing is.
pub fn lacks(found: &Found) -> Option<String> {
    let missing = |program: &str| found.iter().any(|(p, path)| *p == program && path.is_none());
    let words: Vec<_> = NEEDED.iter().filter(|(p, _)| missing(p)).map(|(_, why)| *why).collect();
    (!words.is_empty()).then(|| words.join(", and "))
}

/// The PATH of an image that gets these variables, too.
pub fn path_with(image: &ImageInspect, env: &[(String, String)]) -> String {
    let of_image = image.config.as_ref().and_then(|c| c.env.as_deref()).unwrap_or_default();
    match env.iter().rev().find(|(name, _)| name == "PATH") {
        Some((_, path)) => path_in(&[format!("PATH={path}")]),
        None => path_in(of_image),
    }
}

/// The PATH among variables of an image; Docker's, if there is none.
pub fn path_in(env: &[String]) -> String {
    let path = env.iter().find_map(|line| line.strip_prefix("PATH="));
    path.filter(|p| !p.is_empty()).unwrap_or(DEFAULT_PATH).to_owned()
}

/// A package manager that can install perl, and how.
#[derive(Debug, PartialEq, Eq)]
pub struct Manager {
    /// The program.
    pub program: &'static str,
    /// A line of a shell. apt-get's package is the one that Debian always has: if it is there, its files are not.
    pub install: &'static str,
    /// What follows where its downloads would be in the image.
    pub tidy: &'static str,
}

/// The managers that are known.
pub const MANAGERS: &[Manager] = &[
    Manager {
        program: "apt-get",
        install: "apt-get update && apt-get install --yes --reinstall perl-base",
        tidy: "rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb",
    },
    Manager { program: "apk", install: "apk add --no-cache perl", tidy: "true" },
    Manager { program: "dnf", install: "dnf install --assumeyes perl", tidy: "dnf clean all" },
];

/// Programs that are looked for in a container: those that are needed, then the managers.
pub fn programs() -> Vec<&'static str> {
    let managers = MANAGERS.iter().map(|manager| manager.program);
    NEEDED.iter().map(|(program, _)| *program).chain(managers).collect()
}

/// What of that is there, from lines NAME TAB PATH.
pub fn found_in(lines: &[String]) -> Found {
    let path = |program: &str| {
        let mut pairs = lines.iter().filter_map(|line| line.split_once('\t'));
        pairs.find(|(name, _)| *name == program).map(|(_, path)| path.to_owned())
    };
    programs().into_iter().map(|program| (program, path(program))).collect()
}

/// The image's own manager.
pub fn manager(found: &Found) -> Option<&'static Manager> {
    let here = |manager: &&Manager| found.iter().any(|(p, path)| *p == manager.program && path.is_some());
    MANAGERS.iter().find(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_given_one_else_the_image_s_else_docker_s() {
        let image = |env: &[&str]| ImageInspect {
            config: Some(bollard::models::ImageConfig {
                env: Some(env.iter().map(|&line| line.into()).collect()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let given = [("PATH".to_owned(), "/g".to_owned()), ("X".to_owned(), "y".to_owned())];
        assert_eq!(path_with(&image(&["A=b", "PATH=/i"]), &given), "/g");
        assert_eq!(path_with(&image(&["A=b", "PATH=/i"]), &given[1..]), "/i");
        assert_eq!(path_with(&ImageInspect::default(), &[]), DEFAULT_PATH);
        assert_eq!(usual_first(DEFAULT_PATH), "/usr/bin:/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin");
    }

    #[test]
    fn what_is_missing_is_named() {
        let here = |path: &str| Some(path.to_owned());
        assert_eq!(lacks(&vec![("sh", here("/bin/sh")), ("perl", here("/usr/bin/perl"))]), None);
        let lines = ["sh\t/bin/sh".to_owned(), "apk\t/sbin/apk".to_owned(), "dnf\t/x".to_owned()];
        assert_eq!(manager(&found_in(&lines)).map(|manager| manager.program), Some("apk"));
        assert!(lacks(&found_in(&lines)).is_some());
        let text = lacks(&vec![("sh", here("/bin/sh")), ("perl", None)]).expect("perl is missing");
        assert_eq!(text, "perl, in which GNU parallel wraps jobs");
    }
}
