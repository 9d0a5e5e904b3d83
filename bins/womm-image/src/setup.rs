//! `womm-image setup --yes`: makes a project's image out of a base image and writes `.womm`. Nothing is run in it.
//!
//! Nothing is seen of a setup that failed: the image gets its name, and the folder its `.womm`, at the very end.

use crate::check;
use crate::checks;
use crate::cli;
use crate::docker;
use crate::kind;
use crate::layer::{self, Entry, Recipe};
use crate::leftovers::{Leftovers, Thing};
use crate::probe::{At, Probe};
use crate::project::{self, Draft, key};
use crate::reference::{self, Reference};
use crate::show::{check_share, name_of};
use crate::user;
use bollard::Docker;
use serde_json::Value;
use std::io::Read;
use std::path::Path;
use womm_cli::Failure;
use womm_engine::Place;
use womm_wire::names;
use womm_wire::record::{EngineKind, Project, ShareKind, User};

/// How the last part of an image's name begins; eight letters follow.
const IMAGE: &str = "womm-image-";

/// Makes the image and writes `.womm`.
///
/// # Errors
/// Usage (2) for options that don't fit, outside (3) if Docker, the registry or the disk fail.
pub async fn run(args: &cli::Setup, leftovers: &Leftovers) -> Result<(), Failure> {
    if !args.yes {
        return Err(Failure::usage("the shell in which you make it work is not built yet")
            .help("`womm setup --yes --base IMAGE` makes the image without it, see `womm setup --help`"));
    }
    let folder = project::here()?;
    let old = project::existing(Path::new(&folder))?;
    let plan = Plan::new(args, &folder, old.as_ref(), project::kept_prefix)?;
    let draft = Draft::new(Path::new(&folder))?;
    let docker = docker::connect().await?;
    let kind = match &plan.kind {
        Some(name) => Some(kind::find(&docker, name).await?),
        None => None,
    };
    let intent = checks::Intent { engine: plan.engine, name: &plan.name, kind: kind.as_ref() };
    checks::before_setup(&docker, &intent).await?;
    let base = base(&docker, &plan.base).await?;
    let arch = base.architecture.clone().unwrap_or_default();
    checks::fits_nodes(plan.engine, &arch, &plan.place(old.as_ref())).await?;
    let (user, group) = user::current().await?;

    say(&format!("making image {} from {}", plan.name, plan.base));
    let recipe = recipe(&docker, leftovers, &plan, &user, &group).await?;
    let id = crate::agent::build(&docker, leftovers, &recipe).await?;
    let made = docker::inspect(&docker, &id).await?;
    let made = made.ok_or_else(|| Failure::outside(format!("image \"{id}\" is gone right after it was built")))?;
    if let Some(what) = check::lacks(&check::look(&docker, leftovers, &id, &made).await?) {
        say(&format!("warning: the image lacks {what}: jobs will fail until the base image has it"));
    }

    let before = docker::inspect(&docker, &plan.name.to_string()).await?.and_then(|image| image.id);
    let renamed = before.as_ref().is_none_or(|before| *before != id);
    let before = before.filter(|before| *before != id);
    let (repository, tag) = (plan.name.repository.clone(), plan.name.tag.clone().unwrap_or_default());
    match &before {
        Some(before) => leftovers.add(&docker, Thing::Name(repository.clone(), tag.clone(), before.clone())),
        None if renamed => leftovers.add(&docker, Thing::Named(plan.name.to_string())),
        None => {}
    }
    docker::tag(&docker, &id, &plan.name).await?;
    match (plan.engine, &kind) {
        (EngineKind::Docker, _) => {}
        (EngineKind::Kube, Some(kind)) => kind::load(&docker, kind, &plan.name).await?,
        (EngineKind::Kube, None) => crate::push::push(&docker, &plan.name).await?,
    }
    let project = plan.project(&folder, old, &arch);
    draft.keep(&project)?;
    // From here on it is done: what follows is tidying, and does not undo it.
    leftovers.keep(&Thing::Image(id.clone()));
    leftovers.keep(&Thing::Named(plan.name.to_string()));
    if let Some(before) = before {
        leftovers.keep(&Thing::Name(repository, tag, before.clone()));
        // Somebody's container may still use the image that had the name; then it stays.
        let _ = leftovers.remove_one(&docker, &Thing::Image(before)).await;
    }
    if let Some(prefix) = plan.prefix.as_ref().filter(|_| args.prefix.is_some() && plan.engine == EngineKind::Kube) {
        project::keep_prefix(prefix)?;
    }
    let shared = match plan.share {
        ShareKind::None => "its files are not shared".to_owned(),
        share => format!("shared by {}", name_of(share)),
    };
    say(&format!("wrote {folder}/{} for image {}, {shared}", project::FILE, plan.name));
    say("now try: womm parallel --kube-pods 2 -- echo it works on {} ::: my machine");
    Ok(())
}

