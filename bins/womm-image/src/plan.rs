//! What a setup is about to make: what the command line, an older `.womm` and the kept prefix come to. Found out before
//! anything is touched, and kept with an interrupted shell.

use crate::cli;
use crate::kind;
use crate::project::key;
use crate::reference::{self, Reference};
use crate::show::{check_share, name_of};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::Read;
use womm_cli::Failure;
use womm_wire::names;
use womm_wire::record::{EngineKind, Project, ShareKind};

/// How the last part of an image's name begins; eight letters follow.
const IMAGE: &str = "womm-image-";
/// Where nothing else is said.
const BASE: &str = "ubuntu:22.04";

/// What is there already.
pub struct Facts<'a> {
    /// The project's folder.
    pub folder: &'a str,
    /// Its `.womm`.
    pub old: Option<&'a Project>,
    /// `~/.womm_prefix`.
    pub kept_prefix: Result<Option<String>, Failure>,
    /// Whether a kubeconfig selects a cluster.
    pub has_context: bool,
    /// The cluster of kind that is meant, if it is one.
    pub kind: Option<String>,
    /// Whether the image of the last setup is nowhere to be had.
    pub last_is_gone: bool,
}

/// The cluster of kind whose nodes the image is loaded into, if it is not pushed.
pub fn kind(args: &cli::Setup, facts: &Facts) -> Option<String> {
    let of_old = facts.old.and_then(|o| o.extra.get(key::PREFIX)).and_then(Value::as_str);
    let is_pushed = args.prefix.is_some() || args.name.is_some() || of_old.is_some();
    facts.kind.clone().filter(|_| engine(args, facts) == EngineKind::Kube && !is_pushed)
}

/// Where pods will run.
pub fn engine(args: &cli::Setup, facts: &Facts) -> EngineKind {
    args.engine.or(facts.old.map(|old| old.engine)).unwrap_or_default()
}

/// The image of the last setup, if this one goes on from there.
pub fn last(args: &cli::Setup, facts: &Facts) -> Option<String> {
    let last = facts.old.filter(|_| args.base.is_none() && !args.fresh && !facts.last_is_gone)?;
    // What setup did not make has no agent, and is somebody else's.
    last.extra.contains_key(key::IMAGE_AGENT).then(|| last.image.clone())
}

/// Whether the image of the last setup is in a registry, too: nodes of kind had it loaded.
pub fn was_pushed(old: &Project) -> bool {
    let tag = Reference::parse(&old.image).ok().and_then(|image| image.tag);
    let prefix = old.extra.get(key::PREFIX).and_then(Value::as_str);
    old.engine == EngineKind::Kube && (prefix.is_some() || tag.as_deref() != Some(kind::TAG))
}

/// The base image that is offered.
pub fn default_base(facts: &Facts) -> String {
    let of_old = facts.old.and_then(|old| old.extra.get(key::BASE)).and_then(Value::as_str);
    of_old.unwrap_or(BASE).to_owned()
}

/// How the image's name is to begin; none if nobody has said.
///
/// # Errors
/// Usage (2) if no name can begin so.
pub fn prefix(args: &cli::Setup, facts: &Facts) -> Result<Option<String>, Failure> {
    let of_old = facts.old.and_then(|o| o.extra.get(key::PREFIX)).and_then(Value::as_str);
    let found = match (&args.prefix, engine(args, facts)) {
        (Some(prefix), _) => Some(reference::prefix(prefix)?),
        (None, EngineKind::Docker) => None,
        (None, EngineKind::Kube) if kind(args, facts).is_some() => None,
        (None, EngineKind::Kube) => {
            of_old.map_or_else(|| facts.kept_prefix.clone(), |prefix| Ok(Some(prefix.into())))?
        }
    };
    Ok(found.filter(|prefix| !prefix.is_empty()))
}

/// What is to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The image to start from.
    pub start: Reference,
    /// The base image under it, if it is known.
    pub base: Option<String>,
    /// What the image will be called.
    pub name: Reference,
    /// Where pods will run.
    pub engine: EngineKind,
    /// How the folder appears there.
    pub share: ShareKind,
    /// How the name begins, if it does.
    pub prefix: Option<String>,
    /// The cluster of kind whose nodes the image is loaded into, instead of being pushed.
    pub kind: Option<String>,
    /// Whether the prefix is new, and to be kept for other folders.
    pub keep_prefix: bool,
    /// Variables that the command line gives.
    pub env: Vec<(String, String)>,
    /// `--install`.
    #[serde(default)]
    pub install: bool,
    /// `--context`.
    pub context: Option<String>,
    /// `--namespace`.
    pub namespace: Option<String>,
    /// `--secret`.
    pub secret: Option<String>,
    /// `--network`.
    pub network: Option<String>,
}

