//! Progress of a pull or push, on stderr: a line per layer when it is done and, on a terminal, totals that change.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the totals change.
const TICK: Duration = Duration::from_millis(100);

/// Progress of one image.
pub struct Progress {
    what: String,
    layers: HashMap<String, Layer>,
    terminal: bool,
    shown: Option<Instant>,
}

#[derive(Default)]
struct Layer {
    done: bool,
    current: u64,
    total: u64,
}

impl Progress {
    /// Says what begins.
    pub fn new(what: &str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let progress = Self { what: what.to_owned(), layers: HashMap::new(), terminal, shown: None };
        progress.say(what, "\n");
        progress
    }

    /// Takes a line of Docker's: the layer's short id, its state in words, bytes so far and in all.
    pub fn layer(&mut self, id: Option<&str>, status: &str, current: Option<i64>, total: Option<i64>) {
        let Some(id) = id.filter(|id| is_layer(id)) else { return };
        let layer = self.layers.entry(id.to_owned()).or_default();
        if let (Ok(current), Ok(total)) = (u64::try_from(current.unwrap_or(0)), u64::try_from(total.unwrap_or(0))) {
            layer.current = current.max(layer.current);
            layer.total = total.max(layer.total);
        }
        if is_end(status) && !layer.done {
            layer.done = true;
            layer.current = layer.total;
            self.say(&format!("{id}: {status}"), "\n");
        }
        self.totals();
    }

    fn totals(&mut self) {
        if !self.terminal || self.shown.is_some_and(|shown| shown.elapsed() < TICK) {
            return;
        }
        self.shown = Some(Instant::now());
        let done = self.layers.values().filter(|l| l.done).count();
        let (current, total) = self.layers.values().fold((0, 0), |(c, t), l| (c + l.current.min(l.total), t + l.total));
        let (current, total) = (current as f64 / 1e6, total as f64 / 1e6);
        self.say(&format!("{}: {done}/{} layers, {current:.1}/{total:.1} MB", self.what, self.layers.len()), "\r");
    }

    fn say(&self, line: &str, end: &str) {
        // Progress that can't be shown is no reason to stop.
        let clear = if self.terminal { "\x1b[K" } else { "" };
        let _ = write!(std::io::stderr(), "{line}{clear}{end}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// Layers have short ids; a pull also has lines about the tag.
fn is_layer(id: &str) -> bool {
    id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_end(status: &str) -> bool {
    ["Pushed", "Layer already exists", "Mounted from", "Pull complete", "Already exists"]
        .iter()
        .any(|end| status.starts_with(end))
}
