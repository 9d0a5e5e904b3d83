//! Random operations, compared with a model.
#![allow(missing_docs, reason = "the name of a case says it")]

use super::model::Model;
use super::{Backend, Session};
use crate::error::{Error, Result};
use crate::node::{Attributes, Kind, Name, NodeId, SetAttributes};
use crate::vfs::{Create, New, SetXattr, Stable, Vfs};
use bytes::Bytes;
use fastrand::Rng;
use std::collections::{HashSet, VecDeque};
use std::env;

/// A seed to run alone: the one that a failure has printed.
const SEED: &str = "WOMM_VFS_SEED";
/// Of each seed.
const OPERATIONS: usize = 2000;
/// From one comparison of everything to the next.
const BETWEEN: usize = 20;
/// Above it, nothing is made.
const MOST_NODES: usize = 40;
/// Offsets and sizes stay below it.
const MOST_BYTES: usize = 20_000;

pub async fn operations_are_as_the_model_says<B: Backend>() {
    let seeds = match env::var(SEED) {
        Ok(seed) => vec![seed.parse().expect("a seed is a number")],
        Err(_) => vec![1, 2, fastrand::u64(..)],
    };
    for seed in seeds {
        eprintln!("{SEED}={seed}");
        let mut run = Run::<B>::new(Session::fresh(), seed);
        for step in 1..=OPERATIONS {
            run.step().await;
            if step % BETWEEN == 0 {
                run.compare_all().await;
            }
        }
    }
}

/// One seed's.
pub(super) struct Run<B: Backend> {
    pub(super) session: Session<B>,
    pub(super) model: Model,
    rng: Rng,
    /// The number of each node of the model.
    pub(super) ids: Vec<NodeId>,
    /// The change counter that was seen last.
    pub(super) changes: Vec<u64>,
    /// The nodes that the last operation changed.
    pub(super) changed: HashSet<usize>,
    names: Vec<Name>,
    log: Log,
}

/// The last operations, shown when one fails.
struct Log(VecDeque<String>);

