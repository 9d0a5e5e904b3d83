//! Keeps a task alive and reports its pods. Three loops at once, so that none waits for another: the Lease is renewed,
//! pods are followed, and, while pods are missing, the cluster is asked why.

use super::reasons::{self, Missing, Phase, Size, Verdict, Why};
use super::trouble::Trouble;
use super::{Kube, create};
use crate::Error;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use ::kube::api::{ListParams, Patch};
use ::kube::core::Request;
use ::kube::runtime::{WatchStreamExt, watcher};
use ::kube::{Api, Resource, ResourceExt};
use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node, Pod as KubePod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde_json::json;
use tokio::sync::{mpsc, watch as latest};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use womm_wire::names;
use womm_wire::pod::{Line, Pod};
use womm_wire::record::{Record, Task};

/// How often the Lease is renewed (DESIGN 6).
const RENEW: Duration = Duration::from_secs(10);
/// How long one renewal may take, and the pause after one that failed.
const RENEW_DEADLINE: Duration = Duration::from_secs(8);
const RENEW_AGAIN: Duration = Duration::from_secs(2);
/// After so long without an answer of the API server we say so.
const AWAY: Duration = Duration::from_secs(10);
/// The server's and our clock may differ by so much before the Lease is renewed once more at once: after a sleep of this
/// machine, the time that was written is an old one.
const SKEW_S: i64 = 5;
/// The server ends a watch after so many seconds, which is how a connection that died silently is noticed.
const WATCH_S: u32 = 60;
/// How often "why do pods not come" is asked: at first, and after a long wait.
const SURVEY: Duration = Duration::from_secs(1);
const SURVEY_LATER: Duration = Duration::from_secs(10);
/// How often time alone may change what there is to say.
const TICK: Duration = Duration::from_millis(500);
/// A line that differs from the last in the number of pods only is not said again before.
const COUNT: Duration = Duration::from_secs(10);
/// A pod that was up for so long shows that image and agent are well.
const STEADY: Duration = Duration::from_secs(10);
/// Events are asked for so many pods; the others wait for the same.
const MOST_STUCK: usize = 3;

/// See [`Kube::watch`].
pub(super) async fn watch(kube: &Kube, record: &Record, lines_tx: mpsc::Sender<Line>) -> Result<(), Error> {
    let task = record.task()?;
    let (beats_tx, beats_rx) = mpsc::channel(4);
    let (need_tx, need_rx) = latest::channel(Need::default());
    let (survey_tx, survey_rx) = latest::channel(Survey::default());
    let follower = Follower::new(kube, task, &lines_tx, need_tx);
    tokio::select! {
        result = follower.run(beats_rx, survey_rx) => result,
        () = renew(kube, task, &beats_tx) => Ok(()),
        () = survey(kube, task, need_rx, &survey_tx) => Ok(()),
        () = lines_tx.closed() => Ok(()),
    }
}

// ---- the Lease

/// What a renewal came to.
#[derive(Debug)]
enum Beat {
    Renewed,
    /// It can't be renewed, since when, and what happened last.
    Away(Instant, String),
    /// It is not there any more.
    Lost,
}

async fn renew(kube: &Kube, task: &Task, beats_tx: &mpsc::Sender<Beat>) {
    let mut away: Option<Instant> = None;
    loop {
        let begun = Instant::now();
        let beat = match renew_once(kube, task).await {
            Ok(()) => {
                away = None;
                Beat::Renewed
            }
            Err(trouble) if matches!(trouble.code(), 404 | 409) => Beat::Lost,
            Err(trouble) => {
                let what = match trouble.status() {
                    Some(_) => "refuses to renew the task's Lease",
                    None => "does not answer, which is waited for",
                };
                Beat::Away(*away.get_or_insert(begun), format!("{what}: {}", trouble.words()))
            }
        };
        if beats_tx.send(beat).await.is_err() {
            return;
        }
        match away {
            None => sleep(RENEW.saturating_sub(begun.elapsed())).await,
            Some(_) => sleep(RENEW_AGAIN + jitter()).await,
        }
    }
}

