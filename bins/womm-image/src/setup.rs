//! `womm-image setup`: makes a project's image out of a base image, or of the one that it made before, and writes `.womm`.
//! With a terminal the user makes it work in a shell first; with `--yes` or `--refresh` nothing is run in it.
//!
//! Nothing is seen of a setup that failed: the image gets its name, and the folder its `.womm`, at the very end. What the
//! user did in the shell is not lost with it: the shell's container is kept.

use crate::ask::{self, YesNo};
use crate::check;
use crate::checks;
use crate::cli;
use crate::docker;
use crate::furnish::{Whose, furnished, look};
use crate::kind;
use crate::layer;
use crate::leftovers::{Leftovers, Thing};
use crate::plan::{self, Facts, Plan};
use crate::project::{self, Draft};
use crate::reference::Reference;
use crate::shell::{self, Container, Earlier, Person, kept_cwd};
use crate::show::name_of;
use crate::tty::Tty;
use crate::variables::{LANG, Left};
use bollard::Docker;
use bollard::models::ImageInspect;
use serde::{Deserialize, Serialize};
use std::path::Path;
use womm_cli::Failure;
use womm_engine::Place;
use womm_wire::names;
use womm_wire::record::{EngineKind, Project, ShareKind, User};

/// Layers that Docker takes on top of each other. Source: moby, `layer/layer_store.go`, `maxLayerDepth`.
const MOST_LAYERS: usize = 125;
/// What the user reads above the first prompt; 0.1.6 said the same.
const BANNER: &str = "\
This is a *local* shell where any dependencies you install will be saved.
The goal is that if your application works here, it will work on the cloud too.
Make it work!
Also make sure our dependencies are installed: perl
";

/// Makes the image and writes `.womm`.
///
/// # Errors
/// No (1) if the user quits, usage (2) for options that don't fit, outside (3) if Docker, the registry or the disk fail.
pub async fn run(args: &cli::Setup, leftovers: &Leftovers) -> Result<(), Failure> {
    let tty = if args.yes || args.refresh { None } else { Some(Tty::open()?) };
    let folder = project::here()?;
    let old = project::existing(Path::new(&folder))?;
    let mut facts = Facts {
        folder: &folder,
        old: old.as_ref(),
        kept_prefix: project::kept_prefix(),
        has_context: womm_engine::kube::has_context(),
        kind: kind::named(args.context.as_deref().or_else(|| old.as_ref()?.context.as_deref())),
        last_is_gone: false,
    };
    // That the folder can be written to is known before anything is asked.
    drop(Draft::new(Path::new(&folder))?);
    let Some(tty) = tty else {
        let mut plan = Plan::new(args, &facts)?;
        let docker = docker::connect().await?;
        if is_gone(&docker, args, &facts).await? {
            facts.last_is_gone = true;
            plan = Plan::new(args, &facts)?;
        }
        return unattended(&docker, leftovers, &plan, &folder, old.clone(), args.discard).await;
    };
    let docker = docker::connect().await?;
    facts.last_is_gone = !args.resume && is_gone(&docker, args, &facts).await?;
    interactive(args, &facts, &docker, leftovers, &tty).await
}

/// Whether the image of the last setup can't be had: neither from here nor, if it was pushed, from where it was pushed to.
async fn is_gone(docker: &Docker, args: &cli::Setup, facts: &Facts<'_>) -> Result<bool, Failure> {
    let Some((last, old)) = plan::last(args, facts).zip(facts.old) else { return Ok(false) };
    if docker::inspect(docker, &last).await?.is_some() {
        return Ok(false);
    }
    if plan::was_pushed(old) {
        let there = docker::pull_if_there(docker, &Reference::parse(&last)?).await;
        if there.map_err(|failure| unknown_whether_gone(failure, args))? {
            return Ok(false);
        }
    }
    if args.refresh {
        return Err(Failure::outside(format!("image \"{last}\" of the last setup is gone")).help("run `womm setup`"));
    }
    say(&format!("image {last} of the last setup is gone: starting from a base image"));
    Ok(true)
}