impl Log {
    fn add(&mut self, what: String) {
        self.0.push_back(what);
        if self.0.len() > 60 {
            self.0.pop_front();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

impl<B: Backend> Run<B> {
    pub(super) fn new(session: Session<B>, seed: u64) -> Self {
        let long = vec![b'n'; 255];
        let names = [&b"a"[..], b"b", b"c.txt", b"\xff\x80", b"e e", &long];
        let names = names.map(|name| Name::new(name.to_vec()).expect("a good name")).to_vec();
        let ids = vec![session.root()];
        Self {
            session,
            model: Model::new(),
            rng: Rng::with_seed(seed),
            ids,
            changes: vec![0],
            changed: HashSet::new(),
            names,
            log: Log(VecDeque::new()),
        }
    }

    /// A node that is there; now and then one that is gone, or of the wrong kind.
    fn pick(&mut self, kind: Kind) -> usize {
        if self.rng.usize(..20) == 0 {
            return self.rng.usize(..self.ids.len());
        }
        let mut there = self.model.there();
        there.retain(|node| self.model.nodes[*node].kind == kind || self.rng.usize(..20) == 0);
        self.rng.choice(there).unwrap_or(0)
    }

    fn name(&mut self) -> Name {
        self.rng.choice(&self.names).cloned().expect("there are names")
    }

    fn place(&mut self) -> (usize, Name) {
        (self.pick(Kind::Folder), self.name())
    }

    pub(super) async fn step(&mut self) {
        self.model.changed.clear();
        match self.rng.usize(..100) {
            0..22 => self.create().await,
            22..32 => self.remove().await,
            32..44 => self.rename().await,
            44..50 => self.link().await,
            50..62 => self.write().await,
            62..68 => self.read().await,
            68..76 => self.setattr().await,
            76..82 => self.open_or_close().await,
            82..86 => self.room().await,
            86..92 => self.xattr().await,
            92..97 => self.lookup().await,
            97 => self.restart().await,
            _ => self.sync().await,
        }
        self.compare_changed().await;
    }

    async fn create(&mut self) {
        let (folder, name) = self.place();
        let full = self.model.there().len() >= MOST_NODES;
        let set = SetAttributes {
            mode: self.rng.bool().then(|| self.rng.u32(..0o10000)),
            size: None,
            ..SetAttributes::default()
        };
        let sized = SetAttributes { size: self.rng.bool().then(|| self.rng.u64(..100)), ..set.clone() };
        let new = match self.rng.usize(..10) {
            0..2 => New::File { mode: Create::Unchecked, set: sized },
            2..4 => New::File { mode: Create::Guarded, set: sized },
            4..6 => New::File { mode: Create::Exclusive([self.rng.u8(..3); 8]), set },
            6..9 => New::Folder { set },
            _ => New::Symlink { target: Bytes::from(format!("../{}", self.rng.u8(..))) },
        };
        if full && self.model.lookup(folder, &name).is_err() {
            return;
        }
        self.log.add(format!("create {folder} {name:?} {new:?}"));
        let expected = self.model.create(folder, &name, &new);
        let got = self.session.vfs().create(&self.session.cx(), self.ids[folder], &name, &new).await;
        match (expected, got) {
            (Ok((node, fresh)), Ok(made)) => {
                assert_eq!(made.new, fresh);
                if fresh {
                    assert!(!self.ids.contains(&made.attributes.id), "a number was given again");
                    self.ids.push(made.attributes.id);
                    self.changes.push(0);
                }
                self.check(node, &made.attributes);
            }
            (expected, got) => same(expected.map(drop), got.map(drop)),
        }
    }

    async fn remove(&mut self) {
        let (folder, name) = self.place();
        self.log.add(format!("remove {folder} {name:?}"));
        let expected = self.model.remove(folder, &name);
        same(expected, self.session.vfs().remove(&self.session.cx(), self.ids[folder], &name).await.map(drop));
    }

    async fn rename(&mut self) {
        let ((from, old), (to, new)) = (self.place(), self.place());
        self.log.add(format!("rename {from} {old:?} to {to} {new:?}"));
        let expected = self.model.rename((from, &old), (to, &new));
        let (from, to) = ((self.ids[from], &old), (self.ids[to], &new));
        same(expected, self.session.vfs().rename(&self.session.cx(), from, to).await.map(drop));
    }

    async fn link(&mut self) {
        let node = self.pick(Kind::File);
        let (folder, name) = self.place();
        self.log.add(format!("link {node} to {folder} {name:?}"));
        let expected = self.model.link(node, folder, &name);
        let (node, folder) = (self.ids[node], self.ids[folder]);
        same(expected, self.session.vfs().link(&self.session.cx(), node, folder, &name).await.map(drop));
    }

    async fn write(&mut self) {
        let node = self.pick(Kind::File);
        let (offset, length) = (self.rng.usize(..MOST_BYTES), self.rng.usize(1..300));
        let data = vec![self.rng.u8(1..); length];
        self.log.add(format!("write {node} at {offset}: {length} times {}", data[0]));
        let expected = self.model.write(node, offset, &data);
        let stable = if self.rng.usize(..50) == 0 { Stable::File } else { Stable::Unstable };
        let (vfs, cx) = (self.session.vfs(), self.session.cx());
        same(expected, vfs.write(&cx, self.ids[node], offset as u64, data.into(), stable).await.map(drop));
    }

    async fn read(&mut self) {
        let node = self.pick(Kind::File);
        let (offset, count) = (self.rng.usize(..MOST_BYTES), self.rng.usize(1..MOST_BYTES));
        self.log.add(format!("read {node} at {offset}: {count}"));
        let expected = self.model.read(node, offset, count);
        let got = self.session.vfs().read(&self.session.cx(), self.ids[node], offset as u64, count as u32).await;
        assert_eq!(expected.is_ok(), got.is_ok(), "{expected:?}, {got:?}");
        if let (Ok(expected), Ok(got)) = (expected, got) {
            assert!(expected == got.data, "content differs");
            assert_eq!(got.end, offset + count >= self.model.nodes[node].content.len());
        }
    }

    async fn setattr(&mut self) {
        let kind = if self.rng.bool() { Kind::File } else { Kind::Folder };
        let node = self.pick(kind);
        let sized = kind == Kind::File && self.rng.bool();
        let set = SetAttributes {
            mode: self.rng.bool().then(|| self.rng.u32(..0o10000)),
            size: sized.then(|| self.rng.u64(..MOST_BYTES as u64)),
            ..SetAttributes::default()
        };
        if set == SetAttributes::default() {
            return;
        }
        self.log.add(format!("setattr {node} {set:?}"));
        let expected = self.model.setattr(node, &set);
        let got = self.session.setattr(self.ids[node], set).await;
        if let Ok(attributes) = &got {
            self.check(node, attributes);
        }
        same(expected, got.map(drop));
    }

    async fn open_or_close(&mut self) {
        let open = self.model.there().into_iter().filter(|node| self.model.nodes[*node].opens > 0);
        if let Some(node) = self.rng.choice(open.collect::<Vec<_>>()).filter(|_| self.rng.bool()) {
            self.log.add(format!("close {node}"));
            self.model.close(node);
            self.session.vfs().close(self.ids[node]);
        } else {
            let node = self.pick(Kind::File);
            self.log.add(format!("open {node}"));
            let expected = self.model.open(node);
            same(expected, self.session.vfs().open(&self.session.cx(), self.ids[node]).await);
        }
    }

    async fn room(&mut self) {
        let node = self.pick(Kind::File);
        let (offset, length) = (self.rng.usize(..MOST_BYTES), self.rng.usize(1..9000));
        let (vfs, cx) = (self.session.vfs(), self.session.cx());
        let (id, from, bytes) = (self.ids[node], offset as u64, length as u64);
        if self.rng.bool() {
            self.log.add(format!("allocate {node} at {offset}: {length}"));
            same(self.model.allocate(node, offset, length), vfs.allocate(&cx, id, from, bytes).await);
        } else {
            self.log.add(format!("deallocate {node} at {offset}: {length}"));
            same(self.model.deallocate(node, offset, length), vfs.deallocate(&cx, id, from, bytes).await);
        }
    }

    async fn xattr(&mut self) {
        let kind = if self.rng.bool() { Kind::File } else { Kind::Folder };
        let node = self.pick(kind);
        let name = [b'a' + self.rng.u8(..3)];
        let (vfs, cx, id) = (self.session.vfs(), self.session.cx(), self.ids[node]);
        if self.rng.usize(..3) == 0 {
            self.log.add(format!("removexattr {node} {name:?}"));
            same(self.model.removexattr(node, &name), vfs.removexattr(&cx, id, &name).await.map(drop));
        } else {
            let value = vec![self.rng.u8(..); self.rng.usize(..50)];
            let how = self.rng.choice([SetXattr::Either, SetXattr::Create, SetXattr::Replace]).expect("there are some");
            self.log.add(format!("setxattr {node} {name:?} {how:?}"));
            let expected = self.model.setxattr(node, &name, &value, how);
            same(expected, vfs.setxattr(&cx, id, &name, value.into(), how).await.map(drop));
        }
    }

    async fn lookup(&mut self) {
        let (folder, name) = self.place();
        self.log.add(format!("lookup {folder} {name:?}"));
        let expected = self.model.lookup(folder, &name);
        let got = self.session.lookup_name(self.ids[folder], &name).await;
        if let (Ok(node), Ok(attributes)) = (&expected, &got) {
            self.check(*node, attributes);
        }
        same(expected.map(drop), got.map(drop));
    }

    /// All opens that are held are held again, but now and then one.
    async fn restart(&mut self) {
        self.compare_all().await;
        let mut opens = vec![];
        for node in self.model.there() {
            if self.model.nodes[node].opens > 0 && self.rng.usize(..5) == 0 {
                self.model.nodes[node].opens = 0;
            }
            opens.extend(std::iter::repeat_n(self.ids[node], self.model.nodes[node].opens as usize));
        }
        self.log.add("restart".to_owned());
        self.session.restart_with(&opens);
        self.compare_all().await;
    }

    async fn sync(&mut self) {
        let node = self.pick(Kind::File);
        self.log.add(format!("commit {node}"));
        let expected = self.model.read(node, 0, 0).map(drop);
        same(expected, self.session.vfs().commit(&self.session.cx(), self.ids[node]).await);
    }

    /// What the operation changed has a new counter.
    async fn compare_changed(&mut self) {
        self.changed = self.model.changed.iter().copied().collect();
        for node in self.changed.iter().copied() {
            if let Ok(attributes) = self.session.getattr(self.ids[node]).await {
                assert!(attributes.change > self.changes[node], "{node} changed, its counter did not");
                self.changes[node] = attributes.change;
            }
        }
    }

    pub(super) async fn compare_all(&mut self) {
        self.compare_but(&HashSet::new()).await;
    }

    /// All but these.
    pub(super) async fn compare_but(&mut self, but: &HashSet<usize>) {
        let mut seen = HashSet::new();
        for node in (0..self.ids.len()).filter(|node| !but.contains(node)) {
            let got = self.session.getattr(self.ids[node]).await;
            if self.model.node(node).is_err() {
                assert_eq!(got, Err(Error::Stale), "{node} is gone");
                continue;
            }
            let attributes = got.unwrap_or_else(|error| panic!("{node} is there, but: {error}"));
            assert!(seen.insert(attributes.id));
            self.check(node, &attributes);
            assert!(attributes.change >= self.changes[node], "{node}: its counter went back");
            self.changes[node] = attributes.change;
            self.compare_inside(node).await;
        }
    }

    async fn compare_inside(&mut self, node: usize) {
        let (vfs, cx, id) = (self.session.vfs(), self.session.cx(), self.ids[node]);
        let model = &self.model.nodes[node];
        match model.kind {
            Kind::File => {
                let content = self.session.content(id).await.expect("a file is read");
                assert!(content == model.content, "{node}: its content differs");
            }
            Kind::Symlink => assert_eq!(vfs.readlink(&cx, id).await.expect("a symlink is read"), model.target),
            Kind::Folder => {
                let at_once = self.rng.usize(1..8);
                let entries = self.session.entries(id, at_once).await;
                assert!(entries.is_sorted_by(|a, b| a.cookie < b.cookie));
                let mut listed: Vec<_> = entries.into_iter().map(|entry| (entry.name, entry.attributes.id)).collect();
                listed.sort();
                let expected: Vec<_> =
                    model.entries.iter().map(|(name, node)| (name.clone(), self.ids[*node])).collect();
                assert_eq!(listed, expected, "{node}: its entries differ");
                if node != 0 {
                    assert_eq!(vfs.parent(&cx, id).await.expect("it has a parent").id, self.ids[model.parent]);
                }
            }
        }
        if model.kind != Kind::Symlink {
            let expected: Vec<&[u8]> = model.xattrs.keys().map(Vec::as_slice).collect();
            assert_eq!(vfs.listxattr(&cx, id).await.expect("attributes are listed"), expected);
            for (name, value) in &model.xattrs {
                assert_eq!(vfs.getxattr(&cx, id, name).await.expect("it is there"), value);
            }
        }
    }

    fn check(&self, node: usize, got: &Attributes) {
        let model = &self.model.nodes[node];
        assert_eq!(got.id, self.ids[node]);
        assert_eq!((got.kind, got.mode), (model.kind, model.mode), "{node}");
        if model.kind != Kind::Folder {
            let size = model.content.len().max(model.target.len()) as u64;
            assert_eq!((got.size, got.links), (size, model.links), "{node}");
        }
    }
}

fn same(expected: Result<()>, got: Result<()>) {
    assert_eq!(got, expected);
}
