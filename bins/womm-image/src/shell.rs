//! The container in which the user makes the image, and what runs in it. Its process 1 is `womm-agent setup`, as root; its
//! stdin is ours, so that the container stops when we end, in whatever way. What must not be in the image is on mounts.

use crate::body::{body, committed};
use crate::docker::{self, failed};
use crate::host::{self, HOST};
use crate::leftovers::{Leftovers, Thing};
use crate::plan::Plan;
use crate::tty::{Tty, closed};
use crate::user::Group;
use crate::variables::Left;
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{ExecConfig, ImageConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CommitContainerOptionsBuilder, CreateContainerOptionsBuilder,
};
use futures::{Stream, StreamExt};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};
use womm_cli::Failure;
use womm_wire::frame::{Kind, encode};
use womm_wire::names;
use womm_wire::record::User;

/// How long Docker, or the agent, may take for one thing.
const DEADLINE: Duration = Duration::from_secs(60);
/// Making an image of a large container takes its time.
const COMMIT: Duration = Duration::from_secs(3600);
/// What the agent may say beside the terminal, bytes.
const MOST_SAID: usize = 4 << 20;
/// How much is kept of what it says where nothing is expected, bytes.
const MOST_COMPLAINTS: usize = 1 << 10;
/// The agent's status for a program that it could not start.
const NOT_STARTED: i64 = 125;
/// Docker's detach keys, which it takes out of what is typed: of its defaults, ^P is everybody's. ^@ and ^_ after each
/// other are nobody's.
const DETACH_KEYS: &str = "ctrl-@,ctrl-_,ctrl-@,ctrl-_";

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>;
type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// Whose shell it is.
pub struct Person<'a> {
    /// The user.
    pub user: &'a User,
    /// Their groups, their own first.
    pub groups: &'a [Group],
    /// Where they stand.
    pub folder: &'a str,
}

/// The container of a folder's setup: one at a time.
pub fn name_of(folder: &str) -> String {
    // FNV-1a (draft-eastlake-fnv, section 2): the same in every version, and no name that a path could not have.
    let owner = rustix::process::getuid().as_raw();
    let bytes = format!("{owner}:{folder}");
    let hash =
        bytes.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("womm-setup-{hash:016x}")
}

/// What there is of an earlier setup of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// Nothing.
    Nothing,
    /// A container that was kept.
    Kept,
    /// One that goes on in another terminal.
    Running,
}

/// Looks for an earlier one.
///
/// # Errors
/// Outside (3) if Docker can't say.
pub async fn earlier(docker: &Docker, container: &str) -> Result<Earlier, Failure> {
    // One that was killed is about to stop.
    for _ in 0..20 {
        match docker.inspect_container(container, None).await {
            Ok(found) if found.state.as_ref().and_then(|state| state.running) != Some(true) => {
                return Ok(Earlier::Kept);
            }
            Ok(_) => sleep(Duration::from_millis(200)).await,
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(Earlier::Nothing),
            Err(e) => return Err(failed(format!("look for the container \"{container}\""), &e)),
        }
    }
    Ok(Earlier::Running)
}

/// The image that a container was made of.
///
/// # Errors
/// Outside (3) if Docker can't say.
pub async fn image_of(docker: &Docker, container: &str) -> Result<String, Failure> {
    let found = docker.inspect_container(container, None).await;
    let found = found.map_err(|e| failed(format!("look at the container \"{container}\""), &e))?;
    Ok(found.image.unwrap_or_default())
}

/// The container, while it runs.
pub struct Container<'a> {
    docker: &'a Docker,
    name: String,
    input: Input,
    output: Output,
    said: Vec<u8>,
    /// What it wrote to stderr, beside its answers.
    complaints: Complaints,
    /// The image it was made of.
    pub start: String,
    config: ImageConfig,
}

impl<'a> Container<'a> {
    /// Makes it, of this image.
    ///
    /// # Errors
    /// Outside (3) if Docker refuses.
    pub async fn make(
        docker: &'a Docker,
        leftovers: &Leftovers,
        plan: &Plan,
        person: &Person<'_>,
        start: &str,
        caches: Vec<String>,
    ) -> Result<Self, Failure> {
        let name = name_of(person.folder);
        let config = config_of(docker, start).await?;
        let engine = docker.info().await.map_err(|e| failed("ask Docker about itself", &e))?;
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo");
        let mountinfo = mountinfo.map_err(|e| Failure::outside(format!("read /proc/self/mountinfo: {e}")))?;
        let host = host::mounts(&host::Known {
            api: docker.client_version(),
            kernel: engine.kernel_version.as_deref().unwrap_or_default(),
            docker_root: engine.docker_root_dir.as_deref().unwrap_or_default(),
            mountinfo: &mountinfo,
        });
        let body = body(plan, person, start, &config, caches, &engine, host);
        leftovers.add(docker, Thing::Container(name.clone()));
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let making = docker.clone();
        let made = leftovers.make(async move { making.create_container(Some(options), body).await }).await?;
        if let Err(e) = made {
            if matches!(e, Error::DockerResponseServerError { status_code: 409, .. }) {
                leftovers.keep(&Thing::Container(name.clone())); // it is another's
            }
            return Err(failed("make the container for the shell", &e));
        }
        Self::start(docker, name, start.to_owned(), config).await
    }