/// The image of the last setup may be there: a base image must not take its name unless that is wanted.
fn unknown_whether_gone(failure: Failure, args: &cli::Setup) -> Failure {
    if args.refresh {
        return failure; // it has no other image to start from
    }
    let fresh = "`--fresh` starts from a base image";
    let help = failure.help.as_ref().map_or_else(|| fresh.to_owned(), |help| format!("{help}; {fresh}"));
    failure.help(help)
}

async fn unattended(
    docker: &Docker,
    leftovers: &Leftovers,
    plan: &Plan,
    folder: &str,
    old: Option<Project>,
    discard: bool,
) -> Result<(), Failure> {
    let container = shell::name_of(folder);
    match shell::earlier(docker, &container).await? {
        Earlier::Kept if discard => throw_away(docker, leftovers, &container).await?,
        Earlier::Kept => say(&format!(
            "a shell of this folder is kept in the container {container}: `womm setup --continue` goes on with it, --discard \
             throws it away"
        )),
        Earlier::Running if discard => return Err(running(&container)),
        Earlier::Running | Earlier::Nothing => {}
    }
    let whose = Whose::find().await?;
    let here = docker::inspect(docker, &plan.start.to_string()).await?;
    // What is here is looked into beside the checks; it is heard of when those are passed.
    let early = async {
        match &here {
            Some(start) => Ok(Some(look(docker, leftovers, plan, start, &whose, true).await)),
            None => Ok(None),
        }
    };
    let (start, early) = tokio::try_join!(prepare(docker, plan, old.as_ref()), early)?;
    say(&format!("making image {} from {}", plan.name, plan.start));
    let inside = match early {
        Some(inside) => inside?,
        None => look(docker, leftovers, plan, &start, &whose, true).await?,
    };
    let id = furnished(docker, leftovers, &inside.recipe, &start).await?;
    // What is added holds nothing that could be missing, unless something was installed.
    let found = match inside.recipe.run {
        Some(_) => {
            let made = docker::inspect(docker, &id).await?;
            let gone = || Failure::outside(format!("image \"{id}\" is gone right after it was built"));
            check::look(docker, leftovers, &id, &made.ok_or_else(gone)?).await?
        }
        None => inside.found,
    };
    if let Some(what) = check::lacks(&found) {
        let remedy = if plan.install { "" } else { "; --install installs it" };
        say(&format!("warning: the image lacks {what}: jobs will fail until the base image has it{remedy}"));
    }
    publish(docker, leftovers, plan, &id, folder, old).await
}

async fn interactive(
    args: &cli::Setup,
    facts: &Facts<'_>,
    docker: &Docker,
    leftovers: &Leftovers,
    tty: &Tty,
) -> Result<(), Failure> {
    let name = shell::name_of(facts.folder);
    let goes_on = match shell::earlier(docker, &name).await? {
        Earlier::Running => return Err(running(&name)),
        Earlier::Nothing if args.resume => {
            return Err(Failure::usage("no shell of this folder was kept").help("run `womm setup`"));
        }
        Earlier::Nothing => false,
        Earlier::Kept if args.resume => true,
        Earlier::Kept if args.discard => {
            throw_away(docker, leftovers, &name).await?;
            false
        }
        Earlier::Kept => {
            let words = format!("An earlier shell of this folder was kept, in the container {name}. Go on with it?");
            match ask::yes_no(tty, &words).await? {
                YesNo::Yes => true,
                YesNo::No => {
                    throw_away(docker, leftovers, &name).await?;
                    false
                }
                YesNo::Quit | YesNo::End => return Err(ask::quit(leftovers)),
            }
        }
    };
    let whose = Whose::find().await?;
    let person = Person { user: &whose.user, groups: &whose.groups, folder: facts.folder };
    let (mut container, Note { plan, shell, .. }) = if goes_on {
        let mut container = Container::resume(docker, facts.folder).await?;
        leftovers.add(docker, Thing::Shell(container.name().to_owned()));
        let note = Note::parse(&container.tell("tell").await?, facts.folder);
        // Without one there is no going on, and nothing says so.
        let note = note.inspect_err(|_| leftovers.keep(&Thing::Shell(container.name().to_owned())))?;
        (container, note)
    } else {
        let plan = Plan::new(&ask::complete(args, facts, tty, leftovers).await?, facts)?;
        let start = prepare(docker, &plan, facts.old).await?;
        say(&format!("making image {} from {}", plan.name, plan.start));
        let inside = look(docker, leftovers, &plan, &start, &whose, false).await?;
        let start = furnished(docker, leftovers, &inside.recipe, &start).await?;
        let shell = inside.shell.ok_or_else(|| {
            Failure::outside("the image has no shell, neither /bin/bash nor /bin/sh")
                .help("choose another base image: jobs run in a shell too")
        })?;
        let mut container = Container::make(docker, leftovers, &plan, &person, &start, inside.caches).await?;
        let note = Note::new(plan, facts.folder, shell);
        container.tell(&format!("keep {}", note.text()?)).await?;
        (container, note)
    };
    let left = work(docker, leftovers, &mut container, (&plan, &shell), &person, tty).await?;
    let before = container.variables();
    let env = left.as_ref().map_or_else(|| before.to_vec(), |left| left.for_image(before));
    let id = container
        .commit(leftovers, env, labels(&whose.user), left.as_ref().and_then(|left| kept_cwd(left, facts.folder)))
        .await?;
    publish(docker, leftovers, &plan, &id, facts.folder, facts.old.cloned()).await?;
    leftovers.keep(&Thing::Shell(container.name().to_owned()));
    let container = container.name().to_owned();
    warn_of(leftovers.remove_one(docker, &Thing::Container(container)).await);
    Ok(())
}