fn say(line: &str) {
    use std::io::Write;
    // A stderr that is gone is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// What the command line, an older `.womm` and the kept prefix come to. Found out before anything is touched.
#[derive(Debug)]
struct Plan {
    base: Reference,
    name: Reference,
    engine: EngineKind,
    share: ShareKind,
    prefix: Option<String>,
    /// The kind cluster whose nodes the image is loaded into, instead of being pushed.
    kind: Option<String>,
    env: Vec<(String, String)>,
    context: Option<String>,
    namespace: Option<String>,
    secret: Option<String>,
}

impl Plan {
    fn new(
        args: &cli::Setup,
        folder: &str,
        old: Option<&Project>,
        kept_prefix: impl FnOnce() -> Result<Option<String>, Failure>,
    ) -> Result<Self, Failure> {
        if folder.contains(['\n', '\r', '\0']) {
            return Err(Failure::usage("the folder's path has a line break in it").help("rename it"));
        }
        let engine = args.engine.or(old.map(|o| o.engine)).unwrap_or_default();
        let share = args.share.unwrap_or(match engine {
            EngineKind::Docker => ShareKind::Bind,
            EngineKind::Kube => ShareKind::None,
        });
        check_share(engine, share)?;
        if matches!(share, ShareKind::Lazy | ShareKind::Eager | ShareKind::EagerBack) {
            return Err(Failure::usage(format!("the share \"{}\" is not built yet", name_of(share)))
                .help("use --share none, or --engine docker with --share bind"));
        }
        let had_prefix = old.is_some_and(|o| o.extra.get(key::PREFIX).is_some_and(Value::is_string));
        let pushed = args.prefix.is_some() || args.name.is_some() || had_prefix || engine == EngineKind::Docker;
        let context = args.context.clone().or_else(|| old?.context.clone());
        let kind = if pushed { None } else { kind::named(context.as_deref()) };
        let prefix = match (&args.prefix, engine) {
            (Some(prefix), _) => Some(reference::prefix(prefix)?),
            (None, EngineKind::Docker) => None,
            (None, EngineKind::Kube) if kind.is_some() => None,
            (None, EngineKind::Kube) => {
                let of_old = old.and_then(|o| o.extra.get(key::PREFIX)).and_then(Value::as_str).map(str::to_owned);
                of_old.map_or_else(kept_prefix, |prefix| Ok(Some(prefix)))?
            }
        };
        let needs_prefix = engine == EngineKind::Kube && kind.is_none() && args.name.is_none();
        if needs_prefix && prefix.as_deref().unwrap_or_default().is_empty() {
            return Err(Failure::usage("engine kube needs a place from which the cluster can pull the image")
                .help("give --prefix docker.io/me/, or --engine docker to run in containers of this machine"));
        }
        let name = match &args.name {
            Some(name) => Reference::parse(name)?,
            None => {
                let last = match old.and_then(|o| ours(&o.image)) {
                    Some(last) => last,
                    None => format!("{IMAGE}{}", letters(8)?),
                };
                let tag = if kind.is_some() { kind::TAG } else { "latest" };
                Reference::parse(&format!("{}{last}:{tag}", prefix.as_deref().unwrap_or_default()))?
            }
        };
        if name.digest.is_some() {
            return Err(Failure::usage(format!("--name {name}: a digest can't be chosen")));
        }
        let env = args.env.iter().map(|text| variable(text)).collect::<Result<_, _>>()?;
        let (context, namespace, secret) = (args.context.clone(), args.namespace.clone(), args.secret.clone());
        let base = Reference::parse(&args.base)?;
        Ok(Self { base, name, engine, share, prefix, kind, env, context, namespace, secret })
    }

    /// Where pods would run.
    fn place(&self, old: Option<&Project>) -> Place {
        let context = self.context.clone().or_else(|| old?.context.clone());
        Place { context, namespace: self.namespace.clone() }
    }

    /// What `.womm` is to say: this plan, and of an older file what the plan says nothing about.
    fn project(&self, folder: &str, old: Option<Project>, arch: &str) -> Project {
        let old = old.unwrap_or_default();
        let mut extra = old.extra;
        for (key, value) in [(key::IMAGE_AGENT, names::VERSION), (key::IMAGE_ARCH, arch)] {
            extra.insert(key.into(), value.into());
        }
        extra.insert(key::PREFIX.into(), self.prefix.as_deref().map_or(Value::Null, Value::from));
        Project {
            share_kind: self.share,
            share_path: None,
            image: self.name.to_string(),
            cwd: folder.to_owned(),
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            namespace: self.namespace.clone().or(old.namespace),
            secret_name: self.secret.clone().or(old.secret_name),
            context: self.context.clone().or(old.context),
            engine: self.engine,
            extra,
        }
    }
}

/// The last part of an image's name, if it is one of ours: any other must not be taken away from its image.
fn ours(image: &str) -> Option<String> {
    let reference = Reference::parse(image).ok()?;
    let last = reference.repository.rsplit('/').next()?;
    let at = last.find(IMAGE)?;
    let letters = &last[at + IMAGE.len()..];
    (letters.len() == 8 && letters.bytes().all(|b| b.is_ascii_lowercase())).then(|| last[at..].to_owned())
}

/// `--env`.
fn variable(text: &str) -> Result<(String, String), Failure> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !letters || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Failure::usage(format!("--env {text}: \"{name}\" is no name of a variable")));
    }
    let value = match value {
        Some(value) => value,
        None => std::env::var(name).map_err(|e| match e {
            std::env::VarError::NotPresent => Failure::usage(format!("--env {name}: it is not set here")),
            std::env::VarError::NotUnicode(_) => Failure::usage(format!("--env {name}: its value is not UTF-8")),
        })?,
    };
    if value.contains('\0') {
        return Err(Failure::usage(format!("--env {name}: a NUL byte can't be in its value")));
    }
    Ok((name.to_owned(), value))
}