    /// Goes on with the one that was kept.
    ///
    /// # Errors
    /// Outside (3) if Docker refuses.
    pub async fn resume(docker: &'a Docker, folder: &str) -> Result<Self, Failure> {
        let name = name_of(folder);
        let start = image_of(docker, &name).await?;
        let config = config_of(docker, &start).await?;
        Self::start(docker, name, start, config).await
    }

    async fn start(docker: &'a Docker, name: String, start: String, config: ImageConfig) -> Result<Self, Failure> {
        let deed = "start the container for the shell";
        let options = AttachContainerOptionsBuilder::default().stream(true).stdin(true).stdout(true).stderr(true);
        let attached = docker.attach_container(&name, Some(options.build())).await.map_err(|e| failed(deed, &e))?;
        within(deed, DEADLINE, docker.start_container(&name, None)).await?;
        let (input, output) = (attached.input, attached.output);
        Ok(Self { docker, name, input, output, said: Vec::new(), complaints: Complaints::default(), start, config })
    }

    /// The container's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells process 1 something; its answer.
    ///
    /// # Errors
    /// Outside (3) if it can't do it, or the container has ended.
    pub async fn tell(&mut self, words: &str) -> Result<String, Failure> {
        let verb = words.split(' ').next().unwrap_or_default();
        let deed = format!("tell the agent in the container to {verb}");
        let ended = |why: &str| Failure::outside(format!("{deed}: {why}"));
        let complaints = &mut self.complaints;
        let line = format!("{words}\n");
        let work = async {
            self.input.write_all(line.as_bytes()).await.map_err(|e| ended(&e.to_string()))?;
            self.input.flush().await.map_err(|e| ended(&e.to_string()))?;
            loop {
                if let Some(end) = self.said.iter().position(|b| *b == b'\n') {
                    let line: Vec<u8> = self.said.drain(..=end).collect();
                    return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
                }
                match self.output.next().await {
                    Some(Ok(LogOutput::StdOut { message } | LogOutput::Console { message })) => {
                        self.said.extend_from_slice(&message);
                    }
                    Some(Ok(LogOutput::StdErr { message })) => complaints.take(&message),
                    Some(Ok(LogOutput::StdIn { .. })) => {}
                    Some(Err(e)) => return Err(failed(&deed, &e)),
                    None => return Err(ended(&complaints.after("it has ended"))),
                }
            }
        };
        let answer = timeout(DEADLINE, work).await.map_err(|_| late(&deed, DEADLINE))??;
        match answer.strip_prefix("failed ") {
            Some(why) => Err(ended(why)),
            None => Ok(answer),
        }
    }

    /// Opens the user's shell in the terminal, until they leave it; what it exported, if it could tell.
    ///
    /// # Errors
    /// Outside (3) if it can't be opened, no (1) if the terminal is closed.
    pub async fn shell(
        &mut self,
        person: &Person<'_>,
        env: Vec<String>,
        shell: &str,
        tty: &Tty,
    ) -> Result<Option<Left>, Failure> {
        let gids: Vec<_> = person.groups.iter().map(|group| group.gid.to_string()).collect();
        let mut words = vec![person.user.uid.to_string(), gids.join(","), shell.to_owned()];
        if shell.ends_with("/bash") {
            words.extend(["--rcfile".to_owned(), names::SETUP_BASHRC.to_owned()]);
        }
        words.push("-i".to_owned());
        let (code, said) = self.in_terminal(words, env, person.folder, tty).await?;
        let left = Left::parse(&said);
        match code {
            Some(NOT_STARTED) if left.is_none() => {
                Err(Failure::outside(format!("open the shell {shell}: {}", String::from_utf8_lossy(&said))))
            }
            _ => Ok(left),
        }
    }

    /// Runs a line of a shell as root, in the terminal; its status.
    ///
    /// # Errors
    /// As [`Container::shell`].
    pub async fn as_root(&mut self, line: &str, env: Vec<String>, tty: &Tty) -> Result<i64, Failure> {
        let words = ["0", "0", "/bin/sh", "-c", line].map(str::to_owned).to_vec();
        let (code, _) = self.in_terminal(words, env, "/", tty).await?;
        Ok(code.unwrap_or(NOT_STARTED))
    }

