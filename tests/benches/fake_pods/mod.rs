//! Pods without containers: a fake Docker engine on a unix socket, as much of it as `womm-sshlogins` asks for, in the bench's own
//! process. Behind each exec is an agent with the real streams; its jobs sleep, and start no process. So a thousand slots cost what
//! the workstation's side of them costs.

use harness::{Cmd, LONG, Project, Running, until};
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use womm_stream::frames;
use womm_stream::greeting::{Agent, Greeted};
use womm_stream::session::Stream;
use womm_wire::frame::{End, How, Kind, taken};
use womm_wire::pod::{Line, Pod};
use womm_wire::record::{EngineKind, KIND, Project as Folder, Record, Task};

/// A frame of Docker's multiplexed stream, at most. Source: Docker's API reference, "Attach to a container", "Stream format".
const MOST_FRAME: usize = 32 << 10;
const STDOUT: u8 = 1;

/// A run on fake pods: until it is dropped its hosts take jobs.
pub struct Fake {
    /// What womm-ssh knows as WOMM_RUN.
    pub folder: PathBuf,
    logins: Option<Running>,
    _engine: Runtime,
}

impl Fake {
    /// `womm-sshlogins` with so many pods, all of them up, each with so many slots; a job takes as long as `job`.
    pub fn start(project: &Project, pods: u32, slots: u32, job: Duration) -> Self {
        let folder = project.root().join("fake");
        let _ = std::fs::remove_dir_all(&folder); // of the round before
        std::fs::DirBuilder::new().mode(0o700).create(&folder).expect("it is ours");
        let socket = folder.join("docker.sock");
        let engine =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let listener = engine.block_on(async { UnixListener::bind(&socket) }).expect("the path is short");
        engine.spawn(serve(listener, job));
        let fake = Self { folder, logins: None, _engine: engine };
        let cmd = project.cmd("womm-sshlogins").arg("--file").arg(fake.sshloginfile()).stdin_held();
        let mut logins = cmd.env("DOCKER_HOST", format!("unix://{}", socket.display())).start();
        logins.send(fake.lines(project, pods, slots));
        until(LONG, "the sshloginfile", || fake.sshloginfile().exists().then_some(()));
        Self { logins: Some(logins), ..fake }
    }

    /// What GNU parallel knows the hosts by.
    pub fn sshloginfile(&self) -> PathBuf {
        self.folder.join("slf")
    }

    /// GNU parallel with these hosts over womm-ssh.
    pub fn parallel(&self, project: &Project) -> Cmd {
        let cmd = project.cmd("parallel").env("WOMM_RUN", &self.folder).words("--ssh womm-ssh --sshloginfile");
        cmd.arg(self.sshloginfile())
    }

    /// What `womm-pods watch` would say.
    fn lines(&self, project: &Project, pods: u32, slots: u32) -> String {
        let text = |path: &Path| path.to_str().expect("made of UTF-8 by the harness").to_owned();
        let folder = text(&project.folder());
        let task = Task {
            id: "aaaaaaaa".into(),
            name: "womm-task-aaaaaaaa".into(),
            engine: EngineKind::Docker,
            pods,
            procs_per_pod: slots,
            pwd: folder.clone(),
            run: text(&self.folder),
            ..Task::default()
        };
        let project = Folder { cwd: folder, engine: EngineKind::Docker, ..Folder::default() };
        let record = Record { kind: KIND.into(), project, task: Some(task), ..Record::default() };
        let ready = (1..=pods).map(|number| {
            let name = format!("fake-{number}");
            Line::Ready(Pod { uid: name.clone(), name, node: None })
        });
        let all = [Line::Record { record: Box::new(record) }].into_iter().chain(ready);
        all.map(|line| serde_json::to_string(&line).expect("JSON") + "\n").collect()
    }

    /// Ends it.
    pub fn end(mut self) {
        self.logins.take().expect("it runs").finish().succeeds();
    }
}

type Agents = Arc<Mutex<HashMap<String, Arc<Agent>>>>;

async fn serve(listener: UnixListener, job: Duration) {
    let agents = Agents::default();
    while let Ok((connection, _)) = listener.accept().await {
        let agents = agents.clone();
        tokio::spawn(async move {
            if let Err(e) = answer(connection, &agents, job).await {
                eprintln!("the fake Docker engine: {e}");
            }
        });
    }
}

