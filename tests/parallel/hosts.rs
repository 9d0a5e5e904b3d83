//! Which hosts, with what environment, in which folder; and what the user's own settings say of it.

use crate::case::{Case, plain};
use harness::{Cmd, Engine};
use std::collections::BTreeSet;
use std::fs;

#[test]
fn once_on_each_host() {
    let both = Case::new("--nonall").both(|cmd, _| cmd.words("--nonall --tag --").arg("echo here; echo err >&2"));
    both.exits(0).same_lines();
    assert_eq!(both.ours.text().lines().count(), 2);
    let run = Case::new("--nonall in pods").ours().words("--nonall -- uname -n").run();
    let task = run.succeeds().quiet_task();
    let pods: BTreeSet<&str> = run.text().lines().collect();
    let ours = pods.iter().all(|pod| pod.starts_with(&format!("womm-task-{task}-")));
    run.holds("each pod once", pods.len() == 2 && ours);
}

#[test]
fn all_on_each_host() {
    let both =
        Case::new("--onall").both(|cmd, _| cmd.words("--onall -k --tag --").arg("echo {}; exit 3").words("::: a b"));
    // Its status is the highest that one host's GNU parallel has.
    let code = both.real.code();
    both.exits(code).same_stdout();
    assert_eq!(both.ours.text().lines().count(), 4);
}

#[test]
fn hosts_that_answer() {
    plain("--filter-hosts", &["--filter-hosts", "-k", "--", "echo", ":::", "a", "b"], "", 0, "a\nb\n");
}

#[test]
fn the_host_in_the_argument() {
    let case = Case::new("--hostgroups");
    let both = case.same(0, |cmd, _| cmd.words("--hostgroups -k --").arg("echo {}").words("::: a@w001 b@w002 c@w001"));
    let text = fs::read_to_string(case.project().root().join("ours/joblog")).unwrap();
    let hosts: BTreeSet<(&str, &str)> =
        text.lines().skip(1).map(|line| (&line[..1], line.split('\t').nth(1).unwrap())).collect();
    assert_eq!(hosts, BTreeSet::from([("1", "w001"), ("2", "w002"), ("3", "w001")]));
    both.real.writes("a\nb\nc\n");
}

#[test]
fn variables_that_are_named() {
    let case = Case::new("--env");
    let value = "two  words, 'quotes' and $HOME\nand a line";
    let with = |cmd: Cmd| cmd.env("NAMED", value).env("OTHER", "x");
    let both =
        case.same(0, |cmd, _| with(cmd).words("--env NAMED -k --").arg("echo \"${NAMED}\"{}$OTHER").words("::: 1"));
    both.real.writes(format!("{value}1\n"));
}

#[test]
fn functions_that_are_named() {
    let case = Case::new("--env, a function of bash");
    // Bash stays: GNU parallel looks for the shell that it is called from.
    let script = "greet() { echo \"hello, it's $1\"; [ $# = 1 ]\n}; export -f greet; \"$@\"; exit $?";
    let both = case.same(0, |cmd, _| {
        cmd.words("--env greet -k --").arg("greet {}").words("::: you 'him").by("bash", &["-c", script, "bash"])
    });
    both.real.writes("hello, it's you\nhello, it's 'him\n");
}

#[test]
fn the_environment_as_it_was_recorded() {
    let case = Case::new("--record-env, --env _");
    case.project().cmd("parallel").arg("--record-env").run().succeeds();
    let both =
        case.same(0, |cmd, _| cmd.env("FRESH", "air").words("--env _ -k --").arg("echo $FRESH {}").words("::: 1"));
    both.real.writes("air 1\n");
}

#[test]
fn in_a_folder() {
    let case = Case::new("--wd");
    case.same(0, |cmd, _| cmd.words("--wd /tmp -k -- pwd ::: a")).real.writes("/tmp\n");
    // Made where it is missing, below the folder that jobs are in.
    let both = case.same(0, |cmd, _| cmd.words("--wd sub/{} -k --").arg("echo ${PWD##*/sub}").words("::: a b"));
    both.real.writes("/a a\n/b b\n");
}

/// GNU parallel takes it for a path below HOME if it is there, and sshd for one to begin with in HOME. Jobs are in the
/// folder already.
#[test]
fn in_this_folder() {
    let case = Case::new("--wd .");
    let here = format!("{}\n", case.project().folder().display());
    for words in ["--wd . -- pwd ::: a", "--wd=. -- pwd ::: a", "--workdir . -- pwd ::: a"] {
        let run = case.ours().env("HOME", case.project().root()).words(words).run();
        run.succeeds().writes(&here).quiet_task();
    }
}