impl Plan {
    /// Puts it together.
    ///
    /// # Errors
    /// Usage (2) for options that don't fit.
    pub fn new(args: &cli::Setup, facts: &Facts) -> Result<Self, Failure> {
        if facts.folder.contains(['\n', '\r', '\0']) {
            return Err(Failure::usage("the folder's path has a line break in it").help("rename it"));
        }
        let engine = engine(args, facts);
        let share = args.share.unwrap_or(match engine {
            EngineKind::Docker => ShareKind::Bind,
            EngineKind::Kube => ShareKind::None,
        });
        check_share(engine, share)?;
        if matches!(share, ShareKind::Lazy | ShareKind::Eager | ShareKind::EagerBack) {
            return Err(Failure::usage(format!("the share \"{}\" is not built yet", name_of(share)))
                .help("use --share none, or --engine docker with --share bind"));
        }
        if share == ShareKind::Bind {
            womm_engine::docker::check_bind(facts.folder)?;
        }
        let prefix = prefix(args, facts)?;
        let kind = kind(args, facts);
        if engine == EngineKind::Kube && prefix.is_none() && kind.is_none() && args.name.is_none() {
            return Err(Failure::usage("engine kube needs a place from which the cluster can pull the image")
                .help("give --prefix docker.io/me/, or --engine docker to run in containers of this machine"));
        }
        let name = match &args.name {
            Some(name) => Reference::parse(name)?,
            None => {
                let last = match facts.old.and_then(|o| ours(&o.image)) {
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
        let last = last(args, facts);
        if args.refresh && last.is_none() {
            return Err(Failure::usage("there is no image here whose agent could be renewed").help("run `womm setup`"));
        }
        let of_last = last.as_ref().and(facts.old).and_then(|old| old.extra.get(key::BASE)?.as_str());
        let base = match &last {
            Some(_) => of_last.map(str::to_owned),
            None => Some(args.base.clone().unwrap_or_else(|| default_base(facts))),
        };
        Ok(Self {
            start: Reference::parse(last.as_ref().or(base.as_ref()).map_or(BASE, String::as_str))?,
            base,
            name,
            engine,
            share,
            keep_prefix: args.prefix.is_some() && engine == EngineKind::Kube,
            prefix,
            kind,
            env: args.env.iter().map(|text| variable(text)).collect::<Result<_, _>>()?,
            install: args.install,
            context: args.context.clone(),
            namespace: args.namespace.clone(),
            secret: args.secret.clone(),
            network: args.network.clone(),
        })
    }

    /// What `.womm` is to say: this plan, and of an older file what the plan says nothing about.
    pub fn project(&self, folder: &str, old: Option<Project>, arch: &str) -> Project {
        let old = old.unwrap_or_default();
        let mut extra = old.extra;
        for (key, value) in [(key::IMAGE_AGENT, names::VERSION), (key::IMAGE_ARCH, arch)] {
            extra.insert(key.into(), value.into());
        }
        extra.insert(key::PREFIX.into(), self.prefix.as_deref().map_or(Value::Null, Value::from));
        extra.insert(key::BASE.into(), self.base.as_deref().map_or(Value::Null, Value::from));
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

#[cfg(test)]
pub mod tests {
    use super::*;
    use clap::Parser;

    /// What a command line comes to.
    pub fn plan(line: &str, old: Option<&Project>, kept: Option<&str>) -> Result<Plan, String> {
        let words = ["womm-image", "setup", "--yes"].into_iter().chain(line.split_whitespace());
        let cli::Verb::Setup(args) = cli::Cli::try_parse_from(words).map_err(|e| e.to_string())?.verb else {
            unreachable!("the verb is setup")
        };
        let facts = Facts {
            folder: "/p",
            old,
            kept_prefix: Ok(kept.map(str::to_owned)),
            has_context: true,
            kind: None,
            last_is_gone: false,
        };
        Plan::new(&args, &facts).map_err(|e| e.to_string())
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
    fn only_what_was_pushed_can_be_pulled_again() {
        let of = |engine, image: &str| Project { engine, image: image.into(), ..Default::default() };
        assert!(was_pushed(&of(EngineKind::Kube, "r.io/womm-image-abcdefgh:latest")));
        assert!(!was_pushed(&of(EngineKind::Kube, "womm-image-abcdefgh:loaded")));
        assert!(!was_pushed(&of(EngineKind::Docker, "womm-image-abcdefgh:latest")));
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
