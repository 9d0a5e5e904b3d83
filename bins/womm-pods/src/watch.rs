//! `womm-pods watch`: keeps a task's pods up and says what becomes of them.

use crate::{folder, runtime};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};
use womm_cli::life::{self, Life};
use womm_cli::{Code, Failure, signalled, write_line};
use womm_engine::Engine;
use womm_wire::pod::Line;
use womm_wire::record::Record;

use crate::cli;

/// Lines that may wait for a slow reader.
const LINES: usize = 64;
/// How often it is looked whether the reader is still there, when there is nothing to write.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long pods that are being made are waited for at the end.
const SETTLE: Duration = Duration::from_secs(10);

pub fn run(args: &cli::Watch) -> Result<ExitCode, Failure> {
    let life = args.life.map(Life::join).transpose()?;
    let record = womm_cli::read_record()?;
    let _lock = folder::hold(Path::new(&record.task()?.run))?;
    let runtime = runtime()?;
    let result = runtime.block_on(watch(record, life.as_ref()));
    // A write that is stuck because nobody reads ends with the process.
    runtime.shutdown_background();
    result
}

async fn watch(record: Record, life: Option<&Life>) -> Result<ExitCode, Failure> {
    let engine = Engine::for_task(record.task()?).await?;
    let (line_tx, line_rx) = mpsc::channel(LINES);
    // Nobody else has a sender yet, and there is room.
    let _ = line_tx.send(Line::Record { record: Box::new(record.clone()) }).await;
    let watching = engine.watch(&record, line_tx);
    tokio::pin!(watching);
    let both = async {
        let (watched, written) = tokio::join!(&mut watching, write(line_rx));
        let written = written?;
        watched?;
        Ok(written)
    };
    let ended = tokio::select! {
        over = life::over(life) => over.map(|()| ExitCode::SUCCESS),
        _ = signalled() => Ok(ExitCode::SUCCESS),
        () = reader_gone() => Ok(ExitCode::SUCCESS),
        code = both => return code,
    };
    // Nobody takes lines any more, which ends it, once what it has begun to make is there: a run waits for us after it has
    // deleted its pods.
    let _ = timeout(SETTLE, watching).await;
    ended
}

/// Writes lines until there are no more, or nobody reads them. What failed is said in the last line, so that it is not
/// said on stderr again.
async fn write(mut lines: mpsc::Receiver<Line>) -> Result<ExitCode, Failure> {
    let mut code = ExitCode::SUCCESS;
    while let Some(line) = lines.recv().await {
        if matches!(line, Line::Failed { .. }) {
            code = ExitCode::from(Code::Outside as u8);
        }
        let written = tokio::task::spawn_blocking(move || write_line(&line)).await;
        // It does not panic, and nobody aborts it.
        let reader_is_there = written.map_err(|e| Failure::outside(format!("write a line: {e}")))??;
        if !reader_is_there {
            break;
        }
    }
    Ok(code)
}

async fn reader_gone() {
    let mut look = interval(LOOK_EVERY);
    loop {
        look.tick().await;
        let stdout = std::io::stdout();
        // No event is asked for: errors are told anyway, and a pipe without a reader is one.
        let mut stdout = [PollFd::new(&stdout, PollFlags::empty())];
        let polled = poll(&mut stdout, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        if polled.is_ok() && stdout[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL) {
            return;
        }
    }
}
