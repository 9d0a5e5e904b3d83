//! How two ends come together, for the first time and again after a break: a line each way, the workstation's first, before
//! any other byte, so that versions that can't talk say so in words. `docs/wire.md` has the lines.
//!
//! An agent has one owner: the stream that reached it first. A stream is known by the task, a random id of its own, and the
//! agent's instance, never by the connection that carries it.

use crate::resumable::{Attached, Config, Keeper, Settled, Writes, stream};
use crate::session::{self, Incoming, Session};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use womm_wire::names;

#[cfg(test)]
mod tests;

/// The longest line, bytes.
const MOST: usize = 256;
/// In the place of an agent's instance: we don't know it yet.
const NONE_YET: &str = "-";
/// An owner that was not heard of for so long may be followed by another.
const OWNER_IS_GONE: Duration = Duration::from_secs(300);

/// Why two ends do not come together.
#[derive(Debug, thiserror::Error)]
pub enum GreetingError {
    /// The wire broke.
    #[error("{0}")]
    Wire(#[from] io::Error),
    /// Something else than a womm-agent or womm-sshlogins speaks there.
    #[error("the other end is no womm program: it says \"{0}\"")]
    Foreign(String),
    /// Another protocol.
    #[error("the agent in the image is WOMM {theirs}, this is {}: run `womm setup` again to renew it", names::VERSION)]
    Version {
        /// Their version.
        theirs: String,
    },
    /// The agent has another owner.
    #[error("the pod takes jobs of another womm-sshlogins; it is free {} s after that one was last heard of", OWNER_IS_GONE.as_secs())]
    Owned,
    /// A greeting of the same round or a later one has reached the agent before this one.
    #[error("another connection reached the agent before this one")]
    Stale,
    /// The agent does not know the stream: it is not the one that the stream was made with.
    #[error("its agent was started anew")]
    Unknown,
    /// Another connection took this one's place, or the stream is over.
    #[error("{0}")]
    TooLate(String),
}

/// What one side says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    protocol: u32,
    version: String,
    words: Vec<String>,
}

impl Line {
    fn new(words: impl IntoIterator<Item = String>) -> Self {
        Self { protocol: names::PROTOCOL, version: names::VERSION.into(), words: words.into_iter().collect() }
    }

    async fn write<W: AsyncWrite + Unpin>(&self, wire: &mut W) -> io::Result<()> {
        let line = format!("womm {} {} {}\n", self.protocol, self.version, self.words.join(" "));
        wire.write_all(line.as_bytes()).await?;
        wire.flush().await
    }

    async fn read<W: AsyncRead + Unpin>(wire: &mut W) -> Result<Self, GreetingError> {
        let mut line = Vec::new();
        // Byte by byte: what follows the newline belongs to the next layer.
        loop {
            let byte = wire.read_u8().await?;
            if byte == b'\n' {
                break;
            }
            line.push(byte);
            if line.len() == MOST {
                return Err(GreetingError::Foreign(shown(&line)));
            }
        }
        Self::parse(&line).ok_or_else(|| GreetingError::Foreign(shown(&line)))
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(line).ok()?.split(' ').map(str::to_owned);
        if words.next()? != "womm" {
            return None;
        }
        Some(Self { protocol: words.next()?.parse().ok()?, version: words.next()?, words: words.collect() })
    }
}

fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(80)]).escape_debug().to_string()
}

/// Reads a line by itself, for fuzzing: whether it is one of ours.
#[doc(hidden)]
pub fn parses(line: &[u8]) -> bool {
    Line::parse(line).is_some_and(|line| Claim::of(&line).is_some())
}

/// What the workstation says.
#[derive(Debug, PartialEq, Eq)]
struct Claim {
    task: String,
    stream: String,
    instance: Option<String>,
    /// How many rounds of greetings of this stream there were before. Those of one round are alike: the first that arrives
    /// is taken. They may arrive in any order, some long after they were given up.
    number: u64,
    received: u64,
    config: Config,
}

impl Claim {
    fn line(&self) -> Line {
        let Config { window, interval, deadline } = self.config;
        Line::new([
            self.task.clone(),
            self.stream.clone(),
            self.instance.clone().unwrap_or_else(|| NONE_YET.into()),
            self.number.to_string(),
            self.received.to_string(),
            window.to_string(),
            interval.as_millis().to_string(),
            deadline.as_millis().to_string(),
        ])
    }

    fn of(line: &Line) -> Option<Self> {
        let [task, stream, instance, number, received, window, interval, deadline, ..] = line.words.as_slice() else {
            return None;
        };
        let millis = |word: &str| word.parse().ok().map(Duration::from_millis);
        Some(Self {
            task: task.clone(),
            stream: stream.clone(),
            instance: (instance != NONE_YET).then(|| instance.clone()),
            number: number.parse().ok()?,
            received: received.parse().ok()?,
            config: Config { window: window.parse().ok()?, interval: millis(interval)?, deadline: millis(deadline)? },
        })
    }
}

