//! Which number is which file.

use crate::database::{Database, failed, kind_number};
use crate::hash::ByNumbers;
use crate::node::{Mode, Node, Note};
use crate::seen::{Identity, Seen};
use rusqlite::{ErrorCode, OptionalExtension, params};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use womm_vfs::{Attributes, Error, Kind, Name, NodeId, Result};

pub(crate) const ROOT: NodeId = NodeId(1);

/// Nodes kept in memory; beyond it, those that are neither open nor ahead of the disk are read again when they are needed.
const MOST: usize = 1 << 18;

/// Rows that are deleted together.
const AT_ONCE: usize = 256;

/// Of a row with an identity that another one has.
const TAKEN: Error = Error::Errno(Errno::EXIST);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS nodes (
        id INTEGER PRIMARY KEY,
        device INTEGER NOT NULL, inode INTEGER NOT NULL, born INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        folder INTEGER NOT NULL, name BLOB NOT NULL,
        told INTEGER, disk INTEGER,
        verifier BLOB,
        change INTEGER NOT NULL DEFAULT 0,
        ahead INTEGER NOT NULL DEFAULT 0,
        unlinked INTEGER NOT NULL DEFAULT 0
    );
    CREATE UNIQUE INDEX IF NOT EXISTS nodes_by_identity ON nodes (inode, born, device);
    CREATE INDEX IF NOT EXISTS nodes_ahead ON nodes (id) WHERE ahead;
    CREATE INDEX IF NOT EXISTS nodes_unlinked ON nodes (id) WHERE unlinked;
    CREATE TABLE IF NOT EXISTS names (
        node INTEGER NOT NULL, folder INTEGER NOT NULL, name BLOB NOT NULL, PRIMARY KEY (node, folder, name)
    ) WITHOUT ROWID;
    CREATE TRIGGER IF NOT EXISTS nodes_gone AFTER DELETE ON nodes BEGIN
        DELETE FROM names WHERE node = OLD.id;
    END;
    CREATE TABLE IF NOT EXISTS intents (
        folder INTEGER NOT NULL, name BLOB NOT NULL, verifier BLOB NOT NULL, PRIMARY KEY (folder, name)
    ) WITHOUT ROWID;";

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) database: Database,
    nodes: HashMap<NodeId, Node, ByNumbers>,
    ids: HashMap<Identity, NodeId, ByNumbers>,
    /// Nodes that are gone, with rows that are still to be deleted: to delete many costs little more than one. What a SIGKILL leaves
    /// of them harms nobody, as no identity comes twice where there are births.
    gone: HashSet<NodeId, ByNumbers>,
}

fn kind_of(number: i64) -> Kind {
    match number {
        0 => Kind::File,
        1 => Kind::Folder,
        _ => Kind::Symlink,
    }
}

impl Table {
    pub(crate) fn open(state: &std::path::Path, now: u64) -> std::result::Result<Self, crate::OpenError> {
        let database = Database::open(state, "in place", SCHEMA)?;
        let table = Self { database, nodes: HashMap::default(), ids: HashMap::default(), gone: HashSet::default() };
        if table.database.was_killed {
            // What was told last is not known; it was less than this.
            let sql = "UPDATE nodes SET change = MAX(change + 1, ?1) WHERE ahead";
            let made = table.database.connection.execute(sql, [now.cast_signed()]);
            made.map_err(|error| crate::OpenError::Table { path: state.to_owned(), error })?;
        }
        Ok(table)
    }

    /// The root is there whatever it is.
    pub(crate) fn put_root(&mut self, identity: Identity, name: Name) -> Result<()> {
        let known = self.get(ROOT).map(|root| root.identity);
        if known != Ok(identity) {
            self.forget(ROOT)?;
            if let Some(below) = self.find(identity)? {
                self.forget(below)?; // of a folder above it, which the state folder was of before
            }
            self.insert(ROOT, identity, Kind::Folder, ROOT, &name, &Note::default())?;
        }
        Ok(())
    }

    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize> {
        self.try_to(sql, params).map_err(failed)
    }

    fn try_to(&self, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<usize> {
        let done = self.database.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(params));
        self.database.committed();
        done
    }

    /// Many changes at the price of one.
    pub(crate) fn together<T>(&mut self, what: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.execute("BEGIN", [])?;
        let done = what(self);
        if done.is_ok() {
            self.execute("COMMIT", [])?;
        } else {
            self.execute("ROLLBACK", [])?;
            self.keep_the_held();
        }
        done
    }

