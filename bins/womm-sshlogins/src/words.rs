//! Lines for the user. Stderr may be a pager that stands still (`womm parallel … 2>&1 | less`): a thread of its own waits for
//! it, as the runtime's, of which there are two, have all pods' connections to keep alive.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// How many lines wait for a reader who is slow. Jobs that are lost are in `lost.jsonl`, too.
const WAITING: usize = 1024;

/// How long the last lines get to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

enum Word {
    Line(String),
    /// All before it was written.
    Flush(SyncSender<()>),
}

/// How many lines found no room since the last that did.
static MISSED: AtomicUsize = AtomicUsize::new(0);

static WRITER: OnceLock<SyncSender<Word>> = OnceLock::new();

fn writer() -> &'static SyncSender<Word> {
    WRITER.get_or_init(|| {
        let (words_tx, words_rx) = sync_channel(WAITING);
        std::thread::spawn(move || write(words_rx));
        words_tx
    })
}

/// A thread that ends with the process.
fn write(words_rx: Receiver<Word>) {
    for word in words_rx {
        match word {
            Word::Line(mut line) => {
                let missed = MISSED.swap(0, Ordering::Relaxed);
                if missed > 0 {
                    line = format!("womm: {missed} lines that nobody read in time are left out\n{line}");
                }
                let _ = std::io::stderr().write_all(line.as_bytes()); // nobody reads: nobody to tell
            }
            Word::Flush(done_tx) => _ = done_tx.send(()), // it waited long enough
        }
    }
}

/// One line, whole. Does not wait.
pub fn say(line: &str) {
    if writer().try_send(Word::Line(format!("womm: {line}\n"))).is_err() {
        MISSED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until all was written, or a reader who stands still was waited for.
pub fn flush() {
    let Some(writer) = WRITER.get() else { return };
    let (done_tx, done_rx) = sync_channel(1);
    if writer.try_send(Word::Flush(done_tx)).is_ok() {
        let _ = done_rx.recv_timeout(LAST_LINES); // late: it has no more claim on us
    }
}