/// Up to a second, so that the clients of a cluster that comes back do not come all at once.
fn jitter() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(u64::from(now.subsec_micros()) % 1000)
}

/// Writes the server's own time into the Lease.
async fn renew_once(kube: &Kube, task: &Task) -> Result<(), Trouble> {
    if kube.clock.now().is_none() {
        kube.version(RENEW_DEADLINE).await?;
    }
    for _ in 0..2 {
        let Some(now) = kube.clock.now() else {
            let words = "the API server's answers have no Date".to_owned();
            return Err(Trouble::Api(::kube::Error::Service(words.into())));
        };
        // The UID is a condition: a Lease of the same name that somebody made since is not ours (409).
        let uid = task.kube.as_ref().and_then(|kube| kube.lease_uid.as_deref());
        let patch = json!({"metadata": {"uid": uid}, "spec": {"renewTime": MicroTime(now)}});
        let url = Lease::url_path(&(), Some(&kube.at.namespace));
        let request = Request::new(url).patch(&task.name, &create::patch_params(), &Patch::Merge(patch));
        kube.send::<Lease>(request, RENEW_DEADLINE).await?;
        let after = kube.clock.now().unwrap_or(now);
        if after.as_second().abs_diff(now.as_second()) <= SKEW_S.unsigned_abs() {
            break;
        }
    }
    Ok(())
}

// ---- why pods are missing

/// What there is to find out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Need {
    /// There are too few pods.
    short: bool,
    /// Some of them wait for a node.
    unscheduled: bool,
    /// Pods of which events may tell more.
    stuck: Vec<String>,
}

/// What was found out.
#[derive(Debug, Clone, Default)]
struct Survey {
    /// Whether this is an answer yet.
    taken: bool,
    /// Why no more pods are made.
    refused: Option<Why>,
    /// How many pods the Deployment is to have: `womm-pods scale` may have changed it.
    wanted: Option<usize>,
    /// Somebody deleted the Deployment.
    deleted: bool,
    /// What nodes have, where they may be read.
    nodes: Option<Vec<Size>>,
    /// Events of stuck pods, by name, where they may be read.
    events: HashMap<String, Vec<Event>>,
}

async fn survey(kube: &Kube, task: &Task, mut need_rx: latest::Receiver<Need>, survey_tx: &latest::Sender<Survey>) {
    // What is forbidden is not asked for again.
    let (mut ask_nodes, mut ask_events) = (true, true);
    let mut pause = SURVEY;
    loop {
        let need = match need_rx.wait_for(|need| need.short).await {
            Ok(need) => need.clone(),
            Err(_) => return,
        };
        let mut found = Survey { taken: true, ..Survey::default() };
        match kube.ask(kube.api::<Deployment>().get(&task.name)).await {
            Ok(deployment) => {
                found.refused = reasons::refused(&deployment);
                let replicas = deployment.spec.and_then(|spec| spec.replicas);
                found.wanted = replicas.and_then(|n| usize::try_from(n).ok());
                found.deleted = deployment.metadata.deletion_timestamp.is_some();
            }
            Err(trouble) => found.deleted = trouble.code() == 404,
        }
        if need.unscheduled && ask_nodes {
            match kube.ask(Api::<Node>::all(kube.client.clone()).list(&ListParams::default())).await {
                Ok(nodes) => found.nodes = Some(nodes.iter().filter_map(Size::of).collect()),
                Err(trouble) => ask_nodes = trouble.code() != 403,
            }
        }
        for name in need.stuck.iter().filter(|_| ask_events) {
            let of_pod = ListParams::default().fields(&format!("involvedObject.kind=Pod,involvedObject.name={name}"));
            match kube.ask(kube.api::<Event>().list(&of_pod)).await {
                Ok(events) => drop(found.events.insert(name.clone(), events.items)),
                Err(trouble) if trouble.code() == 403 => {
                    ask_events = false;
                    break;
                }
                Err(_) => {}
            }
        }
        if survey_tx.send(found).is_err() {
            return;
        }
        tokio::select! {
            () = sleep(pause) => pause = (pause * 5 / 4).min(SURVEY_LATER),
            changed = need_rx.changed() => {
                if changed.is_err() {
                    return;
                }
                // Not for every pod that starts.
                sleep(SURVEY / 2).await;
                pause = SURVEY;
            }
        }
    }
}

