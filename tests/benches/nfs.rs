//! womm-server beside NFS-Ganesha, by a client over loopback, in folders of the same disk: throughput, operations a second, and
//! what the server's CPU spends on each. Rounds alternate between the two; medians with the spread; a table on stdout, JSON in
//! the file that WOMM_BENCH_JSON names. `tests/bench nfs` starts the two. Wants a quiet machine. What the disk can do at most is
//! said beside them: the same system calls, by this program, in a folder beside theirs.
//!
//! | variable          | meaning                                                                  |
//! |-------------------|--------------------------------------------------------------------------|
//! | WOMM_BENCH_OURS   | ADDRESS:PORT PID FOLDER of womm-server, which exports FOLDER as /export  |
//! | WOMM_BENCH_THEIRS | the same of NFS-Ganesha                                                  |

#![allow(clippy::print_stdout)] // the table is what it is for

mod nfs_client;
mod report;

use nfs_client::{CURRENT, Client, Compound, Handle, Stateid};
use report::{Report, Sample};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, openat, statx, unlinkat};
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

const ROUNDS: usize = 5;
const MIB: usize = 1 << 20;
/// Of the file that is written and read.
const FILE_MIB: usize = 128;
/// Small files of one round.
const FILES: usize = 2000;
/// So often each of them is looked at, and their folder listed: CPU is counted in hundredths of a second.
const LOOKS: usize = 5;

/// Where a server is, and the folder in which we work.
struct Server {
    client: Client,
    top: Handle,
    folder: Handle,
    process: u32,
    /// What it exports.
    export: PathBuf,
}

/// What a measurement came to.
struct Rate {
    /// A second.
    units: f64,
    /// Microseconds of the server's CPU for each.
    cpu_us: f64,
}

/// CPU so far, in microseconds: utime and stime of proc(5), in hundredths of a second on every Linux.
fn cpu_us(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|n| fields[*n].parse::<u64>().expect("a number")).sum();
    ticks as f64 * 1e4
}

fn measure(process: u32, units: usize, work: impl FnOnce()) -> Rate {
    let (cpu, begun) = (cpu_us(process), Instant::now());
    work();
    let seconds = begun.elapsed().as_secs_f64();
    Rate { units: units as f64 / seconds, cpu_us: (cpu_us(process) - cpu) / units as f64 }
}

fn names() -> Vec<String> {
    (0..FILES).map(|n| format!("file-{n:05}")).collect()
}

/// Creates and closes, looks at, removes, with system calls alone.
fn floor(beside: &Server) -> [Rate; 3] {
    let path = beside.export.with_file_name("floor");
    fs::create_dir_all(&path).expect("made");
    let folder = fs::File::open(&path).expect("opened");
    let (names, process) = (names(), std::process::id());
    let create = measure(process, FILES, || {
        for name in &names {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
            openat(&folder, name, flags, Mode::from_raw_mode(0o644)).expect("made");
        }
    });
    let look = measure(process, FILES * LOOKS, || {
        for name in (0..LOOKS).flat_map(|_| &names) {
            statx(&folder, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS).expect("it is there");
        }
    });
    let remove = measure(process, FILES, || {
        for name in &names {
            unlinkat(&folder, name, AtFlags::empty()).expect("removed");
        }
    });
    [create, look, remove]
}

impl Server {
    fn of(variable: &str) -> Self {
        let value = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run tests/bench nfs"));
        let mut parts = value.splitn(3, ' ');
        let mut part = || parts.next().expect("an address, a process id, a folder");
        let (address, process, export) = (part(), part().parse().expect("a process id"), part().into());
        let mut client = Client::connect(address.parse().expect("an address"), variable);
        let top = client.call(Compound::on_root().lookup("export").handle()).found(1, 24);
        let mut made = client.call(Compound::on(&top).make_folder("bench").handle());
        made.status(22);
        made.made();
        made.status(10);
        let folder = made.opaque().to_vec();
        Self { client, top, folder, process, export }
    }

    fn measure(&mut self, units: usize, work: impl FnOnce(&mut Self)) -> Rate {
        let process = self.process;
        measure(process, units, || work(self))
    }

