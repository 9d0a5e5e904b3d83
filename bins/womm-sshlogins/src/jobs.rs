//! Jobs: from a connection of `womm-ssh` to a stream of a pod's agent, frame by frame, to an end that is true.
//!
//! A job runs at most once. It goes to another pod only if no byte of it was written or the agent denies it; any other that
//! has no end from its agent is lost, and says so. Whoever wants lost jobs to be run again asks for it: [`crate::held`].

use crate::brought::{Brought, Gone};
use crate::find::{Found, find};
use crate::places::Places;
use crate::{files, held, say};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader, ReadHalf};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use womm_stream::frames;
use womm_stream::session::{Ended, Stream};
use womm_wire::frame::{End, HEADER, How, Kind, Open, taken};
use womm_wire::pod::Pod;
use womm_wire::slot;

/// How long a job whose stream broke waits to hear what became of its pod.
const FOR_THE_REASON: Duration = Duration::from_secs(3);

/// After a pod denied a job, until a place is looked for again: the pod is known to be gone only when it has ended.
pub const DENIED: Duration = Duration::from_millis(200);

/// Bytes that are read at once, each way of each job; what is longer passes by the buffer.
const READ_AHEAD: usize = 16 << 10;

/// Takes connections for ever.
pub async fn take(listener: UnixListener, places: Arc<Places>) {
    loop {
        match listener.accept().await {
            Ok((connection, _)) => _ = tokio::spawn(job(places.clone(), connection)),
            Err(e) => {
                say(&format!("take a job: {e}"));
                tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors: jobs that end make room
            }
        }
    }
}

async fn job(places: Arc<Places>, connection: UnixStream) {
    let (reader, writer) = connection.into_split();
    let mut client = Client { reader: BufReader::with_capacity(READ_AHEAD, reader), writer };
    let mut frame = Vec::new();
    let open = match frames::read(&mut client.reader, &mut frame).await {
        Ok(Some(Kind::Open)) => Open::decode(&frame[HEADER..]),
        _ => return, // given up already, or no womm-ssh
    };
    let job = match open {
        Ok(open) => Job::new(&places, open, frame),
        Err(e) => Err(End::without_output(How::Refused, e.to_string())),
    };
    match job {
        Ok(job) if held::may_be(&places, &job.open) => held::run(&job, client).await,
        Ok(job) => run(&job, client).await,
        Err(end) => tell(&mut client.writer, &end).await,
    }
}

/// `womm-ssh`.
pub struct Client {
    pub reader: BufReader<OwnedReadHalf>,
    pub writer: OwnedWriteHalf,
}

impl Client {
    /// Reads its frames from now on, in a task of its own, so that who takes them may stop at any moment. Ends with
    /// womm-ssh, and with what is no frame that may come then.
    pub fn frames(self) -> (Frames, OwnedWriteHalf) {
        let Self { mut reader, writer } = self;
        let (frames_tx, frames_rx) = mpsc::channel(4);
        let task = tokio::spawn(async move {
            let mut frame = Vec::new();
            while let Ok(Some(kind)) = frames::read(&mut reader, &mut frame).await {
                if kind == Kind::Open {
                    return;
                }
                // Its end is noticed although nobody takes what it sent before.
                tokio::select! {
                    sent = frames_tx.send((kind, std::mem::take(&mut frame))) => if sent.is_err() {
                        return;
                    },
                    () = hung_up(reader.get_ref()) => return,
                }
            }
        });
        (Frames { frames_rx, task }, writer)
    }
}

/// What womm-ssh sends.
pub struct Frames {
    frames_rx: mpsc::Receiver<(Kind, Vec<u8>)>,
    task: JoinHandle<()>,
}

impl Frames {
    /// The next one; `None`: womm-ssh is gone. May be stopped at any moment.
    pub async fn next(&mut self) -> Option<(Kind, Vec<u8>)> {
        self.frames_rx.recv().await
    }

    /// Ready when womm-ssh is gone; drops what it still sends, which is nothing for a job that has all of its stdin.
    pub async fn drained(&mut self) {
        while self.next().await.is_some() {}
    }

    /// Ready when womm-ssh is gone; what it sends is kept.
    pub async fn hung_up(&mut self) {
        let _ = (&mut self.task).await;
    }
}

/// A job, and the place it was sent to.
pub struct Job<'a> {
    pub places: &'a Places,
    pub open: Open,
    /// The frame that the job came in.
    pub frame: Vec<u8>,
    host: String,
    place: usize,
}