fn running(container: &str) -> Failure {
    Failure::outside(format!("setup has a shell for this folder already, in the container \"{container}\""))
        .help("leave that one first")
}

/// Removes a kept shell, and the image that it was made of.
async fn throw_away(docker: &Docker, leftovers: &Leftovers, container: &str) -> Result<(), Failure> {
    let start = shell::image_of(docker, container).await?;
    leftovers.remove_one(docker, &Thing::Container(container.to_owned())).await?;
    leftovers.changed("the earlier shell is gone, nothing else was changed");
    leftovers.remove_one(docker, &Thing::Image(start)).await
}

fn labels(user: &User) -> std::collections::HashMap<String, String> {
    layer::labels(Some(user)).into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The shell, the check and the question whether it works, again and again until it does.
async fn work(
    docker: &Docker,
    leftovers: &Leftovers,
    container: &mut Container<'_>,
    (plan, shell): (&Plan, &str),
    person: &Person<'_>,
    tty: &Tty,
) -> Result<Option<Left>, Failure> {
    let name = container.name().to_owned();
    let mut left = None;
    // From here on there is something to lose.
    leftovers.keep(&Thing::Container(name.clone()));
    leftovers.keep(&Thing::Image(container.start.clone()));
    leftovers.keep(&Thing::Shell(name.clone()));
    leftovers.add(docker, Thing::Shell(name.clone()));
    loop {
        tty.write(BANNER).await?;
        let env = environment(person.user, shell, plan, container.variables());
        left = container.shell(person, env.clone(), shell, tty).await?.or(left);
        match &left {
            None => say("the shell ended without telling what it exports: exported variables are not kept"),
            Some(left) if !left.unfit.is_empty() => {
                say(&format!("not kept, because they are not UTF-8: {}", left.unfit.join(", ")));
            }
            Some(_) => {}
        }
        dependencies(container, left.as_ref(), env, plan.install, tty).await?;
        match ask::yes_no(tty, "Does it work?").await? {
            YesNo::Yes => return Ok(left),
            YesNo::No => {}
            YesNo::Quit => {
                leftovers.keep(&Thing::Shell(name.clone()));
                leftovers.add(docker, Thing::Image(container.start.clone()));
                leftovers.add(docker, Thing::Container(name));
                return Err(ask::quit(leftovers));
            }
            YesNo::End => {
                return Err(Failure::no(format!("you did not say whether it works: {}", leftovers.outcome())));
            }
        }
    }
}

/// Names what the image lacks, and offers to install it.
async fn dependencies(
    container: &mut Container<'_>,
    left: Option<&Left>,
    env: Vec<String>,
    install: bool,
    tty: &Tty,
) -> Result<(), Failure> {
    let of_shell = left.map(|left| left.for_image(container.variables()));
    let path = check::path_in(of_shell.as_deref().unwrap_or(container.variables()));
    let found = check::found_in(&container.which(&check::programs(), &path).await?);
    let Some(lacks) = check::lacks(&found) else { return Ok(()) };
    tty.write(format!("The image lacks {lacks}.\n")).await?;
    let Some(manager) = check::manager(&found) else {
        let known = check::MANAGERS.iter().map(|manager| manager.program).collect::<Vec<_>>().join(", ");
        return tty
            .write(format!(
                "It has no package manager that is known here ({known}): answer n to go back and install it.\n"
            ))
            .await;
    };
    if !install && ask::yes_no(tty, &format!("Install it with {}?", manager.program)).await? != YesNo::Yes {
        return Ok(());
    }
    let status = container.as_root(manager.install, env, tty).await?;
    if status != 0 {
        tty.write(format!("{} failed, with status {status}.\n", manager.program)).await?;
        return Ok(());
    }
    let found = check::found_in(&container.which(&check::programs(), &path).await?);
    if let Some(lacks) = check::lacks(&found) {
        tty.write(format!("The image still lacks {lacks}.\n")).await?;
    }
    Ok(())
}

/// What the shell's environment is besides the image's.
fn environment(user: &User, shell: &str, plan: &Plan, image: &[String]) -> Vec<String> {
    let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
    let mut env = vec![
        format!("PATH={}:{}", names::SETUP_BIN, check::path_in(image)),
        format!("HOME={}", user.home),
        format!("USER={}", user.name),
        format!("LOGNAME={}", user.name),
        format!("SHELL={shell}"),
        format!("TERM={term}"),
        format!("HISTFILE={}", names::SETUP_HISTORY),
    ];
    if !image.iter().any(|line| line.starts_with("LANG=")) {
        env.push(format!("LANG={LANG}"));
    }
    if !shell.ends_with("/bash") {
        env.push(format!("ENV={}", names::SETUP_SHRC));
    }
    env.extend(plan.env.iter().map(|(name, value)| format!("{name}={value}")));
    env
}

/// What is kept with an interrupted shell.
#[derive(Serialize, Deserialize)]
struct Note {
    version: String,
    folder: String,
    plan: Plan,
    shell: String,
}

impl Note {
    fn new(plan: Plan, folder: &str, shell: String) -> Self {
        Self { version: names::VERSION.to_owned(), folder: folder.to_owned(), plan, shell }
    }

    fn text(&self) -> Result<String, Failure> {
        serde_json::to_string(self).map_err(|e| Failure::outside(format!("write down what was chosen: {e}")))
    }

    fn parse(text: &str, folder: &str) -> Result<Self, Failure> {
        let note: Option<Self> = serde_json::from_str(text).ok();
        let ours = note.filter(|note| note.version == names::VERSION && note.folder == folder);
        ours.ok_or_else(|| match text {
            "" => Failure::outside("the kept shell lacks the note of what was chosen for it")
                .help("begin anew: run `womm setup` and answer n"),
            _ => Failure::outside("the kept shell is of another version of womm")
                .help("go on with that version, or run `womm setup` and answer n"),
        })
    }
}

/// Gives the image its name, pushes it if the cluster is to have it, and writes `.womm`.
async fn publish(
    docker: &Docker,
    leftovers: &Leftovers,
    plan: &Plan,
    id: &str,
    folder: &str,
    old: Option<Project>,
) -> Result<(), Failure> {
    let id = id.to_owned();
    let made = docker::inspect(docker, &id).await?;
    let arch = made.and_then(|image| image.architecture).unwrap_or_default();
    let draft = Draft::new(Path::new(folder))?;
    let before = docker::inspect(docker, &plan.name.to_string()).await?.and_then(|image| image.id);
    let renamed = before.as_ref().is_none_or(|before| *before != id);
    let before = before.filter(|before| *before != id);
    let (repository, tag) = (plan.name.repository.clone(), plan.name.tag.clone().unwrap_or_default());
    match &before {
        Some(before) => leftovers.add(docker, Thing::Name(repository.clone(), tag.clone(), before.clone())),
        None if renamed => leftovers.add(docker, Thing::Named(plan.name.to_string())),
        None => {}
    }
    docker::tag(docker, &id, &plan.name).await?;
    match (plan.engine, kind_of(docker, plan).await?) {
        (EngineKind::Docker, _) => {}
        (EngineKind::Kube, Some(kind)) => kind::load(docker, &kind, &plan.name).await?,
        (EngineKind::Kube, None) => crate::push::push(docker, &plan.name).await?,
    }
    let project = plan.project(folder, old, &arch);
    draft.keep(&project)?;
    leftovers.changed("the image is made, and .womm is written");
    // From here on it is done: what follows is tidying, and does not undo it.
    leftovers.keep(&Thing::Image(id));
    leftovers.keep(&Thing::Named(plan.name.to_string()));
    if let Some(before) = before {
        leftovers.keep(&Thing::Name(repository, tag, before.clone()));
        // The new image may be on top of it, or somebody's container still use it; then it stays.
        let _ = leftovers.remove_one(docker, &Thing::Replaced(before)).await;
    }
    if let Some(prefix) = plan.prefix.as_ref().filter(|_| plan.keep_prefix) {
        warn_of(project::keep_prefix(prefix));
    }
    let shared = match plan.share {
        ShareKind::None => "its files are not shared".to_owned(),
        share => format!("shared by {}", name_of(share)),
    };
    say(&format!("wrote {folder}/{} for image {}, {shared}", project::FILE, plan.name));
    say("now try: womm parallel --kube-pods 2 -- echo it works on {} ::: my machine");
    Ok(())
}

/// Tidying that failed: the image is made and `.womm` is written, so it is no failure of setup.
fn warn_of(tidying: Result<(), Failure>) {
    if let Err(failure) = tidying {
        say(&format!("warning: {failure}"));
    }
}

fn say(line: &str) {
    use std::io::Write;
    // A stderr that is gone is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// All that can be known to fail is looked at before anybody invests time; the image to start from, which is here then.
async fn prepare(docker: &Docker, plan: &Plan, old: Option<&Project>) -> Result<ImageInspect, Failure> {
    let kind = kind_of(docker, plan).await?;
    let intent = checks::Intent { engine: plan.engine, name: &plan.name, kind: kind.as_ref() };
    let context = plan.context.clone().or_else(|| old?.context.clone());
    let place = Place { context, namespace: plan.namespace.clone() };
    let nodes = async { Ok(checks::nodes(plan.engine, &place).await) };
    let ((), nodes) = tokio::try_join!(checks::before_setup(docker, &intent), nodes)?;
    let start = start_image(docker, &plan.start).await?;
    checks::fits_nodes(start.architecture.as_deref().unwrap_or_default(), nodes.as_ref())?;
    Ok(start)
}

async fn kind_of(docker: &Docker, plan: &Plan) -> Result<Option<kind::Kind>, Failure> {
    match &plan.kind {
        Some(name) => kind::find(docker, name).await.map(Some),
        None => Ok(None),
    }
}

/// Sees to it that the image to start from is here, pulled if it is not, and that it is one for this machine.
async fn start_image(docker: &Docker, name: &Reference) -> Result<ImageInspect, Failure> {
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
    let layers = found.root_fs.as_ref().and_then(|fs| fs.layers.as_ref()).map_or(0, Vec::len);
    if layers + 2 > MOST_LAYERS {
        return Err(Failure::outside(format!(
            "image \"{name}\" has {layers} layers, and Docker takes no more than {MOST_LAYERS}"
        ))
        .help("begin anew with `womm setup --fresh`"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_of_this_version_and_folder_or_says_what_to_do() {
        let plan = plan::tests::plan("--engine docker", None, None).expect("enough is said");
        let text = Note::new(plan, "/p", "/bin/sh".into()).text().expect("plain data");
        assert_eq!(Note::parse(&text, "/p").expect("ours").shell, "/bin/sh");
        for (text, folder, why) in
            [("", "/p", "lacks the note"), (&text, "/q", "of another version"), ("{}", "/p", "of another version")]
        {
            let failure = Note::parse(text, folder).err().expect(why).to_string();
            assert!(failure.contains(why) && failure.contains("run `womm setup` and answer n"), "{failure}");
        }
    }
}