// ---- pods

/// What is known of one pod.
struct Known {
    pod: KubePod,
    /// Since when it is in its present state.
    since: Instant,
    /// Which state that is, as far as patience is concerned.
    state: Option<(Option<Duration>, bool)>,
    /// A reason with more to it than the present one has.
    clear: Option<Why>,
    /// What its events said of a failure that its status does not tell yet.
    told: Option<Why>,
    /// It is not there any more.
    deleted: bool,
}

struct Follower<'a> {
    kube: &'a Kube,
    task: &'a Task,
    lines_tx: &'a mpsc::Sender<Line>,
    need_tx: latest::Sender<Need>,
    /// All pods that are listed, by UID.
    pods: BTreeMap<String, Known>,
    /// Those that were reported as ready, by UID, and since when.
    ready: HashMap<String, (Pod, Instant)>,
    /// Some pod was well for a while.
    ever: bool,
    /// What was said last.
    said: Option<Said>,
    /// The API server is away.
    away: Option<(Instant, String)>,
    /// Since when no more pods are made.
    refused: Option<Instant>,
    /// Since when there is neither a pod nor a reason.
    nothing: Instant,
}

/// Why we wait, as it was said.
struct Said {
    words: String,
    reason: String,
    at: Instant,
}

/// The receiver is gone.
struct Unheard;

impl<'a> Follower<'a> {
    fn new(kube: &'a Kube, task: &'a Task, lines_tx: &'a mpsc::Sender<Line>, need_tx: latest::Sender<Need>) -> Self {
        Self {
            kube,
            task,
            lines_tx,
            need_tx,
            pods: BTreeMap::new(),
            ready: HashMap::new(),
            ever: false,
            said: None,
            away: None,
            refused: None,
            nothing: Instant::now(),
        }
    }

