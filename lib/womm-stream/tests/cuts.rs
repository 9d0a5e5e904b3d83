//! Random traffic of many jobs over wires that deliver in any pieces, late, and break at any byte of either direction, in
//! the greeting too: every byte and every end arrives, once.
//!
//! `WOMM_CUTS` is how often the wire is to break (5,000), `WOMM_SEED` makes a run the same as one before as far as its
//! choices go.

use futures::future::select_all;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::time::{sleep, timeout};
use womm_stream::greeting::{Agent, Greeted, GreetingError, Workstation};
use womm_stream::resumable::{Broke, Config};
use womm_stream::session::{Incoming, Session, Stream};

/// xorshift64*: choices that a seed repeats.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most.max(1)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(count).collect()
    }

    fn fork(&mut self) -> Self {
        Self(self.next() | 1)
    }
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect(name))
}

/// Carries bytes one way, in pieces of any size, until so many have passed; then everything in it is lost.
async fn carry(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>, mut left: u64, mut random: Random) {
    // A greeting may reach the agent long after it was given up.
    if random.below(10) == 0 {
        sleep(Duration::from_micros(random.below(8000))).await;
    }
    let mut buffer = vec![0; 16 << 10];
    while left > 0 {
        let most = (1 + random.below(buffer.len() as u64)).min(left) as usize;
        let Ok(count) = from.read(&mut buffer[..most]).await else { return };
        if count == 0 || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        left -= count as u64;
        match random.below(200) {
            0 => sleep(Duration::from_micros(random.below(3000))).await,
            1..20 => tokio::task::yield_now().await,
            _ => {}
        }
    }
}

/// A wire: two ends, and its death.
fn wire(random: &mut Random) -> (DuplexStream, DuplexStream) {
    let (near, near_inside) = duplex(1 + random.below(32 << 10) as usize);
    let (far, far_inside) = duplex(1 + random.below(32 << 10) as usize);
    let (near_r, near_w) = split(near_inside);
    let (far_r, far_w) = split(far_inside);
    // Some die in the greeting, most somewhere in a frame, some live long; now and then one dies without a word.
    let life = |random: &mut Random| match random.below(10) {
        0 => random.below(200),
        1 => 200_000 + random.below(400_000),
        _ => random.below(60_000),
    };
    let (up, down) = (life(random), life(random));
    let silent = random.below(1000) == 0;
    let (mut a, mut b) = (random.fork(), random.fork());
    let (a, b) = (a.fork(), b.fork());
    tokio::spawn(async move {
        let (up, down) = (carry(near_r, far_w, up, a), carry(far_r, near_w, down, b));
        if silent {
            tokio::join!(up, down, sleep(Duration::from_secs(2)));
        } else {
            tokio::select! { () = up => {}, () = down => {} }
        }
    });
    (near, far)
}

/// What a job is: everything about it follows from these 40 bytes, which open its stream.
#[derive(Clone, Copy)]
struct Job {
    seed: u64,
    up: u64,
    down: u64,
    code: u64,
    slow: u64,
}

impl Job {
    fn random(random: &mut Random) -> Self {
        let mut length = || match random.below(4) {
            0 => 0,
            1 => random.below(100),
            2 => random.below(20_000),
            _ => random.below(600_000),
        };
        let (up, down) = (length(), length());
        Self { seed: random.next() | 1, up, down, code: random.below(256), slow: random.below(20) }
    }

    fn encode(self) -> Vec<u8> {
        [self.seed, self.up, self.down, self.code, self.slow].iter().flat_map(|n| n.to_be_bytes()).collect()
    }

    async fn decode(from: &mut ReadHalf<Stream>) -> io::Result<Self> {
        let mut numbers = [0; 5];
        for number in &mut numbers {
            *number = from.read_u64().await?;
        }
        let [seed, up, down, code, slow] = numbers;
        Ok(Self { seed, up, down, code, slow })
    }

    fn input(self) -> Vec<u8> {
        Random(self.seed).bytes(self.up as usize)
    }