/// Lower-case letters at random.
///
/// # Errors
/// Outside (3) if the kernel gives no random bytes.
pub fn letters(number: usize) -> Result<String, Failure> {
    let mut bytes = vec![0; number];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|e| Failure::outside(format!("read /dev/urandom: {e}")))?;
    // 256 is no multiple of 26, which does not matter for names.
    Ok(bytes.into_iter().map(|b| char::from(b'a' + b % 26)).collect())
}

/// The base image, pulled if it is not here.
async fn base(docker: &Docker, name: &Reference) -> Result<bollard::models::ImageInspect, Failure> {
    let text = name.to_string();
    let found = match docker::inspect(docker, &text).await? {
        Some(found) => found,
        None => {
            docker::pull(docker, name).await?;
            let found = docker::inspect(docker, &text).await?;
            found.ok_or_else(|| Failure::outside(format!("image \"{name}\" was pulled and is not there")))?
        }
    };
    checks::fits_agent(name, found.os.as_deref(), found.architecture.as_deref())?;
    Ok(found)
}

/// What is to be added to the base image.
async fn recipe(
    docker: &Docker,
    leftovers: &Leftovers,
    plan: &Plan,
    user: &User,
    group: &str,
) -> Result<Recipe, Failure> {
    let base = plan.base.to_string();
    let agent = crate::agent::read_agent()?;
    let probe = Probe::open(docker, leftovers, &base).await?;
    let mut entries = Vec::new();
    let mut folders = probe.missing_above(names::AGENT_BAKED).await?;

    let passwd = probe.read("/etc/passwd").await?;
    let groups = probe.read("/etc/group").await?;
    let shell = best_shell(&probe, layer::shell_of(passwd.as_ref(), user.uid)).await?;
    let files: Vec<_> = layer::passwd(passwd.as_ref(), user, &shell)
        .into_iter()
        .chain(layer::group(groups.as_ref(), user.gid, group))
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
    entries.push(Entry::file(names::AGENT_BAKED, agent, 0o755));
    Ok(Recipe { base, entries, labels: layer::labels(Some(user)), env: plan.env.clone(), entrypoint: None })
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn plan(line: &str, old: Option<&Project>, kept: Option<&str>) -> Result<Plan, String> {
        let words = ["womm-image", "setup", "--yes"].into_iter().chain(line.split_whitespace());
        let cli::Verb::Setup(args) = cli::Cli::try_parse_from(words).map_err(|e| e.to_string())?.verb else {
            unreachable!("the verb is setup")
        };
        Plan::new(&args, "/p", old, || Ok(kept.map(str::to_owned))).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_follow_the_engine() {
        let made = plan("--engine docker", None, Some("r.io/")).expect("enough is said");
        assert_eq!((made.share, made.prefix), (ShareKind::Bind, None));
        assert!(made.name.repository.starts_with(IMAGE), "{}", made.name);
        let made = plan("", None, Some("r.io/")).expect("the prefix is kept");
        assert_eq!((made.engine, made.share), (EngineKind::Kube, ShareKind::None));
        assert!(made.name.to_string().starts_with("r.io/womm-image-"));
        assert!(plan("", None, None).expect_err("no prefix").contains("--prefix"));
        assert!(plan("--share lazy --prefix a/", None, None).expect_err("later").contains("not built yet"));
        assert!(plan("--engine docker --share eager", None, None).expect_err("never").contains("no share"));
        assert!(plan("--engine docker --base A:b", None, None).expect_err("no name").contains("A:b"));
    }

    #[test]
    fn a_second_setup_keeps_name_and_engine_but_takes_no_foreign_name() {
        let image = "r.io/womm-image-abcdefgh:latest".to_owned();
        let old = Project { image, engine: EngineKind::Docker, ..Default::default() };
        assert_eq!(plan("", Some(&old), None).expect("valid").name.to_string(), "womm-image-abcdefgh:latest");
        let made = plan("--prefix x.io/me", Some(&old), None).expect("valid");
        assert_eq!(made.name.to_string(), "x.io/me/womm-image-abcdefgh:latest");
        let foreign = Project { image: "ubuntu:22.04".into(), ..old };
        assert!(plan("", Some(&foreign), None).expect("valid").name.repository.starts_with(IMAGE));
    }

    #[test]
    fn variables_need_a_name_and_a_value() {
        assert_eq!(variable("A_1=b=c\nd"), Ok(("A_1".into(), "b=c\nd".into())));
        for text in ["", "=x", "1A=x", "A B=x", "NO_SUCH_VARIABLE_HERE"] {
            assert!(variable(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_older_file_s_settings_stay_unless_said_otherwise() {
        let old = Project { image: "i".into(), namespace: Some("team".into()), ..Default::default() };
        let made = plan("--engine docker --context c", Some(&old), None).expect("valid");
        let project = made.project("/p", Some(old), "amd64");
        assert_eq!((project.namespace.as_deref(), project.context.as_deref()), (Some("team"), Some("c")));
        assert_eq!(project.extra[key::IMAGE_ARCH], "amd64");
    }
}
