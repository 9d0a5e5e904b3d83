//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use womm_wire::record::{EngineKind, ShareKind};

const EXIT: &str = "\
Exit status: 0 done, 1 the answer is no, 2 usage or unreadable input, 3 Docker, a registry or the disk failed, \
4 timed out; 128+N if signal N ended it.

.womm is looked for in this folder and above. Docker is found by DOCKER_HOST, else by the current Docker context, \
else at /var/run/docker.sock.";

const EXIT_SETUP: &str = "\
Without --yes and --refresh it asks, in a terminal, what no option says: * or ^C or ^D quits, and nothing was changed. Then it \
opens a shell in the image: what you install there is saved. sudo works and asks for no password; the files of this machine \
are in /mnt, read-only. Exported variables are those of jobs. When you leave it, it asks whether it works; n leads \
back into the shell, and * throws it away. If the terminal is closed or something fails after the shell was begun, it is kept, \
stopped, and --continue goes on with it.

Exit status: 0 done, 1 you quit, 2 usage or an unreadable .womm, 3 Docker, a registry or the disk failed, 4 timed out; 128+N if \
signal N ended it. Unless it is 0, nothing was changed, but for a kept shell that you threw away.";

const EXIT_DOCTOR: &str = "\
Exit status: 0 all is well, as far as it can be known, 1 something is wrong, 2 usage. Nothing is changed; what is asked \
of the registry is called off, what is asked of the cluster is a dry run.";

/// Makes and checks the image of a project: reads .womm, writes the image section of the record.
#[derive(Debug, Parser)]
#[command(name = "womm-image", version, after_help = EXIT)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What it can do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Writes the project's record, with the image section, to stdout
    #[command(after_help = EXIT)]
    Show(Show),
    /// Makes the project's image and writes .womm in this folder
    #[command(after_help = EXIT_SETUP, override_usage = "womm setup [OPTIONS]")]
    Setup(Setup),
    /// Makes PREFIXwomm-agent:VERSION, an image that holds nothing but the agent; writes its name to stdout
    #[command(after_help = EXIT)]
    Agent(Agent),
    /// Says where the image has perl and a shell; exit status 1 if one is missing
    #[command(after_help = EXIT)]
    Check(Check),
    /// Pushes the project's image, with the login of the Docker config
    #[command(after_help = EXIT)]
    Push(Push),
    /// Looks whether all is well: GNU parallel, Docker, images, the registry, the cluster; exit status 1 if something is wrong
    #[command(after_help = EXIT_DOCTOR, override_usage = "womm doctor [OPTIONS]")]
    Doctor(Doctor),
}

/// Which project.
#[derive(Debug, Clone, Default, Args)]
pub struct Find {
    /// Read FILE instead of the nearest .womm; "-" is stdin, for a project in this folder
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// `show`.
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    pub find: Find,
    /// This image instead of .womm's
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
    /// Where pods run, instead of what .womm says: kube or docker
    #[arg(long, value_name = "ENGINE", value_parser = engine)]
    pub engine: Option<EngineKind>,
}

