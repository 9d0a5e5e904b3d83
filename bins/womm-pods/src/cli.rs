//! The command line.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

const EXIT: &str = "\
Exit status: 0 done, 2 usage or an unreadable record, 3 Docker or the cluster failed or refused, 4 timed out; 128+N if \
signal N ended it.

Docker is found by DOCKER_HOST, else by the current Docker context, else at /var/run/docker.sock.";

/// Makes, watches and deletes the pods of a task. Reads a record on stdin.
#[derive(Debug, Parser)]
#[command(name = "womm-pods", version, after_help = EXIT)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What it can do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Makes a task and its pods; writes the record with its task section to stdout
    #[command(after_help = EXIT, args_override_self = true)] // the last one counts, as with GNU parallel
    Create(Box<Create>),
    /// Replaces pods that end, and writes what becomes of them to stdout, a JSON line each
    #[command(after_help = EXIT)]
    Watch(Watch),
    /// Deletes a task and waits until it is gone, its run folder included
    #[command(after_help = EXIT)]
    Delete,
    /// Deletes a task when its run ends without having done so; `create --while` starts it
    #[command(hide = true)]
    Guard(Guard),
}

/// `create`. Numbers are read by [`crate::task`], whose words users of the older womm know.
#[derive(Debug, Default, Args)]
pub struct Create {
    /// The number of pods
    #[arg(long, alias = "pods", value_name = "N", allow_hyphen_values = true)]
    pub kube_pods: Option<String>,
    /// Jobs at once in each pod
    #[arg(long, value_name = "N", default_value = "1", allow_hyphen_values = true)]
    pub procs_per_pod: String,
    /// CPUs a pod, such as 0.5 or 250m
    #[arg(long, value_name = "QUANTITY", default_value = "1", allow_hyphen_values = true)]
    pub kube_cpu: String,
    /// Memory a pod, such as 512Mi or 2G
    #[arg(long, value_name = "QUANTITY", default_value = "512Mi", allow_hyphen_values = true)]
    pub kube_mem: String,
    /// GPUs a pod
    #[arg(long, value_name = "N", default_value = "0", allow_hyphen_values = true)]
    pub kube_gpu: String,
    /// A strategic merge patch for the Deployment, JSON or YAML; engine kube only
    #[arg(long, value_name = "FILE")]
    pub kube_patch: Option<PathBuf>,
    /// The command that the task is for, to show to people
    #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
    pub command: String,
    /// The kubeconfig's context; engine kube only
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// The namespace; engine kube only
    #[arg(short = 'n', long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// The run folder, of mode 0700; made if it is missing [default: $XDG_RUNTIME_DIR/womm/ID, else /tmp/womm-UID/ID]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Delete everything when this descriptor, the read end of the run's life pipe, has no writers left
    #[arg(long = "while", value_name = "FD")]
    pub life: Option<i32>,
}

/// `watch`.
#[derive(Debug, Args)]
pub struct Watch {
    /// End when this descriptor, the read end of the run's life pipe, has no writers left
    #[arg(long = "while", value_name = "FD")]
    pub life: Option<i32>,
}

/// `guard`.
#[derive(Debug, Args)]
pub struct Guard {
    /// The read end of the run's life pipe
    #[arg(long = "while", value_name = "FD")]
    pub life: i32,
    /// The process that called `create`: while it lives it may be about to call `delete`
    #[arg(long, value_name = "PID")]
    pub caller: Option<i32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["womm-pods", "create", "--pods", "-1", "-n", "team", "--while", "9"]);
        let Verb::Create(create) = cli.verb else { panic!("create") };
        assert_eq!((create.kube_pods.as_deref(), create.life), (Some("-1"), Some(9)));
    }
}
