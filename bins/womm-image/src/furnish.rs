//! What setup adds to the image to start from: looked up there, then built on top of it.

use crate::check::{self, Found, Manager};
use crate::layer::{self, Entry, Recipe, Run};
use crate::leftovers::Leftovers;
use crate::plan::Plan;
use crate::probe::{At, Content, Probe};
use crate::user::{self, Group};
use bollard::Docker;
use bollard::models::ImageInspect;
use futures::future::try_join_all;
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

/// What is known of the image to start from.
pub struct Inside {
    /// What is to be added to it.
    pub recipe: Recipe,
    /// The shell that the user gets: the image's for them if it is one that can tell what it exports, else bash, else sh.
    pub shell: Option<String>,
    /// Where package managers keep what they downloaded: of no use in the image, where jobs install nothing.
    pub caches: Vec<String>,
    /// What jobs need, and where it has that.
    pub found: Found,
}

/// Looks into the image to start from, all at once: each look takes Docker its time. Where there will be no shell
/// (`unattended`), what is asked for in it otherwise is part of the recipe.
///
/// # Errors
/// Outside (3) if Docker can't say what is in it.
pub async fn look(
    docker: &Docker,
    leftovers: &Leftovers,
    plan: &Plan,
    start: &ImageInspect,
    whose: &Whose,
    unattended: bool,
) -> Result<Inside, Failure> {
    let (base, user) = (plan.start.to_string(), &whose.user);
    // In a shell they are the shell's, and become the image's with what it exports.
    let env = if unattended { plan.env.clone() } else { Vec::new() };
    let agent = Entry::file(names::AGENT_BAKED, crate::agent::read_agent()?, 0o755);
    let probe = Probe::open(docker, leftovers, &base).await?;
    let home = user.home.trim_end_matches('/');
    let path = check::path_with(start, &env);
    let (shells, groups, mut folders, above_files, above_home, tmp, baked, caches, found) = tokio::try_join!(
        Shells::find(&probe, user.uid),
        probe.read("/etc/group"),
        probe.missing_above(names::AGENT_BAKED),
        probe.missing_above("/etc/passwd"),
        homeless(&probe, home),
        probe.at("/tmp"),
        probe.read(names::AGENT_BAKED),
        try_join_all(CACHES.iter().map(|cache| probe.at(cache))),
        check::found(&probe, &path),
    )?;
    let run = match unattended && plan.install && check::lacks(&found).is_some() {
        true => check::manager_in(&probe, &path).await?.map(|manager| installing(manager, plan, start)),
        false => None,
    };
    probe.close_later();

    let files: Vec<_> = layer::passwd(shells.passwd.as_ref(), user, shells.best())
        .into_iter()
        .chain(layer::group(groups.as_ref(), user, &whose.groups))
        .collect();
    if !files.is_empty() {
        folders.extend(above_files);
    }
    let homeless = above_home.is_some();
    folders.extend(above_home.into_iter().flatten());
    folders.sort(); // outer folders before inner ones
    folders.dedup();
    let mut entries: Vec<_> = folders.into_iter().map(|path| Entry::folder(path, 0o755, 0, 0)).collect();
    if tmp == At::Nothing {
        entries.push(Entry::folder("/tmp", 0o1777, 0, 0));
    }
    if homeless {
        entries.push(Entry::folder(home, 0o755, user.uid.into(), user.gid.into()));
    }
    entries.extend(files);
    entries.extend(Some(agent).filter(|agent| !baked.is_some_and(|there| is(agent, &there))));
    let caches = CACHES.iter().zip(caches).filter(|(_, at)| *at == At::Folder).map(|(cache, _)| (*cache).to_owned());
    Ok(Inside {
        recipe: Recipe { base, run, entries, labels: layer::labels(Some(user)), env, entrypoint: None },
        shell: shells.that_tells(),
        caches: caches.collect(),
        found,
    })
}