/// The workstation's end of one stream.
#[derive(Debug)]
pub struct Workstation {
    task: String,
    stream: String,
    config: Config,
    /// The present round of greetings: over once one of them has an outcome.
    round: AtomicU64,
    known: Mutex<Option<Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    keeper: Keeper,
    instance: String,
}

impl Workstation {
    /// A stream that no agent knows yet. `id` is one that no other stream ever has.
    pub fn new(task: impl Into<String>, id: impl Into<String>, config: Config) -> Self {
        Self {
            task: task.into(),
            stream: id.into(),
            config: config.bounded(),
            round: AtomicU64::new(0),
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an agent knows it.
    pub fn is_known(&self) -> bool {
        self.known().is_some()
    }

    /// Greets the agent at the end of a new wire: the session, if it is the first time, and the wire, to be run. Once an
    /// agent knows the stream, several wires may be tried at once.
    ///
    /// # Errors
    /// If the wire breaks, or the agent does not take the stream. No deadline: the caller's.
    pub async fn greet<W>(&self, wire: W) -> Result<(Option<Session>, Attached<W>), GreetingError>
    where
        W: AsyncRead + AsyncWrite + Unpin,
    {
        // The agent takes one greeting of a round: those that were given up and reach it late do not cost the wire of
        // the one that won. An outcome begins the next round, a bad one because it may be the one that was taken.
        let round = self.round.load(Ordering::Relaxed);
        let greeted = self.greet_in(round, wire).await;
        self.round.fetch_max(round + 1, Ordering::Relaxed);
        greeted
    }

    async fn greet_in<W>(&self, number: u64, mut wire: W) -> Result<(Option<Session>, Attached<W>), GreetingError>
    where
        W: AsyncRead + AsyncWrite + Unpin,
    {
        let known = self.known().clone().map(|known| (known.keeper.let_go(), known));
        let claim = Claim {
            task: self.task.clone(),
            stream: self.stream.clone(),
            instance: known.as_ref().map(|(_, known)| known.instance.clone()),
            number,
            received: known.as_ref().map_or(0, |(settled, _)| settled.received),
            config: self.config,
        };
        claim.line().write(&mut wire).await?;
        let theirs = Line::read(&mut wire).await?;
        if theirs.protocol != names::PROTOCOL {
            return Err(GreetingError::Version { theirs: shown(theirs.version.as_bytes()) });
        }
        let words: Vec<&str> = theirs.words.iter().map(String::as_str).collect();
        let foreign = || GreetingError::Foreign(shown(theirs.words.join(" ").as_bytes()));
        let (instance, received, window) = match words.as_slice() {
            [instance, "stream", received, window, ..] => {
                (*instance, received.parse().map_err(|_| foreign())?, window.parse().map_err(|_| foreign())?)
            }
            [_, "refused", "owned", ..] => return Err(GreetingError::Owned),
            [_, "refused", "stale", ..] => return Err(GreetingError::Stale),
            [_, "refused", "unknown", ..] => return Err(GreetingError::Unknown),
            _ => return Err(foreign()),
        };
        let (session, settled, keeper) = match known {
            Some((_, known)) if known.instance != instance => return Err(GreetingError::Unknown),
            Some((settled, known)) => (None, settled, known.keeper),
            None => {
                let mut known = self.known();
                if known.is_some() {
                    return Err(GreetingError::TooLate("another connection took its place".into()));
                }
                let (keeper, link) = stream(self.config);
                let settled = keeper.let_go();
                let (session, _) = session::start(link, session::Side::Workstation);
                *known = Some(Known { keeper: keeper.clone(), instance: instance.into() });
                (Some(session), settled, keeper)
            }
        };
        let attached = keeper.attach(wire, settled, received, window).map_err(GreetingError::TooLate)?;
        Ok((session, attached))
    }

    /// To know what became of bytes that are written to its session later; `None` before an agent knows it.
    pub fn writes(&self) -> Option<Writes> {
        self.known().as_ref().map(|known| known.keeper.writes())
    }

    /// For how long nothing has come from the agent.
    pub fn silent_for(&self) -> Duration {
        self.known().as_ref().map_or(Duration::ZERO, |known| known.keeper.silent_for())
    }

    /// Why the stream is over, if it is.
    pub fn over(&self) -> Option<String> {
        self.known().as_ref().and_then(|known| known.keeper.over())
    }

    /// The stream is over, for a reason that its users should hear.
    pub fn finish(&self, why: &str) {
        if let Some(known) = &*self.known() {
            known.keeper.finish(why);
        }
    }
}

/// An agent's end of all streams: one at a time.
#[derive(Debug)]
pub struct Agent {
    instance: String,
    owner: Mutex<Option<Owner>>,
}

#[derive(Debug)]
struct Owner {
    task: String,
    stream: String,
    /// The round of the greeting that was taken last.
    number: u64,
    keeper: Keeper,
}

/// Who greeted an agent.
pub enum Greeted<W> {
    /// An owner: its session, and its first wire, to be run.
    Owner(Session, Incoming, Attached<W>),
    /// The owner again, with a new wire, to be run.
    Again(Attached<W>),
    /// Somebody who was sent away.
    Refused,
}

enum Answer {
    /// Taken: with what a new owner gets.
    Taken(Keeper, Settled, Option<(Session, Incoming)>),
    Refused(&'static str),
}

impl Agent {
    /// `instance` is what no other agent ever has.
    pub fn new(instance: impl Into<String>) -> Self {
        Self { instance: instance.into(), owner: Mutex::default() }
    }

    fn owner(&self) -> MutexGuard<'_, Option<Owner>> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the owner's wire is there at this moment.
    pub fn is_connected(&self) -> bool {
        self.owner().as_ref().is_some_and(|owner| owner.keeper.without_wire().is_none())
    }

    /// Whether the owner, if there is one, has all that was said to it.
    pub fn all_has_arrived(&self) -> bool {
        self.owner().as_ref().is_none_or(|owner| owner.keeper.has_arrived())
    }

    /// Ends the stream that is there, for a reason.
    pub fn finish(&self, why: &str) {
        if let Some(owner) = &*self.owner() {
            owner.keeper.finish(why);
        }
    }

    /// Answers whoever is at the end of a wire.
    ///
    /// # Errors
    /// If the wire breaks, or what comes is no greeting of our protocol. No deadline: the caller's.
    pub async fn greet<W>(&self, mut wire: W) -> Result<Greeted<W>, GreetingError>
    where
        W: AsyncRead + AsyncWrite + Unpin,
    {
        let theirs = Line::read(&mut wire).await?;
        let say = |words: &[String]| Line::new([self.instance.clone()].into_iter().chain(words.iter().cloned()));
        if theirs.protocol != names::PROTOCOL {
            // Ours tells them the version.
            say(&[]).write(&mut wire).await?;
            return Err(GreetingError::Version { theirs: shown(theirs.version.as_bytes()) });
        }
        let claim =
            Claim::of(&theirs).ok_or_else(|| GreetingError::Foreign(shown(theirs.words.join(" ").as_bytes())))?;
        let config = claim.config.bounded();
        match self.answer(&claim, config) {
            Answer::Refused(why) => {
                say(&["refused".into(), why.into()]).write(&mut wire).await?;
                Ok(Greeted::Refused)
            }
            Answer::Taken(keeper, settled, new) => {
                let words = ["stream".into(), settled.received.to_string(), config.window.to_string()];
                say(&words).write(&mut wire).await?;
                let attached =
                    keeper.attach(wire, settled, claim.received, config.window).map_err(GreetingError::TooLate)?;
                Ok(match new {
                    Some((session, incoming)) => Greeted::Owner(session, incoming, attached),
                    None => Greeted::Again(attached),
                })
            }
        }
    }

    fn answer(&self, claim: &Claim, config: Config) -> Answer {
        let mut owner = self.owner();
        let living = owner.as_mut().filter(|owner| owner.keeper.over().is_none());
        let of_us = claim.instance.as_ref().is_none_or(|instance| *instance == self.instance);
        if let Some(owner) = living {
            if owner.task == claim.task && owner.stream == claim.stream && of_us {
                if claim.number <= owner.number || !owner.keeper.can_resume(claim.received) {
                    return Answer::Refused("stale");
                }
                owner.number = claim.number;
                return Answer::Taken(owner.keeper.clone(), owner.keeper.let_go(), None);
            }
            if claim.instance.is_some() {
                return Answer::Refused("unknown");
            }
            if owner.keeper.without_wire().is_none_or(|silent| silent < OWNER_IS_GONE) {
                return Answer::Refused("owned");
            }
            owner.keeper.finish("another womm-sshlogins took this pod");
        } else if claim.instance.is_some() {
            return Answer::Refused("unknown");
        }
        let (keeper, link) = stream(config);
        let settled = keeper.let_go();
        let new = session::start(link, session::Side::Agent);
        *owner = Some(Owner {
            task: claim.task.clone(),
            stream: claim.stream.clone(),
            number: claim.number,
            keeper: keeper.clone(),
        });
        Answer::Taken(keeper, settled, Some(new))
    }
}