    fn open_new(&mut self, name: &str) -> (Handle, Stateid) {
        let mut answer = self.client.call(Compound::on(&self.folder).create(name).handle());
        answer.status(22);
        let stateid = answer.opened();
        answer.status(10);
        (answer.opaque().to_vec(), stateid)
    }

    fn remove_all(&mut self, names: &[String], in_flight: usize) {
        let compounds = names.iter().map(|name| Compound::on(&self.folder).remove(name));
        self.client.pipeline(in_flight, compounds, |mut answer| {
            answer.status(22);
            answer.status(28);
        });
    }

    fn write(&mut self, in_flight: usize, file: &Handle, stateid: &Stateid, data: &[u8]) -> Rate {
        self.measure(FILE_MIB, |server| {
            let writes = (0..FILE_MIB).map(|n| Compound::on(file).write(stateid, (n * MIB) as u64, data));
            server.client.pipeline(in_flight, writes, |mut answer| {
                answer.status(22);
                assert_eq!(answer.written() as usize, MIB, "all is written");
            });
            let mut answer = server.client.call(Compound::on(file).commit());
            answer.status(22);
            answer.status(5);
        })
    }

    fn read(&mut self, in_flight: usize, file: &Handle, stateid: &Stateid) -> Rate {
        self.measure(FILE_MIB, |server| {
            let reads = (0..FILE_MIB).map(|n| Compound::on(file).read(stateid, (n * MIB) as u64, MIB as u32));
            server.client.pipeline(in_flight, reads, |mut answer| {
                answer.status(22);
                assert_eq!(answer.read(), MIB, "all is read");
            });
        })
    }

    /// Writes and reads at so many in flight.
    fn sequential(&mut self, in_flight: usize, data: &[u8]) -> [Rate; 2] {
        let (file, stateid) = self.open_new("large");
        let rates = [self.write(in_flight, &file, &stateid, data), self.read(in_flight, &file, &stateid)];
        let mut answer = self.client.call(Compound::on(&file).close(&stateid));
        answer.status(22);
        answer.status(4);
        self.remove_all(&["large".to_owned()], 1);
        rates
    }

    /// Creates (and closes, in the same compound), lists, looks at, removes.
    fn metadata(&mut self, in_flight: usize) -> [Rate; 4] {
        let (names, folder) = (names(), self.folder.clone());
        let mut files = Vec::new();
        let create = self.measure(FILES, |server| {
            let creates =
                names.iter().map(|name| Compound::on(&server.folder).create(name).handle().getattr().close(&CURRENT));
            server.client.pipeline(in_flight, creates, |mut answer| {
                answer.status(22);
                answer.opened();
                answer.status(10);
                files.push(answer.opaque().to_vec());
                answer.attributes();
                answer.status(4);
            });
        });
        let getattr = self.measure(FILES * LOOKS, |server| {
            let looks = (0..LOOKS).flat_map(|_| &files).map(|file| Compound::on(file).getattr());
            server.client.pipeline(in_flight, looks, |mut answer| {
                answer.status(22);
                answer.attributes();
            });
        });
        let readdir = self.measure(FILES * LOOKS, |server| {
            (0..LOOKS).for_each(|_| assert_eq!(server.list(&folder), FILES, "each is listed once"));
        });
        let remove = self.measure(FILES, |server| server.remove_all(&names, in_flight));
        [create, getattr, readdir, remove]
    }

    /// A folder that the server has never seen: it was made behind its back.
    fn cold(&mut self, round: usize) -> Rate {
        let name = format!("cold-{round}");
        let path = self.export.join(&name);
        fs::create_dir(&path).expect("made");
        (0..FILES * LOOKS).for_each(|n| drop(fs::File::create_new(path.join(format!("file-{n:05}"))).expect("made")));
        let folder = self.client.call(Compound::on(&self.top).lookup(&name).handle()).found(1, 22);
        let rate = self.measure(FILES * LOOKS, |server| {
            assert_eq!(server.list(&folder), FILES * LOOKS, "each is listed once");
        });
        fs::remove_dir_all(path).expect("removed");
        rate
    }

    fn list(&mut self, folder: &Handle) -> usize {
        let (mut entries, mut cookie, mut verifier) = (0, 0, [0; 8]);
        loop {
            let mut answer = self.client.call(Compound::on(folder).readdir(cookie, &verifier));
            answer.status(22);
            let (count, last, changed, end) = answer.listing();
            (entries, cookie, verifier) = (entries + count, last, changed);
            if end {
                return entries;
            }
        }
    }
}