    async fn in_terminal(
        &mut self,
        words: Vec<String>,
        env: Vec<String>,
        folder: &str,
        tty: &Tty,
    ) -> Result<(Option<i64>, Vec<u8>), Failure> {
        let size = tty.size();
        let mut cmd = vec![names::AGENT_BAKED.to_owned(), "shell".to_owned()];
        cmd.extend([size.rows.to_string(), size.columns.to_string()]);
        cmd.extend(words);
        let (id, mut output, input) = self.exec(cmd, env, folder, true).await?;
        let mut said = Vec::new();
        {
            let _raw = tty.raw();
            let show = async {
                while let Some(piece) = output.next().await {
                    match piece.map_err(|e| failed("talk to the shell", &e))? {
                        LogOutput::StdOut { message } | LogOutput::Console { message } => tty.write(message).await?,
                        LogOutput::StdErr { message } if said.len() < MOST_SAID => said.extend_from_slice(&message),
                        _ => {}
                    }
                }
                Ok::<_, Failure>(())
            };
            tokio::select! {
                ended = show => ended?,
                ended = type_into(input, tty) => return Err(ended),
            }
        }
        Ok((self.status(&id).await?, said))
    }

    /// Where the container has programs, looked for on its PATH.
    ///
    /// # Errors
    /// Outside (3) if Docker refuses.
    pub async fn which(&self, programs: &[&str], path: &str) -> Result<Vec<String>, Failure> {
        let mut cmd = vec![names::AGENT_BAKED.to_owned(), "which".to_owned(), path.to_owned()];
        cmd.extend(programs.iter().map(|program| (*program).to_owned()));
        let (_, mut output, _input) = self.exec(cmd, Vec::new(), "/", false).await?;
        let mut said = Vec::new();
        let read = async {
            while let Some(piece) = output.next().await {
                match piece.map_err(|e| failed("look into the container", &e))? {
                    LogOutput::StdOut { message } => said.extend_from_slice(&message),
                    LogOutput::StdErr { message } | LogOutput::Console { message } => {
                        let words = String::from_utf8_lossy(&message).into_owned();
                        return Err(Failure::outside(format!("look into the container: {words}")));
                    }
                    LogOutput::StdIn { .. } => {}
                }
            }
            Ok(())
        };
        timeout(DEADLINE, read).await.map_err(|_| late("look into the container", DEADLINE))??;
        Ok(String::from_utf8_lossy(&said).lines().map(str::to_owned).collect())
    }