/// The image to start from with the agent and the user in it; its id. Nothing is added that is there already.
///
/// # Errors
/// Outside (3) if Docker can't build.
pub async fn furnished(
    docker: &Docker,
    leftovers: &Leftovers,
    recipe: &Recipe,
    start: &ImageInspect,
) -> Result<String, Failure> {
    let known = start.config.as_ref().and_then(|config| config.labels.as_ref());
    let labelled = recipe.labels.iter().all(|(name, value)| known.and_then(|known| known.get(*name)) == Some(value));
    match &start.id {
        Some(id) if recipe.adds_nothing() && labelled => Ok(id.clone()),
        _ => crate::agent::build(docker, leftovers, recipe).await,
    }
}

fn installing(manager: &Manager, plan: &Plan, start: &ImageInspect) -> Run {
    Run {
        line: format!("{} && {}", manager.install, manager.tidy),
        user: start.config.as_ref().and_then(|config| config.user.clone()),
        network: plan.network.clone(),
    }
}

/// The folders that are missing above a home folder that is missing; none if it is there.
async fn homeless(probe: &Probe<'_>, home: &str) -> Result<Option<Vec<String>>, Failure> {
    if home.is_empty() || probe.at(home).await? != At::Nothing {
        return Ok(None);
    }
    probe.missing_above(home).await.map(Some)
}

/// The shells of an image.
struct Shells {
    passwd: Option<Content>,
    /// The one that its passwd has for the user, if it is there.
    of_user: Option<String>,
    bash: bool,
    sh: bool,
}

impl Shells {
    async fn find(probe: &Probe<'_>, uid: u32) -> Result<Self, Failure> {
        let of_user = async {
            let passwd = probe.read("/etc/passwd").await?;
            let shell = match layer::shell_of(passwd.as_ref(), uid) {
                Some(shell) if probe.has_program(&shell).await? => Some(shell),
                _ => None,
            };
            Ok((passwd, shell))
        };
        let ((passwd, of_user), bash, sh) =
            tokio::try_join!(of_user, probe.has_program("/bin/bash"), probe.has_program("/bin/sh"))?;
        Ok(Self { passwd, of_user, bash, sh })
    }

    /// For the user's line in passwd: what the image has for that uid, else bash, else sh.
    fn best(&self) -> &str {
        self.of_user.as_deref().or(self.bash.then_some("/bin/bash")).unwrap_or("/bin/sh")
    }

    /// The best of those that can tell what they export.
    fn that_tells(&self) -> Option<String> {
        let tells = |shell: &&String| SHELLS.iter().any(|name| shell.rsplit('/').next() == Some(name));
        let of_user = self.of_user.as_ref().filter(tells).map(String::as_str);
        of_user.or(self.bash.then_some("/bin/bash")).or(self.sh.then_some("/bin/sh")).map(str::to_owned)
    }
}

/// Whether a file of the image is what would be put there.
fn is(entry: &Entry, there: &Content) -> bool {
    entry.content.as_ref() == Some(&there.bytes)
        && (entry.mode, entry.uid, entry.gid) == (there.mode, there.uid, there.gid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_shell_is_the_user_s_own() {
        let shells = |of_user: Option<&str>, bash, sh| {
            let shells = Shells { passwd: None, of_user: of_user.map(str::to_owned), bash, sh };
            (shells.best().to_owned(), shells.that_tells())
        };
        let of = |best: &str, tells: Option<&str>| (best.to_owned(), tells.map(str::to_owned));
        assert_eq!(shells(Some("/bin/dash"), true, true), of("/bin/dash", Some("/bin/dash")));
        assert_eq!(shells(Some("/usr/bin/zsh"), true, true), of("/usr/bin/zsh", Some("/bin/bash")));
        assert_eq!(shells(None, false, true), of("/bin/sh", Some("/bin/sh")));
        assert_eq!(shells(Some("/usr/bin/fish"), false, false), of("/usr/bin/fish", None));
        assert_eq!(shells(None, false, false), of("/bin/sh", None));
    }
}
