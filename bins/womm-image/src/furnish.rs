//! What setup adds to the image to start from: looked up there, then built on top of it.

use crate::docker;
use crate::layer::{self, Entry, Recipe};
use crate::leftovers::Leftovers;
use crate::plan::Plan;
use crate::probe::{At, Content, Probe};
use crate::reference::Reference;
use crate::user::{self, Group};
use bollard::Docker;
use womm_cli::Failure;
use womm_wire::names;
use womm_wire::record::User;

/// Shells that can be told to tell what they export.
const SHELLS: &[&str] = &["bash", "sh", "dash", "ash", "ksh", "mksh"];
/// See [`Inside::caches`].
const CACHES: &[&str] = &["/var/cache/apt", "/var/lib/apt/lists", "/var/cache/apk", "/var/cache/dnf"];
/// What the image is made for.
pub struct Whose {
    /// The user.
    pub user: User,
    /// Their groups, their own first.
    pub groups: Vec<Group>,
}

impl Whose {
    /// Who runs setup.
    ///
    /// # Errors
    /// As [`user::current`].
    pub async fn find() -> Result<Self, Failure> {
        let (user, groups) = user::current().await?;
        Ok(Self { user, groups })
    }
}

/// The image to start from with the agent and the user in it; its id. Nothing is added that is there already.
///
/// # Errors
/// Outside (3) if Docker can't say what is in it, or can't build.
pub async fn furnished(
    docker: &Docker,
    leftovers: &Leftovers,
    plan: &Plan,
    whose: &Whose,
    env: Vec<(String, String)>,
) -> Result<(String, Inside), Failure> {
    let (recipe, inside) = recipe(docker, leftovers, &plan.start, whose, env).await?;
    let start = docker::inspect(docker, &recipe.base).await?;
    let start = start.ok_or_else(|| Failure::outside(format!("image \"{}\" is gone", recipe.base)))?;
    let known = start.config.and_then(|config| config.labels).unwrap_or_default();
    let labelled = recipe.labels.iter().all(|(name, value)| known.get(*name) == Some(value));
    let id = match start.id {
        Some(id) if recipe.entries.is_empty() && recipe.env.is_empty() && labelled => id,
        _ => crate::agent::build(docker, leftovers, &recipe).await?,
    };
    Ok((id, inside))
}

/// What the setup shell wants to know of the image.
pub struct Inside {
    /// The shell that the user gets: the image's for them if it is one that can tell what it exports, else bash, else sh.
    pub shell: Option<String>,
    /// Where package managers keep what they downloaded: of no use in the image, where jobs install nothing.
    pub caches: Vec<String>,
}

impl Inside {
    async fn find(probe: &Probe<'_>, of_user: Option<String>) -> Result<Self, Failure> {
        let of_user = of_user.filter(|shell| SHELLS.iter().any(|name| shell.rsplit('/').next() == Some(name)));
        let shell = best_shell(probe, of_user).await?;
        let there = probe.at(&shell).await? == (At::File { executable: true });
        let mut caches = Vec::new();
        for cache in CACHES {
            if probe.at(cache).await? == At::Folder {
                caches.push((*cache).to_owned());
            }
        }
        Ok(Self { shell: there.then_some(shell), caches })
    }
}

/// What is to be added to the image to start from.
async fn recipe(
    docker: &Docker,
    leftovers: &Leftovers,
    start: &Reference,
    whose: &Whose,
    env: Vec<(String, String)>,
) -> Result<(Recipe, Inside), Failure> {
    let (base, user) = (start.to_string(), &whose.user);
    let agent = Entry::file(names::AGENT_BAKED, crate::agent::read_agent()?, 0o755);
    let probe = Probe::open(docker, leftovers, &base).await?;
    let mut entries = Vec::new();
    let mut folders = probe.missing_above(names::AGENT_BAKED).await?;

    let passwd = probe.read("/etc/passwd").await?;
    let groups = probe.read("/etc/group").await?;
    let of_user = layer::shell_of(passwd.as_ref(), user.uid);
    let shell = best_shell(&probe, of_user.clone()).await?;
    let inside = Inside::find(&probe, of_user).await?;
    let files: Vec<_> = layer::passwd(passwd.as_ref(), user, &shell)
        .into_iter()
        .chain(layer::group(groups.as_ref(), user, &whose.groups))
        .collect();
    if !files.is_empty() {
        folders.extend(probe.missing_above("/etc/passwd").await?);
    }
    let home = user.home.trim_end_matches('/');
    let homeless = !home.is_empty() && probe.at(home).await? == At::Nothing;
    if homeless {
        folders.extend(probe.missing_above(home).await?);
    }
    let tmp = probe.at("/tmp").await? == At::Nothing;
    let has_agent = probe.read(names::AGENT_BAKED).await?.is_some_and(|there| is(&agent, &there));
    probe.close().await?;

    folders.sort(); // outer folders before inner ones
    folders.dedup();
    entries.extend(folders.into_iter().map(|path| Entry::folder(path, 0o755, 0, 0)));
    if tmp {
        entries.push(Entry::folder("/tmp", 0o1777, 0, 0));
    }
    if homeless {
        entries.push(Entry::folder(home, 0o755, user.uid.into(), user.gid.into()));
    }
    entries.extend(files);
    entries.extend(Some(agent).filter(|_| !has_agent));
    Ok((Recipe { base, entries, labels: layer::labels(Some(user)), env, entrypoint: None }, inside))
}

/// Whether a file of the image is what would be put there.
fn is(entry: &Entry, there: &Content) -> bool {
    entry.content.as_ref() == Some(&there.bytes)
        && (entry.mode, entry.uid, entry.gid) == (there.mode, there.uid, there.gid)
}

/// The shell for the user's line in passwd: what the image has for that uid, else bash, else sh.
async fn best_shell(probe: &Probe<'_>, known: Option<String>) -> Result<String, Failure> {
    for shell in known.into_iter().chain(["/bin/bash".to_owned()]) {
        if probe.at(&shell).await? == (At::File { executable: true }) {
            return Ok(shell);
        }
    }
    Ok("/bin/sh".to_owned())
}