    async fn exec(
        &self,
        cmd: Vec<String>,
        env: Vec<String>,
        folder: &str,
        stdin: bool,
    ) -> Result<(String, Output, Input), Failure> {
        let deed = "run something in the container";
        let exec = ExecConfig {
            attach_stdin: Some(stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            detach_keys: Some(DETACH_KEYS.to_owned()),
            user: Some("0:0".to_owned()),
            working_dir: Some(folder.to_owned()),
            env: Some(env),
            cmd: Some(cmd),
            ..Default::default()
        };
        let id = within(deed, DEADLINE, self.docker.create_exec(&self.name, exec)).await?.id;
        let options = StartExecOptions { detach: false, tty: false, output_capacity: Some(64 << 10) };
        match within(deed, DEADLINE, self.docker.start_exec(&id, Some(options))).await? {
            StartExecResults::Attached { output, input } => Ok((id, output, input)),
            StartExecResults::Detached => Err(Failure::outside(format!("{deed}: Docker did not attach"))),
        }
    }

    /// How a program ended whose output has ended; none if Docker can't tell.
    ///
    /// # Errors
    /// Outside (3) if the whole container has ended.
    async fn status(&mut self, exec: &str) -> Result<Option<i64>, Failure> {
        if let Err(failure) = self.tell("tell").await {
            let found = self.docker.inspect_container(&self.name, None).await.ok();
            return Err(match found.and_then(|found| found.state?.running) {
                Some(true) => failure,
                _ => Failure::outside(
                    self.complaints.after(&format!("the container \"{}\" was stopped under the shell", self.name)),
                ),
            });
        }
        for _ in 0..100 {
            let found = self.docker.inspect_exec(exec).await.map_err(|e| failed("ask how the shell ended", &e))?;
            if found.running != Some(true) {
                return Ok(found.exit_code);
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(None)
    }

    /// Variables of the image that it was made of.
    pub fn variables(&self) -> &[String] {
        self.config.env.as_deref().unwrap_or_default()
    }

    /// Makes an image of it, without a name, with these variables; its id. What the image is besides, it has of the one
    /// that it started from; nothing of how the container was run.
    ///
    /// # Errors
    /// Outside (3) if Docker refuses.
    pub async fn commit(
        &mut self,
        leftovers: &Leftovers,
        env: Vec<String>,
        labels: HashMap<String, String>,
        cwd: Option<String>,
    ) -> Result<String, Failure> {
        self.tell("hide").await?;
        let image = committed(&self.config, env, labels, cwd);
        let options =
            CommitContainerOptionsBuilder::default().container(&self.name).comment("womm setup").pause(true).build();
        let (docker, list) = (docker::patient(self.docker, COMMIT), leftovers.clone());
        let work = async move {
            let id =
                within("make an image of the container", COMMIT, docker.commit_container(options, image)).await?.id;
            list.add(&docker, Thing::Image(id.clone()));
            Ok::<_, Failure>(id)
        };
        // If it failed, the container may still be paused and can't answer; it shows by itself when it is stopped.
        let id = leftovers.make(work).await??;
        self.tell("show").await?;
        Ok(id)
    }
}

/// The last that process 1 wrote to stderr: no answer, but it may say why there is none.
#[derive(Default)]
struct Complaints(Vec<u8>);

impl Complaints {
    fn take(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        self.0.drain(..self.0.len().saturating_sub(MOST_COMPLAINTS));
    }

    fn after(&self, why: &str) -> String {
        match String::from_utf8_lossy(&self.0).trim() {
            "" => why.to_owned(),
            words => format!("{why}: {words}"),
        }
    }
}

/// Keys and sizes for the program; ends only when the terminal does, or the program takes nothing any more.
async fn type_into(mut input: Input, tty: &Tty) -> Failure {
    let Ok(mut resized) = signal(SignalKind::window_change()) else { return closed() };
    loop {
        let frame = tokio::select! {
            keys = tty.read() => match keys {
                Ok(Some(keys)) => encode(Kind::Stdin, &keys),
                Ok(None) => return closed(),
                Err(failure) => return failure,
            },
            _ = resized.recv() => encode(Kind::Resize, &tty.size().encode()),
        };
        let sent = async {
            input.write_all(&frame).await?;
            input.flush().await
        };
        if sent.await.is_err() {
            // The program's end is about to be heard of, with its status.
            std::future::pending::<()>().await;
        }
    }
}

async fn within<T>(deed: &str, deadline: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    let done = timeout(deadline, work).await.map_err(|_| late(deed, deadline))?;
    done.map_err(|e| failed(deed, &e))
}

fn late(deed: &str, deadline: Duration) -> Failure {
    Failure::timeout(format!("{deed}: nothing after {} s", deadline.as_secs()))
}

async fn config_of(docker: &Docker, image: &str) -> Result<ImageConfig, Failure> {
    let found = docker::inspect(docker, image).await?;
    let found = found.ok_or_else(|| Failure::outside(format!("image \"{image}\" is gone")))?;
    Ok(found.config.unwrap_or_default())
}

/// Where the shell stood, if a container of the image can: in the project's folder, else not among the host's files, nor in
/// what each container has of its own.
pub fn kept_cwd(left: &Left, folder: &str) -> Option<String> {
    let cwd = left.cwd.as_deref()?;
    let below = |folder: &str| std::path::Path::new(cwd).starts_with(folder);
    let not = [HOST, "/dev", "/proc", "/sys", "/run", "/tmp"];
    (below(folder) || !not.into_iter().any(below)).then(|| cwd.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_container_with_a_name_that_docker_takes() {
        let name = name_of("/home/audrey/p q");
        assert_eq!(name, name_of("/home/audrey/p q"));
        assert_ne!(name, name_of("/home/audrey/p"));
        assert!(name.len() == "womm-setup-".len() + 16 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    }

    #[test]
    fn what_was_complained_of_last_is_said() {
        let mut complaints = Complaints::default();
        assert_eq!(complaints.after("it has ended"), "it has ended");
        complaints.take(&[b'x'; 4 << 10]);
        complaints.take(b"no space left\n");
        let said = complaints.after("it has ended");
        assert!(
            said.starts_with("it has ended: xxx") && said.ends_with("no space left") && said.len() < 1100,
            "{said}"
        );
    }

    #[test]
    fn folders_of_the_host_are_no_place_for_jobs() {
        let kept = |cwd: &str| kept_cwd(&Left { cwd: Some(cwd.into()), ..Left::default() }, "/tmp/p");
        assert_eq!(kept("/home/a/p"), Some("/home/a/p".into()));
        assert_eq!((kept("/mnt/home/a"), kept("/tmp"), kept("/mntx")), (None, None, Some("/mntx".into())));
        assert_eq!(kept("/tmp/p/sub"), Some("/tmp/p/sub".into()));
    }
}