/// Of one kind, of both servers.
#[derive(Default)]
struct Both {
    ours: Vec<Rate>,
    theirs: Vec<Rate>,
}

fn sample(rates: &[Rate], of: fn(&Rate) -> f64) -> Sample {
    Sample::of(rates.iter().map(of).collect())
}

fn rate(rates: &[Rate], unit: &str) -> String {
    format!("{} {unit}/s", sample(rates, |rate| rate.units).text(0))
}

fn cpu(rates: &[Rate], unit: &str) -> String {
    format!("{} µs/{unit}", sample(rates, |rate| rate.cpu_us).text(1))
}

impl Both {
    fn report(&self, report: &mut Report, what: &str, unit: &str, aim: &str) {
        let ratio = |of: fn(&Rate) -> f64| {
            let (ours, theirs) = (sample(&self.ours, of), sample(&self.theirs, of));
            format!("{:.2}", ours.median() / theirs.median())
        };
        let of_ganesha = |text: String| format!("NFS-Ganesha {text}");
        let units = ratio(|rate| rate.units);
        report.row(what, rate(&self.ours, unit), of_ganesha(rate(&self.theirs, unit)), units, aim);
        let each = ratio(|rate| rate.cpu_us);
        report.row("  CPU of it", cpu(&self.ours, unit), of_ganesha(cpu(&self.theirs, unit)), each, "said");
    }
}

fn main() {
    let mut report = Report::default();
    let (mut ours, mut theirs) = (Server::of("WOMM_BENCH_OURS"), Server::of("WOMM_BENCH_THEIRS"));
    let data: Vec<u8> = (0..MIB).map(|n| (n * 7 + n / 251) as u8).collect();
    for in_flight in [1, 8] {
        let mut both: [Both; 2] = Default::default();
        for _ in 0..ROUNDS {
            for (kind, rate) in both.iter_mut().zip(ours.sequential(in_flight, &data)) {
                kind.ours.push(rate);
            }
            for (kind, rate) in both.iter_mut().zip(theirs.sequential(in_flight, &data)) {
                kind.theirs.push(rate);
            }
        }
        for (what, kind) in ["write and COMMIT", "read"].iter().zip(&both) {
            kind.report(&mut report, &format!("{what}, {in_flight} in flight"), "MiB", "≥ 1");
        }
    }
    let mut floors: [Vec<Rate>; 3] = Default::default();
    let mut cold = Both::default();
    for round in 0..ROUNDS {
        for (kind, rate) in floors.iter_mut().zip(floor(&ours)) {
            kind.push(rate);
        }
        cold.ours.push(ours.cold(round));
        cold.theirs.push(theirs.cold(round));
    }
    for (what, rates) in ["openat and close of a new file", "statx", "unlinkat"].iter().zip(&floors) {
        report.row(&format!("the disk alone: {what}"), rate(rates, "op"), cpu(rates, "op"), String::new(), "said");
    }
    for in_flight in [1, 16] {
        let mut both: [Both; 4] = Default::default();
        for _ in 0..ROUNDS {
            for (kind, rate) in both.iter_mut().zip(ours.metadata(in_flight)) {
                kind.ours.push(rate);
            }
            for (kind, rate) in both.iter_mut().zip(theirs.metadata(in_flight)) {
                kind.theirs.push(rate);
            }
        }
        let [create, getattr, readdir, remove] = &both;
        create.report(&mut report, &format!("create, {in_flight} in flight"), "op", "≥ 1.5");
        getattr.report(&mut report, &format!("getattr, {in_flight} in flight"), "op", "≥ 1.5");
        if in_flight == 1 {
            let what = "readdir with attributes, a folder of";
            readdir.report(&mut report, &format!("{what} {FILES} that it has listed before"), "entry", "≥ 4");
            cold.report(&mut report, &format!("{what} {} that it has never seen", FILES * LOOKS), "entry", "≥ 4");
        }
        remove.report(&mut report, &format!("remove, {in_flight} in flight"), "op", "≥ 1.5");
    }
    report.print();
}