/// A connection's requests, until it is one to start an exec, whose wire it then is.
async fn answer(connection: UnixStream, agents: &Agents, job: Duration) -> io::Result<()> {
    let (reader, mut writer) = connection.into_split();
    let mut reader = BufReader::new(reader);
    while let Some(request) = request(&mut reader).await? {
        let words: Vec<&str> = request.trim_start_matches("POST ").split('/').collect();
        let json = match words.as_slice() {
            [.., "version"] => (200, r#"{"ApiVersion":"1.41","MinAPIVersion":"1.24"}"#.to_owned()),
            // An exec has the name of its container.
            [.., "containers", id, "exec"] => (201, format!(r#"{{"Id":"{id}"}}"#)),
            [.., "exec", id, "start"] => {
                let new = || Arc::new(Agent::new(format!("agent-of-{id}"))); // no other agent has that instance
                let agent = agents.lock().expect("no panic").entry((*id).to_owned()).or_insert_with(new).clone();
                let (near, far) = tokio::io::duplex(MOST_FRAME);
                let head = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
                    Content-Type: application/vnd.docker.multiplexed-stream\r\n\r\n";
                writer.write_all(head.as_bytes()).await?;
                tokio::spawn(greet(agent, far, job));
                return relay(reader, writer, near).await;
            }
            _ => (404, format!(r#"{{"message":"not asked for so far: {request}"}}"#)),
        };
        let (status, body) = json;
        let length = body.len();
        let head = format!("HTTP/1.1 {status} \r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        writer.write_all((head + &body).as_bytes()).await?;
    }
    Ok(())
}

/// The next request's method and path; its body is passed over. `None`: there comes none.
async fn request(reader: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<String>> {
    let (mut first, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        match (&first, line.split_once(": ")) {
            (None, _) => first = line.rsplit_once(' ').map(|(words, _)| words.to_owned()),
            (Some(_), Some((name, value))) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().map_err(io::Error::other)?;
            }
            (Some(_), _) if line.is_empty() => break,
            _ => {}
        }
    }
    reader.read_exact(&mut vec![0; length]).await?;
    Ok(first)
}

/// Docker's part of an exec: stdin as it comes, stdout in frames.
async fn relay<R, W>(mut reader: R, mut writer: W, exec: DuplexStream) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (mut stdout, mut stdin) = tokio::io::split(exec);
    let out = async {
        let mut frame = vec![0; 8 + MOST_FRAME];
        loop {
            let length = stdout.read(&mut frame[8..]).await?;
            if length == 0 {
                return writer.shutdown().await;
            }
            frame[..4].copy_from_slice(&[STDOUT, 0, 0, 0]);
            frame[4..8].copy_from_slice(&u32::try_from(length).expect("bounded").to_be_bytes());
            writer.write_all(&frame[..8 + length]).await?;
        }
    };
    // Whichever end closes, the wire is over.
    tokio::select! {
        ended = out => ended,
        ended = tokio::io::copy(&mut reader, &mut stdin) => ended.map(|_| ()),
    }
}

/// As bins/womm-agent/src/serve.rs does.
async fn greet(agent: Arc<Agent>, wire: DuplexStream, job: Duration) {
    let attached = match agent.greet(wire).await {
        Ok(Greeted::Owner(session, mut incoming, attached)) => {
            tokio::spawn(async move {
                while let Some(stream) = incoming.recv().await {
                    tokio::spawn(sleep(stream, job));
                }
                drop(session);
            });
            attached
        }
        Ok(Greeted::Again(attached)) => attached,
        Ok(Greeted::Refused) | Err(_) => return,
    };
    attached.run().await;
}

/// A job, whatever its command is.
async fn sleep(stream: Stream, job: Duration) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut frame = Vec::new();
    if !matches!(frames::read(&mut reader, &mut frame).await, Ok(Some(Kind::Open))) {
        return;
    }
    // It is taken, as the agent says at once.
    let _ = frames::write(&mut writer, Kind::StdinTaken, &taken(0)).await;
    let hears = async { while let Ok(Some(_)) = frames::read(&mut reader, &mut frame).await {} };
    tokio::select! {
        () = tokio::time::sleep(job) => {}
        () = hears => return, // womm-ssh is gone
    }
    let end = End::without_output(How::Exited(0), "");
    let _ = frames::write(&mut writer, Kind::End, &end.encode()).await; // it may be gone by now
    let _ = writer.shutdown().await;
}