/// `setup`.
#[derive(Debug, Clone, Args)]
pub struct Setup {
    /// Ask nothing and open no shell; what no option says has its default
    #[arg(long)]
    pub yes: bool,
    /// The image to start from, pulled if the local Docker engine does not have it [default: the image that the last setup
    /// of this folder made, else ubuntu:22.04]
    #[arg(long, value_name = "IMAGE")]
    pub base: Option<String>,
    /// Start from the base image, not from what the last setup of this folder made
    #[arg(long)]
    pub fresh: bool,
    /// Only renew the agent in the image of this folder: asks nothing, opens no shell
    #[arg(long, conflicts_with_all = ["base", "fresh"])]
    pub refresh: bool,
    /// Go on with the shell that was kept when its terminal was closed
    #[arg(long = "continue", exclusive = true)]
    pub resume: bool,
    /// Install what jobs need and the image lacks (perl), with the image's own package manager, instead of asking
    #[arg(long, conflicts_with = "refresh")]
    pub install: bool,
    /// Throw the shell away that was kept of this folder, instead of asking
    #[arg(long)]
    pub discard: bool,
    /// The Docker network of the shell, such as host [default: Docker's own]
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<String>,
    /// How the image's name begins, such as docker.io/me/; a "/" is added after a letter or digit. Kept in
    /// ~/.womm_prefix for engine kube, which needs one [default: what is kept there]
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// Where pods run: kube, or docker for this machine's Docker [default: what .womm says, else kube;
    /// asked where no kubeconfig has a context]
    #[arg(long, value_name = "ENGINE", value_parser = engine)]
    pub engine: Option<EngineKind>,
    /// How the folder appears in pods: bind (docker only) or none [default: bind on docker, none on kube]. Not in this
    /// version: lazy, eager, eager-back
    #[arg(long, value_name = "KIND", value_parser = share)]
    pub share: Option<ShareKind>,
    /// A variable of the environment for jobs: NAME as it is now, or NAME=VALUE. Can be given often
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// The image's whole name, instead of PREFIXwomm-image-xxxxxxxx
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The kubeconfig's context for tasks of this folder [default: the current one, each time]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// The namespace for tasks of this folder [default: the context's]
    #[arg(short = 'n', long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// The pull secret in that namespace, by name
    #[arg(long, value_name = "NAME")]
    pub secret: Option<String>,
}

/// `agent`.
#[derive(Debug, Args)]
pub struct Agent {
    /// How the image's name begins [default: what ~/.womm_prefix says, else nothing]
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// Push it, too
    #[arg(long)]
    pub push: bool,
}

/// `check`.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub find: Find,
    /// This image instead of .womm's
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
}

/// `push`.
#[derive(Debug, Args)]
pub struct Push {
    #[command(flatten)]
    pub find: Find,
    /// This image instead of .womm's
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Write JSON: {"kind": "womm/doctor", "findings": [{"check", "state", "detail", "remedy"}]}
    #[arg(long)]
    pub json: bool,
    /// Where pods would run: kube or docker [default: what .womm says, else kube if a kubeconfig selects a context]
    #[arg(long, value_name = "ENGINE", value_parser = engine)]
    pub engine: Option<EngineKind>,
    /// Look at this base image, too [default: ubuntu:22.04 where there is no .womm]
    #[arg(long, value_name = "IMAGE")]
    pub base: Option<String>,
    /// Where images would be pushed, such as docker.io/me/ [default: what .womm says, else ~/.womm_prefix]
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// The kubeconfig's context [default: what .womm says, else the current one]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// The namespace [default: what .womm says, else the context's]
    #[arg(short = 'n', long, value_name = "NAME")]
    pub namespace: Option<String>,
}

fn engine(text: &str) -> Result<EngineKind, String> {
    serde_json::from_value(text.into()).map_err(|_| "engines are kube and docker".into())
}

fn share(text: &str) -> Result<ShareKind, String> {
    serde_json::from_value(text.into()).map_err(|_| "kinds of share are lazy, eager, eager-back, bind and none".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(line: &str) -> Result<Setup, String> {
        let words = ["womm-image", "setup"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).map_err(|e| e.to_string())?.verb {
            Verb::Setup(args) => Ok(args),
            _ => unreachable!("the verb is setup"),
        }
    }

    #[test]
    fn each_question_has_an_option_and_no_option_answers_what_is_not_asked() {
        let args = setup("--yes --install --discard").expect("they fit");
        assert!(args.install && args.discard);
        let args = setup("").expect("all is asked");
        assert!(!args.install && !args.discard);
        assert!(setup("--refresh --discard").is_ok());
        for line in ["--refresh --install", "--continue --discard", "--continue --install", "--refresh --fresh"] {
            assert!(setup(line).expect_err(line).contains("cannot be used with"), "{line}");
        }
    }
}