    pub(crate) fn get(&mut self, id: NodeId) -> Result<&mut Node> {
        if !self.nodes.contains_key(&id) {
            if self.gone.contains(&id) {
                return Err(Error::Stale);
            }
            let sql = "SELECT device, inode, born, kind, folder, name, told, disk, verifier, change, ahead, unlinked
                       FROM nodes WHERE id = ?1";
            let read = |row: &rusqlite::Row<'_>| {
                let name: Vec<u8> = row.get(5)?;
                let mode: (Option<u32>, Option<u32>) = (row.get(6)?, row.get(7)?);
                Ok(Node {
                    identity: Identity {
                        device: row.get::<_, i64>(0)?.cast_unsigned(),
                        inode: row.get::<_, i64>(1)?.cast_unsigned(),
                        born: row.get::<_, i64>(2)?.cast_unsigned(),
                    },
                    kind: kind_of(row.get(3)?),
                    folder: NodeId(row.get::<_, i64>(4)?.cast_unsigned()),
                    name: Name::new(name).map_err(|_| rusqlite::Error::InvalidQuery)?,
                    mode: mode.0.zip(mode.1).map(|(told, disk)| Mode { told, disk }),
                    verifier: row.get(8)?,
                    opens: 0,
                    change: row.get::<_, i64>(9)?.cast_unsigned(),
                    ahead: row.get(10)?,
                    unlinked: row.get(11)?,
                })
            };
            let connection = &self.database.connection;
            let mut statement = connection.prepare_cached(sql).map_err(failed)?;
            let node = statement.query_row([id.0.cast_signed()], read).optional().map_err(failed)?;
            drop(statement);
            self.keep(id, node.ok_or(Error::Stale)?);
        }
        self.nodes.get_mut(&id).ok_or(Error::Stale)
    }

    fn keep(&mut self, id: NodeId, node: Node) {
        if self.nodes.len() >= MOST {
            self.keep_the_held();
        }
        self.ids.insert(node.identity, id);
        self.nodes.insert(id, node);
    }

    /// All others are read again when they are needed.
    fn keep_the_held(&mut self) {
        self.nodes.retain(|_, node| node.opens > 0 || node.ahead);
        self.ids = self.nodes.iter().map(|(id, node)| (node.identity, *id)).collect();
    }

    pub(crate) fn find(&mut self, identity: Identity) -> Result<Option<NodeId>> {
        if let Some(id) = self.ids.get(&identity) {
            return Ok(Some(*id));
        }
        let found = self.row_of(identity)?.filter(|id| !self.gone.contains(id));
        if let Some(id) = found {
            self.get(id)?;
        }
        Ok(found)
    }

    fn row_of(&self, identity: Identity) -> Result<Option<NodeId>> {
        let sql = "SELECT id FROM nodes WHERE inode = ?1 AND born = ?2 AND device = ?3";
        let mut statement = self.database.connection.prepare_cached(sql).map_err(failed)?;
        let found = statement.query_row(columns(identity), |row| row.get::<_, i64>(0)).optional().map_err(failed)?;
        Ok(found.map(|id| NodeId(id.cast_unsigned())))
    }

    /// The number of what was seen at a name: a new one if it has none.
    pub(crate) fn at(
        &mut self,
        identity: Identity,
        kind: Kind,
        links: u32,
        folder: NodeId,
        name: &Name,
    ) -> Result<NodeId> {
        let Some(id) = self.find(identity)? else {
            return self.add(identity, kind, folder, name, &Note::default());
        };
        let node = self.get(id)?;
        if node.folder != folder || node.name != *name {
            if links > 1 && kind != Kind::Folder {
                self.add_name(id, folder, name)?;
            } else {
                self.moved(id, folder, name)?;
            }
        }
        Ok(id)
    }

    /// What is shown of what was seen at a name, if it was seen there before and is in memory.
    pub(crate) fn known(&mut self, folder: NodeId, name: &Name, identity: Identity, seen: &Seen) -> Option<Attributes> {
        let id = *self.ids.get(&identity)?;
        let node = self.nodes.get_mut(&id)?;
        (node.folder == folder && node.name == *name).then(|| node.attributes(id, seen))
    }

    pub(crate) fn add(
        &mut self,
        identity: Identity,
        kind: Kind,
        folder: NodeId,
        name: &Name,
        note: &Note,
    ) -> Result<NodeId> {
        let id = NodeId(self.database.number().map_err(failed)?);
        self.insert(id, identity, kind, folder, name, note)?;
        Ok(id)
    }

    /// The same of what was just made. If a node has this identity, it is gone, and told: a disk without births gives inode numbers
    /// again.
    pub(crate) fn add_made(
        &mut self,
        identity: Identity,
        kind: Kind,
        folder: NodeId,
        name: &Name,
        note: &Note,
    ) -> Result<(NodeId, Option<NodeId>)> {
        match self.add(identity, kind, folder, name, note) {
            Err(TAKEN) => {}
            made => return Ok((made?, None)),
        }
        let before = self.find(identity)?;
        if let Some(before) = before {
            self.forget(before)?;
        }
        Ok((self.add(identity, kind, folder, name, note)?, before))
    }

    fn insert(
        &mut self,
        id: NodeId,
        identity: Identity,
        kind: Kind,
        folder: NodeId,
        name: &Name,
        note: &Note,
    ) -> Result<()> {
        let mode = note.mode.filter(|mode| mode.told != mode.disk);
        let node = Node {
            identity,
            kind,
            folder,
            name: name.clone(),
            mode,
            verifier: note.verifier,
            opens: 0,
            unlinked: false,
            change: 0,
            ahead: false,
        };
        match self.insert_row(id, &node) {
            Err(TAKEN) if self.delete_gone_row_of(identity)? => self.insert_row(id, &node)?,
            inserted => inserted?,
        }
        self.keep(id, node);
        Ok(())
    }

    fn insert_row(&self, id: NodeId, node: &Node) -> Result<()> {
        let (inode, born, device) = columns(node.identity);
        self.try_to(
            "INSERT INTO nodes (id, device, inode, born, kind, folder, name, told, disk, verifier)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                id.0.cast_signed(),
                device,
                inode,
                born,
                kind_number(node.kind),
                node.folder.0.cast_signed(),
                node.name.as_bytes(),
                node.mode.map(|mode| mode.told),
                node.mode.map(|mode| mode.disk),
                node.verifier,
            ],
        )
        .map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => TAKEN,
            _ => failed(error),
        })
        .map(drop)
    }

    pub(crate) fn moved(&mut self, id: NodeId, folder: NodeId, name: &Name) -> Result<()> {
        let sql = "UPDATE nodes SET folder = ?2, name = ?3 WHERE id = ?1";
        self.execute(sql, params![id.0.cast_signed(), folder.0.cast_signed(), name.as_bytes()])?;
        let node = self.get(id)?;
        (node.folder, node.name) = (folder, name.clone());
        Ok(())
    }

    pub(crate) fn add_name(&self, id: NodeId, folder: NodeId, name: &Name) -> Result<()> {
        let sql = "INSERT OR IGNORE INTO names VALUES (?1, ?2, ?3)";
        self.execute(sql, params![id.0.cast_signed(), folder.0.cast_signed(), name.as_bytes()]).map(drop)
    }

    pub(crate) fn drop_name(&self, id: NodeId, folder: NodeId, name: &Name) -> Result<()> {
        let sql = "DELETE FROM names WHERE node = ?1 AND folder = ?2 AND name = ?3";
        self.execute(sql, params![id.0.cast_signed(), folder.0.cast_signed(), name.as_bytes()]).map(drop)
    }

    /// Further names under which it was seen.
    pub(crate) fn names(&self, id: NodeId) -> Result<Vec<(NodeId, Name)>> {
        let sql = "SELECT folder, name FROM names WHERE node = ?1";
        let mut statement = self.database.connection.prepare_cached(sql).map_err(failed)?;
        let rows = statement
            .query_map([id.0.cast_signed()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))
            .map_err(failed)?;
        rows.map(|row| {
            let (folder, name) = row.map_err(failed)?;
            Ok((NodeId(folder.cast_unsigned()), Name::new(name)?))
        })
        .collect()
    }

    /// It is gone for good.
    pub(crate) fn forget(&mut self, id: NodeId) -> Result<()> {
        if let Some(node) = self.nodes.remove(&id) {
            self.ids.remove(&node.identity);
        }
        self.delete(id)
    }

    /// The same: its row is deleted with others.
    pub(crate) fn forget_later(&mut self, id: NodeId) -> Result<()> {
        let identity = self.get(id)?.identity;
        if identity.born == 0 {
            return self.forget(id);
        }
        self.nodes.remove(&id);
        self.ids.remove(&identity);
        self.gone.insert(id);
        if self.gone.len().is_multiple_of(AT_ONCE) {
            let _next_time = self.delete_gone(); // on a full disk
        }
        Ok(())
    }

    fn delete_gone(&mut self) -> Result<()> {
        let gone = std::mem::take(&mut self.gone);
        let deleted = self.together(|table| gone.iter().try_for_each(|id| table.delete(*id)));
        if deleted.is_err() {
            self.gone = gone;
        }
        deleted
    }

    /// It stays among the gone, should this be taken back.
    fn delete_gone_row_of(&self, identity: Identity) -> Result<bool> {
        match self.row_of(identity)? {
            Some(id) if self.gone.contains(&id) => self.delete(id).map(|()| true),
            _ => Ok(false),
        }
    }

    fn delete(&self, id: NodeId) -> Result<()> {
        self.execute("DELETE FROM nodes WHERE id = ?1", [id.0.cast_signed()]).map(drop)
    }

    pub(crate) fn set_mode(&mut self, id: NodeId, mode: Mode) -> Result<()> {
        let differs = Some(mode).filter(|mode| mode.told != mode.disk);
        if self.get(id)?.mode != differs {
            let (told, disk) = (differs.map(|mode| mode.told), differs.map(|mode| mode.disk));
            let sql = "UPDATE nodes SET told = ?2, disk = ?3 WHERE id = ?1";
            self.execute(sql, params![id.0.cast_signed(), told, disk])?;
            self.get(id)?.mode = differs;
        }
        Ok(())
    }

    pub(crate) fn set_unlinked(&mut self, id: NodeId, unlinked: bool) -> Result<()> {
        self.execute("UPDATE nodes SET unlinked = ?2 WHERE id = ?1", params![id.0.cast_signed(), unlinked])?;
        self.get(id)?.unlinked = unlinked;
        Ok(())
    }

    /// All that have no name, but content.
    pub(crate) fn unlinked(&self) -> Result<Vec<NodeId>> {
        let sql = "SELECT id FROM nodes WHERE unlinked";
        let mut statement = self.database.connection.prepare_cached(sql).map_err(failed)?;
        let ids = statement.query_map([], |row| row.get::<_, i64>(0)).map_err(failed)?;
        ids.map(|id| Ok(NodeId(id.map_err(failed)?.cast_unsigned()))).collect()
    }

    /// An exclusive create is about to be made.
    pub(crate) fn intend(&self, folder: NodeId, name: &Name, verifier: [u8; 8]) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO intents VALUES (?1, ?2, ?3)";
        self.execute(sql, params![folder.0.cast_signed(), name.as_bytes(), verifier]).map(drop)
    }

    pub(crate) fn intended(&self, folder: NodeId, name: &Name) -> Result<()> {
        let sql = "DELETE FROM intents WHERE folder = ?1 AND name = ?2";
        self.execute(sql, params![folder.0.cast_signed(), name.as_bytes()]).map(drop)
    }

    pub(crate) fn intents(&self) -> Result<Vec<(NodeId, Name, [u8; 8])>> {
        let sql = "SELECT folder, name, verifier FROM intents";
        let mut statement = self.database.connection.prepare_cached(sql).map_err(failed)?;
        let rows = statement
            .query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get(2)?)))
            .map_err(failed)?;
        rows.map(|row| {
            let (folder, name, verifier) = row.map_err(failed)?;
            Ok((NodeId(folder.cast_unsigned()), Name::new(name)?, verifier))
        })
        .collect()
    }

    /// What is shown of what was seen.
    pub(crate) fn attributes(&mut self, id: NodeId, seen: &Seen) -> Result<Attributes> {
        Ok(self.get(id)?.attributes(id, seen))
    }

    /// We changed it: its counter grows, even if the disk's clock is too coarse to tell.
    pub(crate) fn bump(&mut self, id: NodeId, seen: &Seen) -> Result<u64> {
        let node = self.get(id)?;
        node.change = seen.change().max(node.change + 1);
        let (change, is_news) = (node.change, node.change > seen.change() && !node.ahead);
        node.ahead |= is_news;
        if is_news {
            let sql = "UPDATE nodes SET ahead = 1, change = ?2 WHERE id = ?1";
            self.execute(sql, params![id.0.cast_signed(), change.cast_signed()])?;
        }
        Ok(change)
    }

    /// Notes all that is ahead of the disk, and what is gone.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.delete_gone()?;
        let ahead: Vec<_> =
            self.nodes.iter().filter(|(_, node)| node.ahead).map(|(id, node)| (*id, node.change)).collect();
        self.together(|table| {
            for (id, change) in ahead {
                let sql = "UPDATE nodes SET change = ?2 WHERE id = ?1";
                table.execute(sql, params![id.0.cast_signed(), change.cast_signed()])?;
            }
            Ok(())
        })?;
        self.database.end();
        Ok(())
    }
}