#[test]
fn in_a_folder_of_the_jobs_own() {
    let case = Case::new("--wd ...");
    let below = format!("{}/.parallel/tmp/", case.project().folder().display());
    let run = case.ours().words("--wd ... -- pwd ::: a b").run();
    run.succeeds().quiet_task();
    let folders: BTreeSet<&str> = run.text().lines().collect();
    run.holds("each has one", folders.len() == 2 && folders.iter().all(|folder| folder.starts_with(&below)));
}

/// Refused with one line on stderr, before anything is made.
#[track_caller]
fn refused(cmd: Cmd, words: &[&str]) {
    cmd.run().refuses(2, words);
}

#[test]
fn a_tmux_in_the_pods() {
    let case = Case::new("--tmux is refused");
    for option in ["--tmux", "--tmuxpane"] {
        refused(case.ours().arg(option).words("-- echo ran ::: 1"), &[option, "pods", "womm ssh"]);
    }
    refused(case.ours().env("PARALLEL", "--tmux").words("-- echo ran ::: 1"), &["PARALLEL", "--tmux", "womm ssh"]);
}

#[test]
fn what_runs_in_no_pod() {
    let case = Case::new("--semaphore is refused");
    refused(case.ours().words("--semaphore -- echo ran"), &["--semaphore", "no pod"]);
}

#[test]
fn hosts_of_the_users_own() {
    let case = Case::new("a profile or option that names hosts is refused");
    let home = case.project().home();
    let job = |cmd: Cmd| cmd.words("-- echo {} ::: ran");
    for words in ["-S host", "-kShost", "-j2 -kS host", "--sshlogin=host", "--sshl host", "--slf hosts"] {
        refused(job(case.ours().words(words)), &["can't be used", "--kube-pods"]);
    }
    for (profile, words) in
        [(".parallelrc", ""), (".config/parallel/config", ""), (".parallel/config", ""), (".parallel/mine", "-kJ mine")]
    {
        let path = home.join(profile);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "# mine\n--tag\n-k -S host\n").unwrap();
        refused(job(case.ours().words(words)), &[path.to_str().unwrap(), "names hosts"]);
        // As with GNU parallel: --plain passes all profiles over.
        job(case.ours().words("--plain").words(words)).run().succeeds().writes("ran\n").quiet_task();
        fs::remove_file(&path).unwrap();
    }
    for variable in ["--sshlogin host", "-kS host"] {
        refused(job(case.ours()).env("PARALLEL", variable), &["PARALLEL", "names hosts"]);
    }
}

#[test]
fn a_profile_of_the_users_own() {
    let case = Case::new("a profile, --profile");
    let folder = case.project().home().join(".parallel");
    fs::write(folder.join("config"), "# mine\n--tag\n").unwrap();
    fs::write(folder.join("other"), "--tagstring other\n").unwrap();
    case.same(0, |cmd, _| cmd.words("-k -- echo {} ::: a")).real.writes("a\ta\n");
    case.same(0, |cmd, _| cmd.words("--profile other -k -- echo {} ::: a")).real.writes("other\ta\n");
    case.same(0, |cmd, _| cmd.words("-J other -k -- echo {} ::: a")).real.writes("other\ta\n");
}

#[test]
fn options_in_the_environment() {
    let case = Case::new("PARALLEL");
    case.same(0, |cmd, _| cmd.env("PARALLEL", "--tag -k").words("-- echo {} ::: a b")).real.writes("a\ta\nb\tb\n");
}

#[test]
fn how_it_is_cited() {
    let case = Case::new("--citation");
    let own = case.project().cmd("parallel").arg("--citation").stdin("will cite\n").run();
    let ours = case.project().womm().words("parallel --citation").stdin("will cite\n").run();
    ours.exits(own.code()).writes(&own.stdout).holds("it names the author", ours.text().contains("Tange"));
}

#[test]
fn files_that_would_be_deleted() {
    let case = Case::new("--cleanup, --trc where the folder is shared: refused");
    if Engine::under_test() == Engine::Kube {
        return case.has_no_sense_here("no folder is shared on this engine yet");
    }
    case.project().write("input", "precious");
    let job = |cmd: Cmd| cmd.words("-- true ::: input");
    for words in ["--trc {}.out", "--transferfile {} --cleanup", "--transferfile {} --cl"] {
        refused(job(case.ours().words(words)), &["would delete"]);
    }
    refused(job(case.ours().words("--transferfile {}").env("PARALLEL", "--cleanup")), &["PARALLEL", "would delete"]);
    assert_eq!(fs::read_to_string(case.project().at("input")).unwrap(), "precious");
    // Where it comes from and goes to is the same file.
    let run = case.ours().words("--transferfile {} -- cat {} ::: input").run();
    run.succeeds().writes("precious").task();
}
