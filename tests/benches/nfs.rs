//! womm-server beside NFS-Ganesha, by a client over loopback, in folders of the same disk: throughput, operations a second, and
//! what the server's CPU spends on each. Rounds alternate between the two; medians with the spread; a table on stdout, JSON in
//! the file that WOMM_BENCH_JSON names. `tests/bench nfs` starts the two. Wants a quiet machine.
//!
//! | variable          | meaning                                                   |
//! |-------------------|-----------------------------------------------------------|
//! | WOMM_BENCH_OURS   | ADDRESS:PORT PID of womm-server, which exports /export    |
//! | WOMM_BENCH_THEIRS | the same of NFS-Ganesha                                   |

#![allow(clippy::print_stdout)] // the table is what it is for

mod nfs_client;
mod report;

use nfs_client::{CURRENT, Client, Compound, Handle, Stateid};
use report::{Report, Sample};
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
    folder: Handle,
    process: u32,
}

/// What a measurement came to.
struct Rate {
    /// A second.
    units: f64,
    /// Microseconds of the server's CPU for each.
    cpu_us: f64,
}

impl Server {
    fn of(variable: &str) -> Self {
        let value = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run tests/bench nfs"));
        let (address, process) = value.split_once(' ').expect("an address, a process id");
        let process = process.parse().expect("a process id");
        let mut client = Client::connect(address.parse().expect("an address"), variable);
        let top = client.call(Compound::on_root().lookup("export").handle()).found(1, 24);
        let mut made = client.call(Compound::on(&top).make_folder("bench").handle());
        made.status(22);
        made.made();
        made.status(10);
        let folder = made.opaque().to_vec();
        Self { client, folder, process }
    }

    /// CPU so far, in microseconds: utime and stime of proc(5), in hundredths of a second on every Linux.
    fn cpu_us(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process)).expect("it runs");
        let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
        let ticks: u64 = [11, 12].iter().map(|n| fields[*n].parse::<u64>().expect("a number")).sum();
        ticks as f64 * 1e4
    }

    fn measure(&mut self, units: usize, work: impl FnOnce(&mut Self)) -> Rate {
        let (cpu, begun) = (self.cpu_us(), Instant::now());
        work(self);
        let seconds = begun.elapsed().as_secs_f64();
        Rate { units: units as f64 / seconds, cpu_us: (self.cpu_us() - cpu) / units as f64 }
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
        let names: Vec<String> = (0..FILES).map(|n| format!("file-{n:05}")).collect();
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
            (0..LOOKS).for_each(|_| assert_eq!(server.list(), FILES, "each is listed once"));
        });
        let remove = self.measure(FILES, |server| server.remove_all(&names, in_flight));
        [create, getattr, readdir, remove]
    }

    fn list(&mut self) -> usize {
        let (mut entries, mut cookie, mut verifier) = (0, 0, [0; 8]);
        loop {
            let mut answer = self.client.call(Compound::on(&self.folder).readdir(cookie, &verifier));
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

impl Both {
    fn report(&self, report: &mut Report, what: &str, unit: &str, aim: &str) {
        let sample = |rates: &[Rate], of: fn(&Rate) -> f64| Sample::of(rates.iter().map(of).collect());
        let (ours, theirs) = (sample(&self.ours, |rate| rate.units), sample(&self.theirs, |rate| rate.units));
        let ratio = format!("{:.2}", ours.median() / theirs.median());
        let of_ganesha = |text: String| format!("NFS-Ganesha {text}");
        report.row(
            what,
            format!("{} {unit}/s", ours.text(0)),
            of_ganesha(format!("{} {unit}/s", theirs.text(0))),
            ratio,
            aim,
        );
        let (ours, theirs) = (sample(&self.ours, |rate| rate.cpu_us), sample(&self.theirs, |rate| rate.cpu_us));
        let ratio = format!("{:.2}", ours.median() / theirs.median());
        let each = |sample: &Sample| format!("{} µs/{unit}", sample.text(1));
        report.row("  CPU of it", each(&ours), of_ganesha(each(&theirs)), ratio, "said");
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
        for ((what, aim), kind) in [("create", "≥ 1.5"), ("getattr", "≥ 1.5"), ("readdir", "≥ 4"), ("remove", "≥ 1.5")]
            .iter()
            .zip(&both)
            .filter(|((what, _), _)| in_flight == 1 || *what != "readdir")
        {
            let (what, unit) = match *what {
                "readdir" => ("readdir with attributes, a folder of 2000".to_owned(), "entry"),
                _ => (format!("{what}, {in_flight} in flight"), "op"),
            };
            kind.report(&mut report, &what, unit, aim);
        }
    }
    report.print();
}