    async fn run(
        mut self,
        mut beats_rx: mpsc::Receiver<Beat>,
        mut survey_rx: latest::Receiver<Survey>,
    ) -> Result<(), Error> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stream = self.stream();
        // Pods of a list that is not complete yet.
        let mut listed: Option<BTreeMap<String, KubePod>> = None;
        let mut complete = false;
        loop {
            tokio::select! {
                event = stream.next() => match event {
                    Some(Ok(watcher::Event::Init)) => listed = Some(BTreeMap::new()),
                    Some(Ok(watcher::Event::InitApply(pod))) => {
                        listed.get_or_insert_default().insert(pod.uid().unwrap_or_default(), pod);
                    }
                    Some(Ok(watcher::Event::InitDone)) => {
                        complete = true;
                        self.replace(listed.take().unwrap_or_default());
                    }
                    Some(Ok(watcher::Event::Apply(pod))) => self.apply(pod),
                    Some(Ok(watcher::Event::Delete(pod))) => {
                        // Its last state says why.
                        self.apply(pod.clone());
                        if let Some(known) = self.pods.get_mut(&pod.uid().unwrap_or_default()) {
                            known.deleted = true;
                        }
                        if self.report().await.is_err() {
                            return Ok(());
                        }
                        self.pods.remove(&pod.uid().unwrap_or_default());
                    }
                    Some(Err(error)) => {
                        if let Some(error) = self.refused_watch(error, complete) {
                            return Err(error);
                        }
                    }
                    // The watcher never ends by itself.
                    None => stream = self.stream(),
                },
                Some(beat) = beats_rx.recv() => match beat {
                    Beat::Renewed => {
                        if self.away.take().is_some() {
                            // The watch's own connection may be dead without a word, or waits long to try again.
                            stream = self.stream();
                        }
                    }
                    Beat::Away(since, words) => self.away = Some((since, words)),
                    Beat::Lost => {
                        let _ = self.fail(format!("the task {} was finished elsewhere", self.task.id)).await;
                        return Ok(());
                    }
                },
                Ok(()) = survey_rx.changed() => {}
                _ = tick.tick() => {}
            }
            let survey = survey_rx.borrow_and_update().clone();
            let failed = self.report().await.is_err() || self.say(&survey, complete).await.unwrap_or(true);
            if failed {
                return Ok(());
            }
        }
    }

    fn stream(&self) -> BoxStream<'static, watcher::Result<watcher::Event<KubePod>>> {
        let config = watcher::Config::default().labels(&label(self.task)).timeout(WATCH_S);
        // Only what is looked at is kept; managedFields alone are half of a pod.
        watcher(self.kube.api::<KubePod>(), config)
            .default_backoff()
            .map(|event| event.map(|event| event.modify(|pod| pod.metadata.managed_fields = None)))
            .boxed()
    }

    /// An error of the watch that no time heals.
    fn refused_watch(&mut self, error: watcher::Error, complete: bool) -> Option<Error> {
        let (deed, trouble) = match error {
            watcher::Error::InitialListFailed(error) => ("list pods", Trouble::Api(error)),
            watcher::Error::WatchStartFailed(error) => ("watch pods", Trouble::Api(error)),
            // Begun again by itself; the Lease tells whether the server is away.
            _ => return None,
        };
        // Once it worked, rights and credentials come back, or the user is told by the Lease that does not.
        (!complete && matches!(trouble.code(), 401 | 403)).then(|| self.kube.explain(deed, &trouble))
    }

    fn apply(&mut self, pod: KubePod) {
        let uid = pod.uid().unwrap_or_default();
        match self.pods.get_mut(&uid) {
            Some(known) => known.pod = pod,
            None => drop(self.pods.insert(
                uid,
                Known { pod, since: Instant::now(), state: None, clear: None, told: None, deleted: false },
            )),
        }
    }

    /// A complete list: pods that are not in it are gone.
    fn replace(&mut self, listed: BTreeMap<String, KubePod>) {
        self.pods.retain(|uid, _| listed.contains_key(uid));
        listed.into_values().for_each(|pod| self.apply(pod));
    }

    /// Says which pods came and went since the last time.
    async fn report(&mut self) -> Result<(), Unheard> {
        let mut lines = Vec::new();
        let now = self.kube.clock.now();
        self.ready.retain(|uid, (pod, since)| {
            self.ever |= since.elapsed() >= STEADY;
            let listed = self.pods.get(uid);
            let known = listed.map(|known| &known.pod);
            let gone = match known.map(|known| reasons::phase(known, None)) {
                Some(Phase::Up(up)) if up == *pod => return true,
                // Its jobs are lost when they are, not when somebody says that they may be.
                Some(_) if listed.is_some_and(|l| !l.deleted && reasons::lingers(&l.pod, pod, now)) => return true,
                Some(_) => known.map(reasons::gone),
                None => None,
            };
            let reason = gone.unwrap_or_else(|| "deleted".into());
            lines.push(Line::Gone { pod: pod.clone(), reason });
            false
        });
        for (uid, known) in &self.pods {
            if let Phase::Up(up) = reasons::phase(&known.pod, None)
                && !self.ready.contains_key(uid)
            {
                self.ready.insert(uid.clone(), (up.clone(), Instant::now()));
                lines.push(Line::Ready(up));
            }
        }
        for line in lines {
            self.lines_tx.send(line).await.map_err(|_| Unheard)?;
        }
        Ok(())
    }

    /// Says why pods are missing, if that changed; `true` if that was the end.
    async fn say(&mut self, survey: &Survey, complete: bool) -> Result<bool, Unheard> {
        let away = self.away.as_ref().filter(|(since, _)| since.elapsed() >= AWAY);
        let (words, reason) = match away {
            Some((_, words)) => {
                let cluster = self.kube.at.cluster();
                (words.clone(), format!("{cluster} {words}"))
            }
            // What is known is old, or not all.
            None if self.away.is_some() || !complete => return Ok(false),
            None if survey.deleted && self.need_tx.borrow().short => {
                return self.fail(format!("the task {} was finished elsewhere", self.task.id)).await;
            }
            None => {
                let missing = self.missing(survey);
                match reasons::verdict(&missing) {
                    Verdict::Fine => {
                        self.said = None;
                        return Ok(false);
                    }
                    Verdict::Wait(words) => {
                        let reason = format!("{}: {words}", missing.count());
                        (words, reason)
                    }
                    Verdict::Fail(words) => return self.fail(words).await,
                }
            }
        };
        // The count alone is worth a line now and then.
        let same = |said: &Said| said.words == words && (said.reason == reason || said.at.elapsed() < COUNT);
        if self.said.as_ref().is_some_and(same) {
            return Ok(false);
        }
        self.said = Some(Said { words, reason: reason.clone(), at: Instant::now() });
        self.lines_tx.send(Line::Waiting { reason }).await.map_err(|_| Unheard)?;
        Ok(false)
    }

    async fn fail(&self, reason: String) -> Result<bool, Unheard> {
        self.lines_tx.send(Line::Failed { reason }).await.map_err(|_| Unheard)?;
        Ok(true)
    }

    /// What is missing, and for how long.
    fn missing(&mut self, survey: &Survey) -> Missing {
        let now = Instant::now();
        let mut need = Need::default();
        let mut coming = Vec::new();
        for known in self.pods.values_mut() {
            let Phase::Coming(mut why) = reasons::phase(&known.pod, survey.nodes.as_deref()) else { continue };
            if why.vague {
                why = known.clear.clone().unwrap_or(why);
            } else if !why.ordinary {
                known.clear = Some(why.clone());
            }
            let name = known.pod.name_any();
            need.unscheduled |= why.unscheduled;
            known.told = known.told.take().filter(|_| why.ordinary);
            if let Some(told) = &known.told {
                why = told.clone();
            } else {
                if (why.unscheduled || why.ordinary) && need.stuck.len() < MOST_STUCK {
                    need.stuck.push(name.clone());
                }
                if let Some(events) = survey.events.get(&name) {
                    let was_ordinary = why.ordinary;
                    why = reasons::better(why, &known.pod, events);
                    if was_ordinary && why.patience.is_some() {
                        // It stays so until the status says more, and the next of many pods are asked for theirs.
                        known.told = Some(why.clone());
                        if !why.vague {
                            known.clear = Some(why.clone());
                        }
                    }
                }
            }
            // Words may change with each try (a port number); what they come to does not.
            let state = Some((why.patience, why.ordinary));
            if known.state != state {
                known.state = state;
                known.since = now;
            }
            coming.push((why, now - known.since));
        }
        let wanted = survey.wanted.unwrap_or(self.task.pods as usize);
        let up = self.ready.len();
        need.short = up < wanted;
        let lacking = up + coming.len() < wanted;
        let refused = survey.refused.clone().filter(|_| lacking);
        let refused = match refused {
            Some(why) => Some((why, now - *self.refused.get_or_insert(now))),
            None => {
                self.refused = None;
                None
            }
        };
        if !need.short || !coming.is_empty() || refused.is_some() || !survey.taken {
            self.nothing = now;
        }
        let nothing = now - self.nothing;
        self.need_tx.send_if_modified(|last| {
            let changed = *last != need;
            *last = need;
            changed
        });
        Missing { wanted, up, coming, refused, nothing, ever: self.ever }
    }
}

/// The selector of a task's pods.
pub(super) fn label(task: &Task) -> String {
    format!("{}={}", names::LABEL_TASK, task.id)
}