fn columns(identity: Identity) -> (i64, i64, i64) {
    (identity.inode.cast_signed(), identity.born.cast_signed(), identity.device.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text.to_owned()).unwrap()
    }

    #[test]
    fn what_was_made_is_no_other_node() {
        let state = tempfile::tempdir().unwrap();
        let mut table = Table::open(state.path(), 0).unwrap();
        let identity = Identity { device: 0, inode: 5, born: 0 };
        let mut make = |text| table.add_made(identity, Kind::File, ROOT, &name(text), &Note::default()).unwrap();
        let (first, second) = (make("first"), make("second"));
        assert_eq!((first.1, second.1), (None, Some(first.0)));
        assert_eq!(table.find(identity), Ok(Some(second.0)));
        assert_eq!(table.get(first.0).map(drop), Err(Error::Stale));
        // A folder that was below another one's root becomes a root.
        table.put_root(identity, name("root")).unwrap();
        assert_eq!(table.find(identity), Ok(Some(ROOT)));
        assert_eq!(table.get(second.0).map(drop), Err(Error::Stale));
        // And the other way round.
        table.put_root(Identity { inode: 6, ..identity }, name("root")).unwrap();
        assert_eq!(table.find(identity), Ok(None));
    }

    #[test]
    fn rows_of_what_is_gone_are_deleted_together() {
        let state = tempfile::tempdir().unwrap();
        let rows = |table: &Table| {
            let count = "SELECT COUNT(*) FROM nodes";
            table.database.connection.query_row(count, [], |row| row.get::<_, u32>(0)).unwrap() as usize
        };
        let mut table = Table::open(state.path(), 0).unwrap();
        let identity = |inode| Identity { device: 0, inode, born: 1 };
        let make = |table: &mut Table, inode| {
            table.add(identity(inode), Kind::File, ROOT, &name("file"), &Note::default()).unwrap()
        };
        let ids: Vec<NodeId> = (0..AT_ONCE as u64).map(|inode| make(&mut table, inode)).collect();
        let (last, others) = ids.split_last().unwrap();
        others.iter().for_each(|id| table.forget_later(*id).unwrap());
        assert_eq!(rows(&table), AT_ONCE);
        for (inode, id) in others.iter().enumerate() {
            assert_eq!((table.find(identity(inode as u64)), table.get(*id).map(drop)), (Ok(None), Err(Error::Stale)));
        }
        // Its identity comes again all the same, also where that is taken back.
        let taken_back = table.together(|table| {
            let again = make(table, 0);
            assert_eq!(table.find(identity(0)), Ok(Some(again)));
            Err::<(), _>(Error::Away)
        });
        assert_eq!((taken_back, table.find(identity(0)), rows(&table)), (Err(Error::Away), Ok(None), AT_ONCE));
        let again = make(&mut table, 0);
        assert_eq!((table.find(identity(0)), rows(&table)), (Ok(Some(again)), AT_ONCE));
        table.forget_later(*last).unwrap();
        assert_eq!(rows(&table), 1);
        table.forget_later(again).unwrap();
        table.end().unwrap();
        assert_eq!(rows(&table), 0);
        // Of a disk without births, which gives identities again.
        let unborn = Identity { born: 0, ..identity(7) };
        let id = table.add(unborn, Kind::File, ROOT, &name("file"), &Note::default()).unwrap();
        table.forget_later(id).unwrap();
        assert_eq!(rows(&table), 0);
    }

    #[test]
    fn nothing_is_left_of_what_is_gone() {
        let state = tempfile::tempdir().unwrap();
        let mut table = Table::open(state.path(), 0).unwrap();
        let identity = |inode| Identity { device: 0, inode, born: 1 };
        let one = table.add(identity(5), Kind::File, ROOT, &name("one"), &Note::default()).unwrap();
        let two = table.add(identity(6), Kind::File, ROOT, &name("two"), &Note::default()).unwrap();
        for id in [one, two] {
            table.add_name(id, ROOT, &name("further")).unwrap();
            table.add_name(id, ROOT, &name("and another")).unwrap();
        }
        table.forget(one).unwrap();
        assert_eq!(table.get(one).map(drop), Err(Error::Stale));
        assert_eq!(table.find(identity(5)), Ok(None));
        assert_eq!((table.names(one).unwrap().len(), table.names(two).unwrap().len()), (0, 2));
    }
}
