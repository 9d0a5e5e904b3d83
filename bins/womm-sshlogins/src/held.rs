//! Jobs that are run again if they are lost (`--retries`). Nothing may appear twice, so their output is held back, in a file
//! without a name, until they have ended; and what they read of stdin must be there a second time, so it is all taken before
//! they start. The files are in TMPDIR, as GNU parallel's own: the run folder may be memory.
//!
//! What talks with its other end over stdin and stdout (rsync, scp, sftp, a terminal) can't be held and is not run again.

use crate::find::Found;
use crate::jobs::{Client, DENIED, Frames, Job, tell};
use crate::places::Places;
use crate::say;
use std::io::SeekFrom;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::watch;
use womm_stream::frames;
use womm_stream::session::Stream;
use womm_wire::frame::{End, HEADER, How, Kind, MOST_DATA, Open, STDIN_WINDOW, taken, taken_of};

/// Whether it is what GNU parallel has run for files that it brings and takes, the other end of rsync(1) or scp(1); before
/// rsync's there may be a `cd`. The words of a job are not to be seen in GNU parallel's wrapper.
fn talks(command: &[u8]) -> bool {
    const RSYNC: &[u8] = b"rsync --server";
    command.starts_with(b"scp -") || command.windows(RSYNC.len()).any(|words| words == RSYNC)
}

/// Whether a job is one that is run again.
pub fn may_be(places: &Places, open: &Open) -> bool {
    places.retries > 0
        && open.of_run
        && open.terminal.is_none()
        && open.subsystem.is_none()
        && open.command.as_deref().is_some_and(|command| !talks(command))
}

/// Runs a job, to its end or womm-ssh's, as often as it takes.
pub async fn run(job: &Job<'_>, client: Client) {
    let (mut frames, mut writer) = client.frames();
    match attempts(job, &mut frames, &mut writer).await {
        Ok(Some(end)) => tell(&mut writer, &end).await,
        Ok(None) => {}
        Err(e) => {
            let tmpdir = std::env::temp_dir();
            let why = format!(
                "hold back its input or output in {}: {e}: point TMPDIR at a folder with room",
                tmpdir.display()
            );
            tell(&mut writer, &job.lost_here(&why)).await;
        }
    }
}

/// `None`: womm-ssh is gone.
async fn attempts(job: &Job<'_>, frames: &mut Frames, writer: &mut OwnedWriteHalf) -> std::io::Result<Option<End>> {
    let mut input = File::from_std(tempfile::tempfile()?);
    if !spool(frames, &mut input, writer).await? {
        return Ok(None);
    }
    let mut again = 0;
    loop {
        let Found { pod, stream, mut session, slot: _slot, writes } = match job.find(frames.hung_up()).await {
            None => return Ok(None),
            // That it would be run again was said, and is not true.
            Some(Err(end)) if again > 0 => return Ok(Some(job.lost_here(&end.reason))),
            Some(Err(end)) => return Ok(Some(end)),
            Some(Ok(found)) => found,
        };
        let mut output = File::from_std(tempfile::tempfile()?);
        input.seek(SeekFrom::Start(0)).await?;
        let (from_pod, to_pod) = tokio::io::split(stream);
        let (taken_tx, taken_rx) = watch::channel(0);
        let end = tokio::select! {
            end = hold(from_pod, &mut output, taken_tx) => end?,
            sent = send(job, to_pod, &mut input, taken_rx) => return sent.map(|()| None),
            () = frames.drained() => return Ok(None), // the stream is dropped, so reset: the agent ends the job
        };
        let why = match end {
            Some(End { how: How::Denied, .. }) => {
                tokio::time::sleep(DENIED).await;
                continue;
            }
            Some(End { how: How::Lost, reason, .. }) => Some(reason),
            Some(end) => {
                pass_on(output, writer).await?;
                return Ok(Some(end));
            }
            // Its pod went before a wire took any of it.
            None if !writes.were_sent() => {
                tokio::time::sleep(DENIED).await;
                continue;
            }
            None => None,
        };
        let last = again == job.places.retries;
        let end = job.lost(&pod, &mut session, why, !last).await;
        if last {
            return Ok(Some(end));
        }
        again += 1;
        say(&format!("{}; running it again ({again} of {})", end.reason, job.places.retries));
    }
}

