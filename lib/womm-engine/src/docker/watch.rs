//! Watching a task: containers that end are replaced, and what becomes of them is told as [`Line`]s.
//!
//! Docker's events say it at once; a list every 10 s, and on each new event stream, says what they missed.

use super::make::{AT_ONCE, Maker, Trial};
use super::{Docker, delete, is_being_deleted, objects, trouble};
use crate::Error;
use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bollard::errors::Error as Api;
use bollard::models::{ContainerSummaryStateEnum as State, EventMessage};
use bollard::query_parameters::EventsOptionsBuilder;
use futures::{Stream, StreamExt};
use tokio::sync::{OnceCell, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use womm_wire::pod::{Line, Pod};
use womm_wire::record::{Record, Task};

/// How often containers are listed, events or not.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// How long Docker may be away before it has answered once.
const AWAY_DEADLINE: Duration = Duration::from_secs(60);
/// A pod that ends by itself before it is this old has failed rather than ended.
const QUICK: Duration = Duration::from_secs(5);
/// The first wait after a failure; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Failures in a row that end the wait for pods, if none has ever lived.
const PATIENCE: u32 = 5;
/// The same if pods have lived, but none does any more.
const PATIENCE_LATER: u32 = 10;
/// How long a sign of why a container ended is kept for the list or the maker to find.
const KEEP_SIGNS: Duration = Duration::from_secs(60);

pub(super) async fn watch(docker: &Docker, record: &Record, lines: mpsc::Sender<Line>) -> Result<(), Error> {
    let task = record.task()?.clone();
    let crew = Crew::new(task.pods as usize, Instant::now());
    let maker = Arc::new(OnceCell::new());
    let mut watcher = Watcher {
        docker: docker.clone(),
        record: record.clone(),
        task,
        maker,
        crew,
        making: JoinSet::new(),
        signs: HashMap::new(),
        lines,
        said: None,
        listed: false,
        away_since: None,
        reconnects: 0,
    };
    let ended = watcher.run().await;
    watcher.settle().await;
    match ended {
        Ok(()) | Err(End::Unheard | End::Failed | End::Deleted) => Ok(()),
        Err(End::Away(error)) => Err(error),
    }
}

/// Why watching ends.
enum End {
    /// Nobody listens.
    Unheard,
    /// [`Line::Failed`] was said.
    Failed,
    /// The task has been deleted, its run folder with it.
    Deleted,
    /// Docker has been away for too long.
    Away(Error),
}

/// What one attempt to make a container came to.
type Made = Result<Trial, Error>;
type Events = Pin<Box<dyn Stream<Item = Result<EventMessage, Api>> + Send>>;

struct Watcher {
    docker: Docker,
    record: Record,
    task: Task,
    maker: Arc<OnceCell<Maker>>,
    crew: Crew,
    making: JoinSet<Made>,
    signs: HashMap<String, Signs>,
    lines: mpsc::Sender<Line>,
    said: Option<String>,
    /// Whether it is known which pods there are.
    listed: bool,
    away_since: Option<Instant>,
    reconnects: u32,
}

/// What events have said about a container that ends.
struct Signs {
    since: Instant,
    oom: bool,
    killed: bool,
    ended: Option<i64>,
}

impl Watcher {
    async fn run(&mut self) -> Result<(), End> {
        let mut events = Some(self.subscribe());
        let mut list_at = Instant::now();
        let mut subscribe_at = Instant::now();
        loop {
            let now = Instant::now();
            self.make_missing(now);
            let next_try = self.crew.next_try(now);
            let lines = self.lines.clone();
            tokio::select! {
                () = lines.closed() => return Err(End::Unheard),
                event = next(&mut events) => match event {
                    Some(Ok(event)) => self.event(event).await?,
                    ended => {
                        events = None;
                        if let Some(Err(e)) = ended {
                            self.away(trouble::explain(&self.docker.at, "follow Docker's events", &e)).await?;
                        }
                        self.reconnects += 1;
                        subscribe_at = Instant::now() + wait(self.reconnects);
                    }
                },
                () = sleep_until(subscribe_at), if events.is_none() => {
                    events = Some(self.subscribe());
                    list_at = Instant::now();
                }
                Some(made) = self.making.join_next() => match made {
                    Ok(made) => self.made(made).await?,
                    // Only a panic of ours comes here: nothing is aborted before the set itself is dropped.
                    Err(e) => self.crew.failed(e.to_string(), Instant::now()),
                },
                () = sleep_until(list_at) => {
                    list_at = Instant::now() + self.list().await?;
                }
                // The next attempt is made at the top.
                () = sleep_until(next_try.unwrap_or(now)), if next_try.is_some() => {}
            }
            self.verdict().await?;
        }
    }

    /// Waits for the containers that are being made: Docker would make them all the same, perhaps only after the task was
    /// deleted.
    async fn settle(&mut self) {
        while let Some(made) = self.making.join_next().await {
            if let Ok(made) = made {
                self.is_late(&made).await;
            }
        }
    }

    /// Whether a container was made for a task that is being deleted. Whoever deletes it may have looked before this one was
    /// there, so it is removed; a failure is theirs to find.
    async fn is_late(&self, made: &Made) -> bool {
        let (Ok(Trial::Alive(pod) | Trial::Dead { pod, .. }), true) = (made, is_being_deleted(&self.task)) else {
            return false;
        };
        let _ = delete::remove(&self.docker, &pod.uid).await;
        true
    }

    /// Events of this task from now on, and of the two seconds before, so that none falls between a list and this.
    fn subscribe(&self) -> Events {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let since = now.saturating_sub(Duration::from_secs(2)).as_secs().to_string();
        let mut filters = objects::of_task(&self.task.id);
        filters.insert("type".into(), vec!["container".into()]);
        let actions = ["die", "destroy", "oom", "kill"].map(str::to_owned);
        filters.insert("event".into(), actions.to_vec());
        let options = EventsOptionsBuilder::new().since(&since).filters(&filters).build();
        Box::pin(self.docker.api.events(Some(options)))
    }

    async fn event(&mut self, event: EventMessage) -> Result<(), End> {
        let Some((id, actor)) = event.actor.and_then(|a| a.id.clone().map(|id| (id, a))) else { return Ok(()) };
        let attribute = |name: &str| actor.attributes.as_ref().and_then(|a| a.get(name)?.parse::<i64>().ok());
        let now = Instant::now();
        let signs =
            self.signs.entry(id.clone()).or_insert(Signs { since: now, oom: false, killed: false, ended: None });
        match event.action.as_deref() {
            Some("oom") => signs.oom = true,
            Some("kill") => signs.killed = true,
            Some("die") => {
                signs.ended = attribute("exitCode").or(Some(0));
                self.gone(&id, now).await?;
            }
            Some("destroy") => {
                signs.ended.get_or_insert(137);
                self.gone(&id, now).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A container has ended. If it isn't known, it is one that is being made: its maker will ask for the signs.
    async fn gone(&mut self, id: &str, now: Instant) -> Result<(), End> {
        let (reason, by_itself) = self.why(id);
        match self.crew.gone(id, by_itself.then(|| reason.clone()), now) {
            Some(pod) => self.say(Line::Gone { pod, reason }).await,
            None => Ok(()),
        }
    }

    /// Why a container ended, and whether it did so by itself.
    fn why(&self, id: &str) -> (String, bool) {
        match self.signs.get(id) {
            Some(Signs { oom: true, ended: Some(137), .. }) => {
                (format!("exceeded {}: use --kube-mem", objects::quantity(self.task.mem_bytes)), true)
            }
            Some(Signs { killed: false, ended: Some(code), .. }) => (format!("exited with {code}"), true),
            _ => ("removed".into(), false),
        }
    }

    async fn made(&mut self, made: Made) -> Result<(), End> {
        let now = Instant::now();
        if self.is_late(&made).await {
            return Ok(());
        }
        match made {
            Ok(Trial::Alive(pod)) if self.ended(&pod) => {
                let (reason, by_itself) = self.why(&pod.uid);
                if by_itself {
                    self.crew.failed(reason, now);
                }
                Ok(())
            }
            Ok(Trial::Alive(pod)) => self.appeared(pod, now).await,
            Ok(Trial::Dead { pod, words }) => {
                let (reason, by_itself) = self.why(&pod.uid);
                let reason = if by_itself { reason } else { "ended".to_owned() };
                let reason = if words.is_empty() { reason } else { format!("{reason}: {words}") };
                self.crew.failed(reason, now);
                Ok(())
            }
            Err(error @ Error::Unreachable { .. }) => self.away(error).await,
            Err(error) => {
                self.crew.failed(error.to_string(), now);
                Ok(())
            }
        }
    }

    fn ended(&self, pod: &Pod) -> bool {
        self.signs.get(&pod.uid).is_some_and(|s| s.ended.is_some())
    }

    async fn appeared(&mut self, pod: Pod, now: Instant) -> Result<(), End> {
        if self.crew.appeared(pod.clone(), now) { self.say(Line::Ready(pod)).await } else { Ok(()) }
    }

    /// Compares with what is there. Returns after how long to look again.
    async fn list(&mut self) -> Result<Duration, End> {
        let containers = match self.docker.list(&objects::of_task(&self.task.id)).await {
            Ok(containers) => containers,
            Err(error) => {
                self.away(error).await?;
                return Ok(Duration::from_secs(1));
            }
        };
        (self.listed, self.away_since, self.reconnects) = (true, None, 0);
        let now = Instant::now();
        self.signs.retain(|_, signs| now.duration_since(signs.since) < KEEP_SIGNS);
        let mut running = Vec::new();
        for container in containers {
            let Some(uid) = container.id else { continue };
            match container.state {
                Some(State::RUNNING | State::PAUSED | State::RESTARTING | State::STOPPING) => {
                    let names = container.names.unwrap_or_default();
                    let name = names.first().map_or(uid.as_str(), |n| n.trim_start_matches('/')).to_owned();
                    running.push(Pod { name, uid, node: None });
                }
                // Docker removes what has run; the rest was left by a maker that is no more.
                Some(State::CREATED | State::EXITED | State::DEAD) if self.making.is_empty() => {
                    let _ = delete::begin_to_remove(&self.docker, &uid).await;
                }
                _ => {}
            }
        }
        for uid in self.crew.missing(&running) {
            self.gone(&uid, now).await?;
        }
        for pod in running {
            if !self.ended(&pod) && !self.crew.is_known(&pod.uid) && self.making.is_empty() {
                self.appeared(pod, now).await?;
            }
        }
        self.crew.aged(now);
        if self.crew.pods.is_empty() && self.making.is_empty() && !Path::new(&self.task.run).exists() {
            return Err(End::Deleted);
        }
        Ok(if self.crew.failures > 0 { LIST_EVERY / 5 } else { LIST_EVERY })
    }

    fn make_missing(&mut self, now: Instant) {
        let missing = self.crew.to_make(self.making.len(), now);
        if missing == 0 || !self.listed || self.away_since.is_some() || is_being_deleted(&self.task) {
            return;
        }
        let on_trial = self.crew.failures > 0;
        for _ in 0..missing {
            let (docker, record, maker) = (self.docker.clone(), self.record.clone(), Arc::clone(&self.maker));
            self.making.spawn(async move {
                let maker = maker.get_or_try_init(|| Maker::new(&docker, &record)).await?;
                if on_trial { maker.make_on_trial().await } else { maker.make().await.map(Trial::Alive) }
            });
        }
    }

    /// Docker does not answer: says so. Ends after a while if it never did; else there are jobs, perhaps, which go on when it
    /// is back, and the user has been told what is waited for.
    async fn away(&mut self, error: Error) -> Result<(), End> {
        let since = *self.away_since.get_or_insert_with(Instant::now);
        if !self.listed && since.elapsed() >= AWAY_DEADLINE {
            return Err(End::Away(error));
        }
        self.waiting(error.to_string()).await
    }

    /// Says why pods are missing, or gives up.
    async fn verdict(&mut self) -> Result<(), End> {
        if self.away_since.is_some() {
            return Ok(());
        }
        if let Some(reason) = self.crew.hopeless() {
            let image = self.record.image.as_ref().map_or(&self.record.project.image, |image| &image.reference);
            let reason = format!("no pod comes up: {reason}: see whether `docker run --rm -it {image} sh` works");
            self.say(Line::Failed { reason }).await?;
            return Err(End::Failed);
        }
        if let Some(reason) = self.crew.waiting_for() {
            return self.waiting(format!("pods do not come up: {reason}")).await;
        }
        self.said = None;
        Ok(())
    }

    async fn waiting(&mut self, reason: String) -> Result<(), End> {
        if self.said.as_ref() == Some(&reason) {
            return Ok(());
        }
        self.said = Some(reason.clone());
        self.say(Line::Waiting { reason }).await
    }

    async fn say(&self, line: Line) -> Result<(), End> {
        self.lines.send(line).await.map_err(|_| End::Unheard)
    }
}

async fn next(events: &mut Option<Events>) -> Option<Result<EventMessage, Api>> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

/// How long to wait after so many failures.
fn wait(failures: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_WAIT)
}

/// The pods of a task: which there are, how many to make, and when to give up. Knows no Docker; time is handed in.
struct Crew {
    wanted: usize,
    pods: HashMap<String, (Pod, Instant)>,
    /// In a row.
    failures: u32,
    reason: String,
    lived: bool,
    not_before: Instant,
}

impl Crew {
    fn new(wanted: usize, now: Instant) -> Self {
        Self { wanted, pods: HashMap::new(), failures: 0, reason: String::new(), lived: false, not_before: now }
    }

    fn is_known(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    /// A pod runs; `false` if that was known.
    fn appeared(&mut self, pod: Pod, now: Instant) -> bool {
        self.pods.insert(pod.uid.clone(), (pod, now)).is_none()
    }

    /// A pod runs no more; returns it if it was known. `by_itself` is why, unless somebody removed it.
    fn gone(&mut self, uid: &str, by_itself: Option<String>, now: Instant) -> Option<Pod> {
        let (pod, since) = self.pods.remove(uid)?;
        let quick = now.duration_since(since) < QUICK;
        match by_itself {
            Some(reason) if quick => self.failed(reason, now),
            _ => self.lived |= !quick,
        }
        Some(pod)
    }

    /// A pod could not be made, or ended at once.
    fn failed(&mut self, reason: String, now: Instant) {
        // Those that were made together and fail together are one failure.
        if now >= self.not_before {
            self.failures += 1;
            self.not_before = now + wait(self.failures);
        }
        self.reason = reason;
    }

    /// Pods that have lived long enough end a row of failures.
    fn aged(&mut self, now: Instant) {
        let good = |(_, since): &(Pod, Instant)| now.duration_since(*since) >= QUICK && *since >= self.not_before;
        if self.failures > 0 && self.pods.values().any(good) {
            self.failures = 0;
        }
        self.lived |= self.pods.values().any(|(_, since)| now.duration_since(*since) >= QUICK);
    }

    /// How many to begin making now, while `making` are on their way. After a failure one at a time.
    fn to_make(&self, making: usize, now: Instant) -> usize {
        if now < self.not_before {
            return 0;
        }
        let missing = self.wanted.saturating_sub(self.pods.len() + making);
        let at_once = if self.failures > 0 { 1 } else { AT_ONCE };
        missing.min(at_once.saturating_sub(making))
    }

    /// When to look at [`Crew::to_make`] again, if that has to wait.
    fn next_try(&self, now: Instant) -> Option<Instant> {
        (self.pods.len() < self.wanted && now < self.not_before).then_some(self.not_before)
    }

    fn missing(&self, running: &[Pod]) -> Vec<String> {
        self.pods.keys().filter(|uid| !running.iter().any(|pod| pod.uid == **uid)).cloned().collect()
    }

    /// Why pods are missing, if they fail.
    fn waiting_for(&self) -> Option<&str> {
        (self.failures > 0 && self.pods.len() < self.wanted).then_some(self.reason.as_str())
    }

    /// Why there is no hope left, if so.
    fn hopeless(&self) -> Option<&str> {
        let patience = if self.lived { PATIENCE_LATER } else { PATIENCE };
        (self.pods.is_empty() && self.failures >= patience).then_some(self.reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> Pod {
        Pod { name: format!("womm-task-x-{uid}"), uid: uid.into(), node: None }
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_removed_pod_is_replaced_at_once() {
        let start = Instant::now();
        let mut crew = Crew::new(3, start);
        assert_eq!(crew.to_make(0, start), 3);
        assert!(["a", "b", "c"].into_iter().all(|uid| crew.appeared(pod(uid), start)));
        assert!(!crew.appeared(pod("a"), start));
        assert_eq!(crew.to_make(0, start), 0);
        assert_eq!(crew.gone("a", None, start), Some(pod("a")));
        assert_eq!(crew.gone("a", None, start), None);
        assert_eq!((crew.to_make(0, start), crew.to_make(1, start)), (1, 0));
        assert_eq!((crew.waiting_for(), crew.hopeless()), (None, None));
    }

    #[test]
    fn pods_that_end_at_once_are_tried_ever_more_slowly_and_then_no_more() {
        let mut now = Instant::now();
        let mut crew = Crew::new(10, now);
        for uid in ["a", "b", "c"] {
            crew.appeared(pod(uid), now);
            crew.gone(uid, Some("exited with 1".into()), now);
        }
        // One wave is one failure.
        assert_eq!((crew.failures, crew.to_make(0, now), crew.waiting_for()), (1, 0, Some("exited with 1")));
        for failures in 2..=PATIENCE {
            assert_eq!(crew.hopeless(), None);
            now = crew.next_try(now).expect("pods are missing");
            assert_eq!(crew.to_make(0, now), 1, "one on trial");
            assert_eq!(crew.to_make(1, now), 0);
            crew.failed("exited with 1: no".into(), now);
            assert_eq!(crew.failures, failures);
        }
        assert_eq!(crew.hopeless(), Some("exited with 1: no"));
    }

    #[test]
    fn a_task_whose_pods_lived_is_given_more_time_and_a_living_pod_all_of_it() {
        let start = Instant::now();
        let mut crew = Crew::new(2, start);
        crew.appeared(pod("old"), start);
        crew.aged(start + s(6));
        let mut now = start + s(6);
        for _ in 0..PATIENCE_LATER {
            crew.failed("no space left".into(), now);
            now = crew.not_before;
        }
        assert_eq!((crew.hopeless(), crew.waiting_for()), (None, Some("no space left")));
        crew.gone("old", None, now);
        assert_eq!(crew.hopeless(), Some("no space left"));
    }

    #[test]
    fn a_new_pod_that_lives_ends_the_row() {
        let start = Instant::now();
        let mut crew = Crew::new(2, start);
        crew.failed("exited with 1".into(), start);
        let later = start + s(1);
        crew.appeared(pod("a"), later);
        crew.aged(later + s(1));
        assert_eq!(crew.failures, 1);
        crew.aged(later + QUICK);
        assert_eq!((crew.failures, crew.to_make(0, later + QUICK)), (0, 1));
    }

    #[test]
    fn waits_double_up_to_a_limit() {
        assert_eq!([wait(1), wait(2), wait(3), wait(40)], [FIRST_WAIT, FIRST_WAIT * 2, FIRST_WAIT * 4, LONGEST_WAIT]);
    }
}