impl<'a> Job<'a> {
    fn new(places: &'a Places, open: Open, frame: Vec<u8>) -> Result<Self, End> {
        let host = String::from_utf8_lossy(&open.host).into_owned();
        match slot::place(&host).filter(|place| *place < places.task.pods as usize) {
            Some(place) => Ok(Self { places, open, frame, host, place }),
            None => {
                let last = slot::slots(places.task.pods, 1).pop().map(|s| s.host).unwrap_or_default();
                Err(End::without_output(How::Refused, format!("no host {host} in this run, only w001 to {last}")))
            }
        }
    }

    /// A pod, a slot and a stream for it; `None` if `gone` is ready before: womm-ssh.
    pub async fn find(&self, gone: impl Future<Output = ()>) -> Option<Result<Found, End>> {
        tokio::pin!(gone);
        let found = tokio::select! {
            found = find(self.places, self.place, self.open.of_run) => found,
            () = &mut gone => return None,
        };
        let found = match found {
            Ok(found) => found,
            Err(why) => return Some(Err(End::without_output(How::Refused, why))),
        };
        files::started(&self.places.task, &self.places.started);
        let checked = self.brought().map_or(Ok(()), |b| b.check(self.place, &self.open.attempt, &found.pod));
        let Err(Gone { why, for_all, note }) = checked else { return Some(Ok(found)) };
        let pod = found.pod.name.clone();
        drop(found); // its slot
        if for_all {
            tokio::select! {
                () = self.places.others_are_idle(self.place, &self.host, &why) => {}
                () = gone => return None,
            }
        }
        if note {
            self.note(Some(&pod), &why, false);
        }
        let said = format!("job lost on {}: {why}: GNU parallel's --retries brings them again", self.host);
        Some(Err(End::without_output(How::Lost, said)))
    }

    /// Where GNU parallel's files are, if it brings any for this.
    fn brought(&self) -> Option<&Brought> {
        self.places.brought.as_ref().filter(|_| self.open.of_run)
    }

    /// It has begun in a pod, or may have: files that it brought are there.
    fn begun(&self, pod: &Pod) {
        if let Some(brought) = self.brought() {
            brought.begun(self.place, &self.open.attempt, pod);
        }
    }

    /// Its end, now that it is lost. For programs it is written down here; womm-ssh says it to people.
    pub async fn lost(&self, pod: &Pod, session: &mut Ended, why: Option<String>, again: bool) -> End {
        let why = match why {
            Some(why) => why,
            None => why_gone(self.places, pod, session).await,
        };
        self.note(Some(&pod.name), &why, again);
        if let Some(brought) = self.brought() {
            brought.noted(self.place, &self.open.attempt, pod);
        }
        End::without_output(How::Lost, format!("job lost on {}: pod {}: {why}", self.host, pod.name))
    }

    /// Its end, now that it is lost by no pod's fault, but here.
    pub fn lost_here(&self, why: &str) -> End {
        self.note(None, why, false);
        End::without_output(How::Lost, format!("job lost: {why}"))
    }

    fn note(&self, pod: Option<&str>, why: &str, again: bool) {
        let command = self.open.command.as_deref().unwrap_or(b"(a shell)");
        files::lost(&self.places.task, &self.host, pod, why, command, again);
    }
}

/// Runs a job, to its end or womm-ssh's.
async fn run(job: &Job<'_>, client: Client) {
    // What womm-ssh sends before there is a pod stays in its socket.
    let Some(first) = job.find(hung_up(client.reader.get_ref())).await else { return };
    let (mut frames, mut writer) = client.frames();
    let mut next = Some(first);
    // What womm-ssh has sent and nobody has answered: an agent that denies the job may have read it.
    let mut sent = Vec::new();
    let end = loop {
        let found = match next.take() {
            Some(found) => found,
            None => match job.find(frames.hung_up()).await {
                Some(found) => found,
                None => return,
            },
        };
        let Found { pod, mut stream, mut session, slot: _slot, writes } = match found {
            Ok(found) => found,
            Err(end) => break end,
        };
        let begin = async {
            stream.write_all(&job.frame).await?;
            stream.write_all(&sent).await
        };
        // A large one waits for room on a wire that is cut: it must not start once womm-ssh is gone.
        let begun = tokio::select! {
            begun = begin => begun,
            () = frames.hung_up() => return,
        };
        let (mut from_pod, mut to_pod) = tokio::io::split(stream);
        let answered = AtomicBool::new(false);
        let up = async {
            while let Some((_, frame)) = frames.next().await {
                if !answered.load(Ordering::Relaxed) {
                    sent.extend_from_slice(&frame); // bounded by womm-ssh's window
                } else if !sent.is_empty() {
                    sent = Vec::new();
                }
                if to_pod.write_all(&frame).await.is_err() {
                    // The other direction hears of it, with what the pod said before.
                    std::future::pending::<()>().await;
                }
            }
        };
        let down = match begun {
            Err(_) => Down::Lost(None), // some of it may have been written
            Ok(()) => tokio::select! {
                down = down(&mut from_pod, &mut writer, &answered) => down,
                () = up => Down::Gone, // the stream is dropped, so reset: the agent ends the job
            },
        };
        match down {
            Down::Denied => tokio::time::sleep(DENIED).await,
            // Its pod went before a wire took any of it.
            Down::Lost(None) if !writes.were_sent() => tokio::time::sleep(DENIED).await,
            Down::Told | Down::Gone => return job.begun(&pod),
            Down::Lost(why) => {
                job.begun(&pod);
                break job.lost(&pod, &mut session, why, false).await;
            }
        }
    };
    tell(&mut writer, &end).await;
}