    /// Ends with the code.
    fn output(self) -> Vec<u8> {
        let mut output = Random(self.seed ^ 0xFFFF).bytes(self.down as usize);
        output.push(self.code as u8);
        output
    }
}

async fn send(to: &mut WriteHalf<Stream>, bytes: &[u8], mut random: Random) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, left) = rest.split_at((1 + random.below(40_000) as usize).min(rest.len()));
        to.write_all(piece).await?;
        rest = left;
        if random.below(8) == 0 {
            sleep(Duration::from_micros(random.below(500))).await;
        }
    }
    to.shutdown().await
}

async fn receive(from: &mut ReadHalf<Stream>, slow: bool, mut random: Random) -> io::Result<Vec<u8>> {
    let (mut got, mut buffer) = (Vec::new(), vec![0; 32 << 10]);
    loop {
        let most = 1 + random.below(buffer.len() as u64) as usize;
        match from.read(&mut buffer[..most]).await? {
            0 => return Ok(got),
            count => got.extend_from_slice(&buffer[..count]),
        }
        if slow && random.below(4) == 0 {
            sleep(Duration::from_micros(random.below(2000))).await;
        }
    }
}

/// The agent's sides of jobs.
#[derive(Default)]
struct Sides {
    under_way: AtomicU64,
    wrong: AtomicU64,
}

/// The agent's part of a job.
async fn serve(stream: Stream, sides: &Sides) {
    let (mut from, mut to) = split(stream);
    let Ok(job) = Job::decode(&mut from).await else { return };
    let mut random = Random(job.seed ^ 0xABCD);
    let (a, b) = (random.fork(), random.fork());
    let output = job.output();
    let (sent, got) = tokio::join!(send(&mut to, &output, a), receive(&mut from, job.slow == 0, b));
    if sent.is_err() || got.ok() != Some(job.input()) {
        eprintln!("the agent's side of job {:x} is wrong", job.seed);
        sides.wrong.fetch_add(1, Ordering::Relaxed);
    }
}

/// The workstation's.
async fn run(session: &Session, random: &mut Random) {
    let job = Job::random(random);
    let stream = session.open().await.expect("the session lives");
    let (mut from, mut to) = split(stream);
    let (a, b) = (random.fork(), random.fork());
    let input = [job.encode(), job.input()].concat();
    let (sent, got) = tokio::join!(send(&mut to, &input, a), receive(&mut from, job.slow == 1, b));
    sent.expect("sent");
    assert!(got.expect("received") == job.output(), "job {:x}: {} bytes up, {} down", job.seed, job.up, job.down);
}

async fn take(mut incoming: Incoming, session: Session, sides: Arc<Sides>) {
    while let Some(stream) = incoming.recv().await {
        sides.under_way.fetch_add(1, Ordering::Relaxed);
        let sides = sides.clone();
        tokio::spawn(async move {
            serve(stream, &sides).await;
            sides.under_way.fetch_sub(1, Ordering::Relaxed);
        });
    }
    drop(session);
}