/// Takes all of stdin; `false` if womm-ssh is gone before its end.
async fn spool(frames: &mut Frames, input: &mut File, writer: &mut OwnedWriteHalf) -> std::io::Result<bool> {
    while let Some((kind, frame)) = frames.next().await {
        match kind {
            Kind::Stdin => {
                input.write_all(&frame).await?;
                frames::write(writer, Kind::StdinTaken, &taken(frame.len())).await?;
            }
            Kind::StdinEof => {
                input.write_all(&frame).await?;
                input.flush().await?;
                return Ok(true);
            }
            _ => {} // a signal for a job that has not started
        }
    }
    Ok(false)
}

/// Sends the job and its stdin, as fast as the agent takes it, which has taken the bytes `taken_rx` in all; never ends
/// otherwise than by an error of the file's.
async fn send(
    job: &Job<'_>,
    mut to_pod: WriteHalf<Stream>,
    input: &mut File,
    mut taken_rx: watch::Receiver<usize>,
) -> std::io::Result<()> {
    let mut input = BufReader::with_capacity(MOST_DATA, input);
    let (mut frame, mut sent) = (Vec::new(), 0usize);
    let mut alive = to_pod.write_all(&job.frame).await.is_ok();
    while alive && frames::read(&mut input, &mut frame).await?.is_some() {
        sent += frame.len();
        // An error: nobody reads the other direction any more, so this ends, too.
        let _ = taken_rx.wait_for(|taken| sent <= taken.saturating_add(STDIN_WINDOW)).await;
        alive = to_pod.write_all(&frame).await.is_ok();
    }
    // Whether it went well, the other direction says. The half is kept: without it the stream would close.
    std::future::pending::<()>().await;
    drop(to_pod);
    Ok(())
}

/// Takes a job's frames into a file up to its end; `None` if there is none. What the agent says that it took is one number,
/// however often it says so.
async fn hold(
    from_pod: ReadHalf<Stream>,
    output: &mut File,
    taken_tx: watch::Sender<usize>,
) -> std::io::Result<Option<End>> {
    let mut from_pod = BufReader::with_capacity(MOST_DATA, from_pod);
    let mut frame = Vec::new();
    loop {
        let Ok(Some(kind)) = frames::read(&mut from_pod, &mut frame).await else { return Ok(None) };
        match kind {
            Kind::End => {
                output.flush().await?;
                return Ok(End::decode(&frame[HEADER..]).ok());
            }
            Kind::StdinTaken => {
                let Ok(count) = taken_of(&frame[HEADER..]) else { return Ok(None) };
                taken_tx.send_modify(|taken| *taken = taken.saturating_add(count));
            }
            Kind::StdinClosed => {} // womm-ssh has ended its part already
            _ => output.write_all(&frame).await?,
        }
    }
}

async fn pass_on(mut output: File, writer: &mut OwnedWriteHalf) -> std::io::Result<()> {
    output.seek(SeekFrom::Start(0)).await?;
    let mut buffer = vec![0; MOST_DATA];
    loop {
        let count = output.read(&mut buffer).await?;
        if count == 0 || writer.write_all(&buffer[..count]).await.is_err() {
            return Ok(()); // womm-ssh is gone: nobody to tell
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_ends_of_rsync_and_scp_are_not_held_back() {
        for command in ["rsync --server -e.Lsfx . .", "cd 'a b'/.; rsync --server --sender . x", "scp -t /tmp/x"] {
            assert!(talks(command.as_bytes()), "{command}");
        }
        for command in ["rsync -a /a /b", "exec perl -X -e GNU_Parallel_worker,eval", ""] {
            assert!(!talks(command.as_bytes()), "{command}");
        }
    }
}
