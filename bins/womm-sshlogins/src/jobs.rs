//! Jobs: from a connection of `womm-ssh` to a stream of a pod's agent, frame by frame, to an end that is true.
//!
//! A job runs at most once. It goes to another pod only if no byte of it was written; any other that has no end from
//! its agent is lost, and says so.

use crate::places::{Places, State};
use crate::{files, say};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader, ReadHalf};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use womm_stream::frames;
use womm_stream::session::Stream;
use womm_wire::frame::{End, HEADER, How, Kind, MOST_DATA, Open};
use womm_wire::pod::Pod;
use womm_wire::slot;

/// How long a job whose stream broke waits to hear what became of its pod.
const FOR_THE_REASON: Duration = Duration::from_secs(3);

/// How long a place may be without a pod before its jobs go to others: at the start, pods come up one after the other.
const EMPTY: Duration = Duration::from_secs(1);

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
    let (reader, mut writer) = connection.into_split();
    let mut reader = BufReader::with_capacity(MOST_DATA, reader);
    let mut frame = Vec::new();
    let open = match frames::read(&mut reader, &mut frame).await {
        Ok(Some(Kind::Open)) => Open::decode(&frame[HEADER..]),
        _ => return, // given up already, or no womm-ssh
    };
    let end = match open {
        Ok(open) => run(&places, &open, &frame, reader, &mut writer).await,
        Err(e) => Some(End::without_output(How::Refused, e.to_string())),
    };
    if let Some(end) = end {
        let _ = frames::write(&mut writer, Kind::End, &end.encode()).await;
    }
}

type Client = BufReader<OwnedReadHalf>;

/// The end to tell; `None` if it was passed on already, or `womm-ssh` is gone.
async fn run(
    places: &Arc<Places>,
    open: &Open,
    frame: &[u8],
    mut client: Client,
    writer: &mut tokio::net::unix::OwnedWriteHalf,
) -> Option<End> {
    let host = String::from_utf8_lossy(&open.host).into_owned();
    let refused = |why: String| Some(End::without_output(How::Refused, why));
    let place = slot::place(&host).filter(|place| *place < places.task.pods as usize);
    let Some(place) = place else {
        let last = slot::slots(places.task.pods, 1).pop().map(|s| s.host).unwrap_or_default();
        return refused(format!("no host {host} in this run, only w001 to {last}"));
    };
    // What womm-ssh sends meanwhile stays in its socket; only its end is watched for.
    let found = tokio::select! {
        found = find(places, place, open.of_run) => found,
        () = hung_up(&client) => return None,
    };
    let Found { pod, mut stream, _slot } = match found {
        Ok(found) => found,
        Err(why) => return refused(why),
    };
    files::started(&places.task);
    let sent = stream.write_all(frame).await;
    let (mut from_pod, mut to_pod) = tokio::io::split(stream);
    let up = async {
        let mut frame = Vec::new();
        loop {
            match frames::read(&mut client, &mut frame).await {
                Ok(Some(Kind::Open)) | Ok(None) | Err(_) => return, // womm-ssh is gone
                Ok(Some(_)) => {
                    if to_pod.write_all(&frame).await.is_err() {
                        // The other direction hears of it, with what the pod said before.
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
    };
    let end = match sent {
        Err(_) => Down::Lost(None), // some of it may have been written
        Ok(()) => tokio::select! {
            end = down(&mut from_pod, writer) => end,
            () = up => return None, // the stream is dropped, so reset: the agent ends the job
        },
    };
    match end {
        Down::Told | Down::Gone => None,
        Down::Lost(why) => {
            let why = match why {
                Some(why) => why,
                None => why_gone(places, &pod).await,
            };
            let command = open.command.as_deref().unwrap_or(b"(a shell)");
            files::lost(&places.task, &host, &pod.name, &why, command);
            Some(End::without_output(How::Lost, format!("job lost on {host}: pod {}: {why}", pod.name)))
        }
    }
}

/// A stream to a pod, and the slot of it that the job has until it ends.
struct Found {
    pod: Pod,
    stream: Stream,
    _slot: Option<OwnedSemaphorePermit>,
}

/// Waits for a pod at the place, or one elsewhere if it stays empty, for a slot there, and opens a stream. Opening sends
/// nothing, so it may be tried again.
async fn find(places: &Places, place: usize, of_run: bool) -> Result<Found, String> {
    let gone = |_| "the run has ended".to_owned();
    let mut own_rx = places.subscribe(place).ok_or("no such place")?;
    let mut empty_since = Instant::now();
    loop {
        let own = own_rx.borrow_and_update().clone();
        let at = match own {
            State::Failed(why) => return Err(why),
            State::Up(..) => {
                places.is_guest_no_more(place);
                empty_since = Instant::now();
                Some(place)
            }
            State::Waiting if empty_since.elapsed() >= EMPTY => places.host_of(place),
            State::Waiting => None,
        };
        let Some(at) = at else {
            tokio::select! {
                changed = own_rx.changed() => changed.map_err(gone)?,
                () = tokio::time::sleep(EMPTY / 2) => {}
            }
            continue;
        };
        let mut at_rx = places.subscribe(at).ok_or("no such place")?;
        at_rx.mark_unchanged();
        let slot = tokio::select! {
            biased;
            slot = places.slots(at).acquire_owned(), if of_run => Some(slot.map_err(|e| e.to_string())?),
            changed = own_rx.changed(), if of_run => {
                changed.map_err(gone)?;
                continue;
            }
            changed = at_rx.changed(), if of_run => {
                changed.map_err(gone)?;
                continue;
            }
            () = std::future::ready(()), if !of_run => None,
        };
        let state = at_rx.borrow().clone();
        if let State::Up(pod, session) = state {
            match session.open().await {
                Ok(stream) => return Ok(Found { pod, stream, _slot: slot }),
                // Its successor, or the end of the pod, is about to be known.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

/// Ready only when the other end has closed: bytes to read are no hang-up.
async fn hung_up(client: &Client) {
    use tokio::io::Interest;
    // EPOLLRDHUP of the peer's close; unread data does not hide it.
    loop {
        match client.get_ref().ready(Interest::READABLE).await {
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
    /// Nobody knows how the job ended; the agent's words, if it had any.
    Lost(Option<String>),
}

async fn down(from_pod: &mut ReadHalf<Stream>, writer: &mut tokio::net::unix::OwnedWriteHalf) -> Down {
    let mut frame = Vec::new();
    let mut from_pod = BufReader::with_capacity(MOST_DATA, from_pod);
    loop {
        match frames::read(&mut from_pod, &mut frame).await {
            Ok(Some(Kind::End)) => {
                return match End::decode(&frame[HEADER..]) {
                    Ok(End { how: How::Lost, reason, .. }) => Down::Lost(Some(reason)),
                    Ok(_) if writer.write_all(&frame).await.is_ok() => Down::Told,
                    Ok(_) => Down::Gone,
                    Err(e) => Down::Lost(Some(e.to_string())),
                };
            }
            Ok(Some(_)) => {
                if writer.write_all(&frame).await.is_err() {
                    return Down::Gone;
                }
            }
            Ok(None) | Err(_) => return Down::Lost(None),
        }
    }
}

async fn why_gone(places: &Places, pod: &Pod) -> String {
    let asked = Instant::now();
    while asked.elapsed() < FOR_THE_REASON {
        if let Some(why) = places.why_gone(pod) {
            return why;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    "the connection to it broke".into()
}