async fn be_agent(agent: Arc<Agent>, wire: DuplexStream, sides: Arc<Sides>) {
    match timeout(Duration::from_secs(1), agent.greet(wire)).await {
        Ok(Ok(Greeted::Owner(session, incoming, attached))) => {
            tokio::spawn(take(incoming, session, sides));
            attached.run().await;
        }
        Ok(Ok(Greeted::Again(attached))) => drop(attached.run().await),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_and_every_end_arrives() {
    let seed = variable("WOMM_SEED", u64::from(std::process::id()) << 20 | 1);
    let cuts = variable("WOMM_CUTS", 5000);
    eprintln!("WOMM_SEED={seed} WOMM_CUTS={cuts}");
    let most = LONGEST * u32::try_from(cuts.div_ceil(5000)).unwrap_or(u32::MAX);
    let ended = timeout(most, arrives(seed, cuts)).await;
    assert!(ended.is_ok(), "not at its end after {most:?}: WOMM_SEED={seed} WOMM_CUTS={cuts}");
}

/// More than 5,000 cuts take on any machine; a run that hangs says so, with its seed.
const LONGEST: Duration = Duration::from_secs(600);

async fn arrives(seed: u64, cuts: u64) {
    let mut random = Random(seed | 1);
    let sides = Arc::new(Sides::default());
    let made = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicU64::new(0));
    let config = Config {
        window: 8 << 10 << random.below(6),
        interval: Duration::from_millis(50),
        deadline: Duration::from_millis(400),
    };
    eprintln!("{config:?}");
    let agent = Arc::new(Agent::new("instance"));
    let workstation = Workstation::new("task", "stream", config);
    let mut jobs: Vec<tokio::task::JoinHandle<()>> = Vec::new();
    while made.load(Ordering::Relaxed) < cuts || jobs.iter().any(|job| !job.is_finished()) {
        if sides.wrong.load(Ordering::Relaxed) > 0
            || jobs.iter().any(|j| j.is_finished() && made.load(Ordering::Relaxed) < cuts)
        {
            break;
        }
        // Sometimes several at once, as when a network is away: whichever is first counts.
        let count = if workstation.is_known() && random.below(4) == 0 { 1 + random.below(4) } else { 1 };
        let mut tries = Vec::new();
        for _ in 0..count {
            let (near, far) = wire(&mut random);
            tokio::spawn(be_agent(agent.clone(), far, sides.clone()));
            tries.push(Box::pin(timeout(Duration::from_secs(1), workstation.greet(near))));
        }
        let greeted = loop {
            let (greeted, number, _) = select_all(tries.iter_mut()).await;
            drop(tries.remove(number));
            match greeted {
                Ok(Ok(greeted)) => break Some(greeted),
                Ok(Err(GreetingError::Wire(_) | GreetingError::Stale)) | Err(_) => {}
                Ok(Err(GreetingError::TooLate(why))) if workstation.over().is_none() => drop(why),
                // The last job has ended while this wire was being tried. What the jobs say decides, below.
                Ok(Err(_)) if workstation.over().is_some() => break None,
                Ok(Err(e)) => panic!("{e}"),
            }
            if tries.is_empty() {
                break None;
            }
        };
        if workstation.over().is_some() {
            assert!(made.load(Ordering::Relaxed) >= cuts, "{:?}", workstation.over());
            break;
        }
        // A wire that is given up for a faster one is no cut.
        let Some((session, attached)) = greeted else {
            made.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        if let Some(session) = session {
            for _ in 0..16 {
                let (session, mut random, made, done) = (session.clone(), random.fork(), made.clone(), done.clone());
                let sides = sides.clone();
                jobs.push(tokio::spawn(async move {
                    while made.load(Ordering::Relaxed) < cuts {
                        run(&session, &mut random).await;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    // Here a job ends when all it sends is on its way. The last handle would take that with it.
                    while sides.under_way.load(Ordering::Relaxed) > 0 {
                        sleep(Duration::from_millis(1)).await;
                    }
                }));
            }
        }
        match attached.run().await {
            Broke::Wire(_) | Broke::Replaced => _ = made.fetch_add(1, Ordering::Relaxed),
            // In order only once all jobs have ended, and with them the last handle of the session.
            Broke::Over(why) => assert!(made.load(Ordering::Relaxed) >= cuts, "{why}"),
        }
    }
    // After a fault some jobs still run, and there is no wire any more: they end with the stream.
    workstation.finish("the test is over");
    for job in jobs {
        job.await.expect("no job has failed");
    }
    assert_eq!(sides.wrong.load(Ordering::Relaxed), 0, "wrong on the agent's side");
    let done = done.load(Ordering::Relaxed);
    eprintln!("{done} jobs, {} cuts", made.load(Ordering::Relaxed));
    assert!(done > cuts / 50, "jobs come to their ends between cuts, not after them: {done}");
}