/// The last frame of a job.
pub async fn tell(writer: &mut OwnedWriteHalf, end: &End) {
    let _ = frames::write(writer, Kind::End, &end.encode()).await;
}

/// Ready only when the other end has closed: bytes to read are no hang-up.
async fn hung_up(client: &OwnedReadHalf) {
    use tokio::io::Interest;
    // EPOLLRDHUP of the peer's close; unread data does not hide it.
    loop {
        match client.ready(Interest::READABLE).await {
            Ok(ready) if ready.is_read_closed() => return,
            Err(_) => return,
            // Readable and not closed: stdin is waiting there. Look again in a while.
            Ok(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

enum Down {
    /// The job's end was passed on.
    Told,
    /// womm-ssh is gone.
    Gone,
    /// The agent did not start it.
    Denied,
    /// Nobody knows how the job ended; the agent's words, if it had any.
    Lost(Option<String>),
}

async fn down(from_pod: &mut ReadHalf<Stream>, writer: &mut OwnedWriteHalf, answered: &AtomicBool) -> Down {
    let mut frame = Vec::new();
    let mut from_pod = BufReader::with_capacity(READ_AHEAD, from_pod);
    loop {
        match frames::read(&mut from_pod, &mut frame).await {
            Ok(Some(Kind::End)) => {
                return match End::decode(&frame[HEADER..]) {
                    Ok(End { how: How::Lost, reason, .. }) => Down::Lost(Some(reason)),
                    Ok(End { how: How::Denied, .. }) if !answered.load(Ordering::Relaxed) => Down::Denied,
                    Ok(_) if writer.write_all(&frame).await.is_ok() => Down::Told,
                    Ok(_) => Down::Gone,
                    Err(e) => Down::Lost(Some(e.to_string())),
                };
            }
            // No word of the job's, but one that it was taken.
            Ok(Some(Kind::StdinTaken)) if frame[HEADER..] == taken(0) => answered.store(true, Ordering::Relaxed),
            Ok(Some(_)) => {
                answered.store(true, Ordering::Relaxed);
                if writer.write_all(&frame).await.is_err() {
                    return Down::Gone;
                }
            }
            Ok(None) | Err(_) => return Down::Lost(None),
        }
    }
}

/// Why a job's stream broke: what became of its pod, else what became of the stream.
async fn why_gone(places: &Places, pod: &Pod, session: &mut Ended) -> String {
    let asked = Instant::now();
    while asked.elapsed() < FOR_THE_REASON {
        if let Some(why) = places.why_gone(pod) {
            return why;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    match tokio::time::timeout(Duration::ZERO, session.wait()).await {
        Ok(broken) => broken.to_string(),
        Err(_) => "its agent gave the job up".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::tests::{Fake, Two, missing, places, places_of, pod, second_pod, up};
    use crate::places::Files;
    use womm_wire::frame::MOST_DATA;

    /// A job that comes to a pod whose wire carries nothing any more, and is given up.
    async fn given_up(command: usize, stdin: usize) {
        let fake = Fake::new();
        let (_run, places) = places(Box::new(fake.clone()));
        places.add(pod());
        let _session = up(&places).await;
        fake.says(Some(missing));
        fake.silences.send_modify(|silences| *silences += 1);
        let (mut ssh, ours) = UnixStream::pair().expect("sockets");
        let running = tokio::spawn(job(places.clone(), ours));
        let open = Open { host: b"w001".to_vec(), command: Some(vec![b'x'; command]), of_run: true, ..Open::default() };
        let sending = async {
            frames::write(&mut ssh, Kind::Open, &open.encode()).await.expect("taken");
            for _ in 0..stdin {
                frames::write(&mut ssh, Kind::Stdin, &[0; MOST_DATA]).await.expect("taken");
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(500), sending).await;
        while places.slots(0).available_permits() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!running.is_finished());
        drop(ssh);
        tokio::time::timeout(Duration::from_secs(20), running).await.expect("noticed").expect("no panic");
        assert_eq!(places.slots(0).available_permits(), 1);
    }

    #[tokio::test]
    async fn a_job_that_is_given_up_while_its_wire_is_cut_is_not_sent_later() {
        given_up(1 << 20, 0).await; // more than yamux lets pass before the agent says something
        given_up(1 << 20, 20).await; // with stdin behind it that nobody takes
    }

    /// What comes back for a job whose pod goes while its wire is stuck; `full`: before the wire could take the job.
    async fn pod_goes(full: bool) -> (Kind, Vec<u8>) {
        let (fake, other) = (Fake::new(), Fake::new());
        let (_run, places) = places(Box::new(Two(fake.clone(), other.clone())));
        places.add(pod());
        let session = up(&places).await;
        fake.says(Some(missing));
        fake.silences.send_modify(|silences| *silences += 1);
        let mut filler = session.open().await.expect("alive");
        if full {
            filler.write_all(&[0; 250_000]).await.expect("room in the link");
        }
        drop(session);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (mut ssh, ours) = UnixStream::pair().expect("sockets");
        tokio::spawn(job(places.clone(), ours));
        let open = Open { host: b"w001".to_vec(), command: Some(b"true".to_vec()), of_run: true, ..Open::default() };
        frames::write(&mut ssh, Kind::Open, &open.encode()).await.expect("taken");
        frames::write(&mut ssh, Kind::Stdin, b"in").await.expect("taken");
        tokio::time::sleep(Duration::from_millis(300)).await;
        places.add(second_pod());
        places.remove(&pod(), "it was deleted".into());
        let mut frame = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), frames::read(&mut ssh, &mut frame)).await;
        let kind = read.expect("in time").expect("alive").expect("a frame");
        (kind, frame[HEADER..].to_vec())
    }

    #[tokio::test]
    async fn a_job_of_which_no_byte_was_sent_goes_to_another_pod_and_any_other_is_lost() {
        let (kind, payload) = pod_goes(true).await;
        // The other pod's agent says what it was told.
        assert_eq!((kind, Open::decode(&payload).map(|open| open.command)), (Kind::Open, Ok(Some(b"true".to_vec()))));
        let (kind, payload) = pod_goes(false).await;
        assert_eq!((kind, End::decode(&payload).map(|end| end.how)), (Kind::End, Ok(How::Lost)));
    }

    #[tokio::test]
    async fn a_job_that_an_agent_denies_goes_to_another_pod_with_its_stdin() {
        denied(Files::Elsewhere).await;
        denied(Files::BroughtOnce).await; // it has brought none yet
    }

    async fn denied(files: Files) {
        let (fake, other) = (Fake::new(), Fake::new());
        fake.denies.store(true, Ordering::Relaxed);
        let (_run, places) = places_of(Box::new(Two(fake, other)), 1, files);
        places.add(pod());
        drop(up(&places).await);
        let (mut ssh, ours) = UnixStream::pair().expect("sockets");
        tokio::spawn(job(places.clone(), ours));
        let open = Open {
            host: b"w001".to_vec(),
            command: Some(b"true".to_vec()),
            of_run: true,
            attempt: b"1.70".to_vec(),
            ..Open::default()
        };
        frames::write(&mut ssh, Kind::Open, &open.encode()).await.expect("taken");
        frames::write(&mut ssh, Kind::Stdin, b"in").await.expect("taken");
        tokio::time::sleep(DENIED * 2).await;
        places.add(second_pod());
        places.remove(&pod(), "it was deleted".into());
        let mut frame = Vec::new();
        for expected in [(Kind::Open, open.encode()), (Kind::Stdin, b"in".to_vec())] {
            let read = tokio::time::timeout(Duration::from_secs(20), frames::read(&mut ssh, &mut frame)).await;
            let kind = read.expect("in time").expect("alive").expect("a frame");
            assert_eq!((kind, frame[HEADER..].to_vec()), expected, "what the other pod's agent was told");
        }
    }
}
