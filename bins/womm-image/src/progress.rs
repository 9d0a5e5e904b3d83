//! Progress of a pull, a push or a load, on stderr. On a terminal: a bar for each layer that moves, below them the totals
//! with speed and time left. Anywhere else: a line per layer when it is done. At the end, either way, a line of totals.

use indicatif::{DecimalBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Moving layers beside each other have bars of this kind: `5d6f…  [====>    ]  12.40 MB/31.22 MB Pushing`.
const OF_LAYER: &str = "{prefix:>12}  [{bar:24}]  {decimal_bytes:>9}/{decimal_total_bytes:<9} {msg}";
const OF_ALL: &str =
    "{prefix:>12}  [{bar:24}]  {decimal_bytes:>9}/{decimal_total_bytes:<9} {decimal_bytes_per_sec}, {eta} left, {msg}";
/// How often bars change where nothing moves: the time left does.
const TICK: Duration = Duration::from_millis(200);

/// Progress of one image.
pub struct Progress {
    what: String,
    tally: Tally,
    bars: Option<Bars>,
    begun: Instant,
}

struct Bars {
    all: MultiProgress,
    totals: ProgressBar,
    layers: BTreeMap<String, ProgressBar>,
}

impl Progress {
    /// Says what begins: "pushing X".
    pub fn new(what: &str) -> Self {
        say(what);
        let bars = std::io::stderr().is_terminal().then(|| {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            let totals = all.add(bar(0, OF_ALL, "all"));
            totals.enable_steady_tick(TICK);
            Bars { all, totals, layers: BTreeMap::new() }
        });
        Self { what: what.to_owned(), tally: Tally::default(), bars, begun: Instant::now() }
    }

    /// Takes a line of Docker's: the layer's short id, its state in words, bytes so far and in all.
    pub fn layer(&mut self, id: Option<&str>, status: &str, current: Option<i64>, total: Option<i64>) {
        let Some(id) = id.filter(|id| is_layer(id)) else { return };
        let bytes = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        self.note(id, status, bytes(current), bytes(total));
    }

    fn note(&mut self, id: &str, status: &str, current: Option<u64>, total: Option<u64>) {
        let done = self.tally.note(id, status, current, total);
        if let Some(bars) = &mut self.bars {
            bars.show(id, status, &self.tally);
        }
        if let Some(line) = done {
            self.say(&line);
        }
    }

    /// The same for a part with a name of its own, such as a node that an image is loaded into.
    pub fn part(&mut self, name: &str, status: &str, current: u64, total: u64) {
        self.note(name, status, Some(current), Some(total));
    }

    /// A line among the bars.
    pub fn say(&self, line: &str) {
        match &self.bars {
            Some(bars) => bars.all.suspend(|| say(line)),
            None => say(line),
        }
    }

    /// It is done: says what it came to.
    pub fn finish(mut self, done: &str) {
        self.clear();
        let (what, took) = (self.what.split_once(' ').map_or("", |(_, image)| image), self.begun.elapsed());
        say(&format!("{done} {what}: {}", self.tally.words(took)));
    }

    fn clear(&mut self) {
        if let Some(bars) = self.bars.take() {
            bars.totals.finish_and_clear();
            // Bars that can't be taken away are no reason to fail.
            let _ = bars.all.clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Bars {
    fn show(&mut self, id: &str, status: &str, tally: &Tally) {
        let Some(layer) = tally.0.get(id) else { return };
        if layer.end.is_some() {
            if let Some(bar) = self.layers.remove(id) {
                bar.finish_and_clear();
                self.all.remove(&bar);
            }
        } else if layer.total > 0 {
            let new = || self.all.insert_before(&self.totals, bar(layer.total, OF_LAYER, id));
            let bar = self.layers.entry(id.to_owned()).or_insert_with(new);
            bar.set_length(layer.total);
            bar.set_position(layer.current);
            bar.set_message(status.to_owned());
        }
        let (current, total) = tally.bytes();
        self.totals.set_length(total);
        self.totals.set_position(current);
        self.totals.set_message(format!("{} of {} layers", tally.done(), tally.0.len()));
    }
}

fn bar(length: u64, template: &str, name: &str) -> ProgressBar {
    // A template that is wrong is seen by the test below.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden());
    bar.set_style(style.progress_chars("=> "));
    bar.set_prefix(name.to_owned());
    bar
}

/// Writes a line to stderr.
pub fn say(line: &str) {
    // Progress that can't be shown is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// What is known of an image's layers. No I/O.
#[derive(Debug, Default)]
struct Tally(BTreeMap<String, Layer>);

#[derive(Debug, Default)]
struct Layer {
    /// How it ended.
    end: Option<End>,
    /// Docker waits before it tries again.
    waits: bool,
    current: u64,
    /// Bytes; 0 as long as Docker has not said.
    total: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It travelled.
    Moved,
    /// It was there before.
    Known,
}

impl Tally {
    /// Notes what was said of a layer; the line to say if that was its end.
    fn note(&mut self, id: &str, status: &str, current: Option<u64>, total: Option<u64>) -> Option<String> {
        let layer = self.0.entry(id.to_owned()).or_default();
        // A pull unpacks what it has loaded, and counts once more.
        if ["Pushing", "Downloading", "Loading"].contains(&status) {
            layer.total = total.unwrap_or(0).max(layer.total);
            layer.current = current.unwrap_or(0).min(layer.total);
        }
        // Counted down second by second, said once.
        let waited = std::mem::replace(&mut layer.waits, status.starts_with("Retrying in "));
        if layer.waits && !waited {
            return Some(format!("{id}: {status}"));
        }
        let end = end(status)?;
        if layer.end.is_some() {
            return None;
        }
        layer.end = Some(end);
        layer.current = layer.total;
        match (end, layer.total) {
            (End::Known, _) | (End::Moved, 0) => Some(format!("{id}: {status}")),
            (End::Moved, bytes) => Some(format!("{id}: {status}, {}", DecimalBytes(bytes))),
        }
    }

    fn done(&self) -> usize {
        self.0.values().filter(|layer| layer.end.is_some()).count()
    }

    /// So far, and in all as far as that is known.
    fn bytes(&self) -> (u64, u64) {
        self.0.values().fold((0, 0), |(current, total), layer| (current + layer.current, total + layer.total))
    }

    /// "2 of 7 layers, 31.2 MB in 4.0 s, 7.8 MB/s; 5 were there".
    fn words(&self, took: Duration) -> String {
        let of = |end| self.0.values().filter(|layer| layer.end == Some(end)).count();
        let (moved, known, (bytes, _)) = (of(End::Moved), of(End::Known), self.bytes());
        let seconds = took.as_secs_f64();
        let mut words = format!("{moved} of {} layers, {} in {seconds:.1} s", self.0.len(), DecimalBytes(bytes));
        if bytes > 0 && seconds > 0.0 {
            words += &format!(", {}/s", DecimalBytes((bytes as f64 / seconds) as u64));
        }
        if known > 0 {
            words += &format!("; {known} were there");
        }
        words
    }
}

/// Layers have short ids; a pull also has lines about the tag.
fn is_layer(id: &str) -> bool {
    id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit())
}

fn end(status: &str) -> Option<End> {
    let begins = |words: &[&str]| words.iter().any(|word| status.starts_with(word));
    match () {
        () if begins(&["Layer already exists", "Already exists", "Mounted from"]) => Some(End::Known),
        () if begins(&["Pushed", "Pull complete", "Loaded"]) => Some(End::Moved),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        assert!([OF_LAYER, OF_ALL].iter().all(|template| ProgressStyle::with_template(template).is_ok()));
    }

    #[test]
    fn layers_come_to_totals() {
        let (one, two, three) = ("0123456789ab", "1123456789ab", "2123456789ab");
        let mut tally = Tally::default();
        for id in [one, two, three] {
            assert_eq!(tally.note(id, "Preparing", None, None), None);
        }
        assert_eq!(tally.note(one, "Layer already exists", None, None), Some(format!("{one}: Layer already exists")));
        assert_eq!(tally.note(two, "Pushing", Some(1_000_000), Some(4_000_000)), None);
        assert_eq!((tally.bytes(), tally.done()), ((1_000_000, 4_000_000), 1));
        // Docker counts what its tar archive adds.
        assert_eq!(tally.note(two, "Pushing", Some(4_000_512), None), None);
        assert_eq!(tally.note(two, "Pushed", None, None), Some(format!("{two}: Pushed, 4.00 MB")));
        assert_eq!(tally.note(two, "Pushed", None, None), None, "said once");
        assert!(
            tally.note(three, "Retrying in 5 seconds", None, None).is_some_and(|line| line.contains("Retrying in 5"))
        );
        assert_eq!(tally.note(three, "Retrying in 4 seconds", None, None), None);
        assert_eq!(tally.note(three, "Pushing", None, None), None);
        assert!(tally.note(three, "Retrying in 10 seconds", None, None).is_some(), "again");
        assert_eq!(tally.note(three, "Pushed", None, None), Some(format!("{three}: Pushed")));
        assert_eq!(tally.words(Duration::from_secs(2)), "2 of 3 layers, 4.00 MB in 2.0 s, 2.00 MB/s; 1 were there");
    }

    #[test]
    fn a_pull_is_not_counted_twice() {
        let mut tally = Tally::default();
        tally.note("0123456789ab", "Downloading", Some(10), Some(10));
        tally.note("0123456789ab", "Extracting", Some(1), Some(30));
        assert_eq!(tally.bytes(), (10, 10));
        assert!(!is_layer("latest") && is_layer("0123456789ab"));
    }
}
