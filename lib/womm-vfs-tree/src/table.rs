//! The table of nodes and names.

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Row as SqlRow, params};
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use womm_vfs::cookie::Cookies;
use womm_vfs::{Error, Kind, Name, NodeId, Result};
use womm_vfs_disk::OpenError;
use womm_vfs_disk::database::{Database, failed, kind_number};

pub(crate) const ROOT: NodeId = NodeId(1);

/// Rows kept in memory.
const MOST: usize = 1 << 17;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS nodes (
        id INTEGER PRIMARY KEY,
        kind INTEGER NOT NULL,
        parent INTEGER NOT NULL,
        mode INTEGER NOT NULL,
        links INTEGER NOT NULL,
        size INTEGER NOT NULL,
        change INTEGER NOT NULL,
        ahead INTEGER NOT NULL DEFAULT 0,
        accessed BLOB NOT NULL, modified BLOB NOT NULL, changed BLOB NOT NULL, created BLOB NOT NULL,
        target BLOB,
        lower BLOB,
        inode INTEGER,
        is_up INTEGER NOT NULL,
        verifier BLOB
    );
    CREATE INDEX IF NOT EXISTS nodes_by_inode ON nodes (inode) WHERE inode IS NOT NULL;
    CREATE INDEX IF NOT EXISTS nodes_unlinked ON nodes (id) WHERE links = 0;
    CREATE INDEX IF NOT EXISTS nodes_ahead ON nodes (id) WHERE ahead;
    CREATE TABLE IF NOT EXISTS names (
        folder INTEGER NOT NULL, cookie INTEGER NOT NULL, name BLOB NOT NULL, node INTEGER NOT NULL,
        PRIMARY KEY (folder, cookie)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX IF NOT EXISTS names_by_name ON names (folder, name);
    CREATE TABLE IF NOT EXISTS xattrs (
        node INTEGER NOT NULL, name BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (node, name)
    ) WITHOUT ROWID;";

/// A node.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    /// A folder's.
    pub(crate) parent: NodeId,
    pub(crate) mode: u32,
    pub(crate) links: u32,
    /// As long as its content is not up.
    pub(crate) size: u64,
    pub(crate) change: u64,
    pub(crate) accessed: SystemTime,
    /// As long as its content is not up.
    pub(crate) modified: SystemTime,
    pub(crate) changed: SystemTime,
    pub(crate) created: SystemTime,
    pub(crate) target: Option<Vec<u8>>,
    /// Its path in the snapshot, if it is from there.
    pub(crate) lower: Option<Vec<u8>>,
    /// Its inode there, if that has several names.
    pub(crate) inode: Option<u64>,
    /// A file: its content is in the upper folder. A folder of the snapshot: its names are in the table.
    pub(crate) is_up: bool,
    pub(crate) verifier: Option<[u8; 8]>,
}

/// What is not kept over a restart.
#[derive(Debug, Default, Clone, Copy)]
struct Live {
    opens: u32,
    /// The counter that was told last.
    told: u64,
    /// The table knows that the counter is ahead of the content's ctime.
    ahead: bool,
}

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) database: Database,
    cookies: Cookies,
    rows: HashMap<NodeId, Row>,
    live: HashMap<NodeId, Live>,
}

/// Seconds and nanoseconds since 1970, before which a time may be too.
fn time_bytes(time: SystemTime) -> Vec<u8> {
    let (seconds, fraction) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (i128::from(after.as_secs()), after.subsec_nanos()),
        Err(before) => {
            let nanoseconds = -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX);
            let fraction = u32::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or(0);
            (nanoseconds.div_euclid(1_000_000_000), fraction)
        }
    };
    let mut bytes = i64::try_from(seconds).unwrap_or(i64::MAX).to_be_bytes().to_vec();
    bytes.extend(fraction.to_be_bytes());
    bytes
}

fn time_of(bytes: &[u8]) -> Option<SystemTime> {
    let (seconds, fraction) = bytes.split_first_chunk()?;
    let seconds = i64::from_be_bytes(*seconds);
    let fraction = Duration::from_nanos(u64::from(u32::from_be_bytes(fraction.try_into().ok()?)));
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let at = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    at?.checked_add(fraction)
}

fn row_of(row: &SqlRow<'_>) -> rusqlite::Result<Row> {
    let number = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
    let time = |at| {
        let bytes: Vec<u8> = row.get(at)?;
        time_of(&bytes).ok_or(rusqlite::Error::InvalidQuery)
    };
    Ok(Row {
        kind: match number(0)? {
            0 => Kind::File,
            1 => Kind::Folder,
            _ => Kind::Symlink,
        },
        parent: NodeId(number(1)?),
        mode: row.get(2)?,
        links: row.get(3)?,
        size: number(4)?,
        change: number(5)?,
        accessed: time(6)?,
        modified: time(7)?,
        changed: time(8)?,
        created: time(9)?,
        target: row.get(10)?,
        lower: row.get(11)?,
        inode: row.get::<_, Option<i64>>(12)?.map(i64::cast_unsigned),
        is_up: row.get(13)?,
        verifier: row.get(14)?,
    })
}

impl Table {
    pub(crate) fn open(upper: &Path, now: u64, bits: u32) -> std::result::Result<Self, OpenError> {
        let database = Database::open(upper, "tree", SCHEMA)?;
        let cookies = Cookies::new(database.key).with_bits(bits);
        let table = Self { database, cookies, rows: HashMap::new(), live: HashMap::new() };
        if table.database.was_killed {
            // What was told last is not known; it was less than this.
            let sql = "UPDATE nodes SET change = MAX(change + 1, ?1) WHERE ahead";
            let made = table.database.connection.execute(sql, [now.cast_signed()]);
            made.map_err(|error| OpenError::Table { path: upper.to_owned(), error })?;
        }
        Ok(table)
    }

    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize> {
        let done = self.database.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(params));
        done.map_err(failed)
    }

    /// All of it or nothing.
    pub(crate) fn commit<T>(&mut self, what: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.execute("BEGIN", [])?;
        let done = what(self).and_then(|done| self.execute("COMMIT", []).map(|_| done));
        if done.is_err() {
            // A commit that failed may have ended the transaction already.
            let _ended = self.execute("ROLLBACK", []);
            self.rows.clear();
        }
        self.database.committed();
        done
    }

    pub(crate) fn get(&mut self, id: NodeId) -> Result<&Row> {
        if !self.rows.contains_key(&id) {
            let sql = "SELECT kind, parent, mode, links, size, change, accessed, modified, changed, created, target,
                              lower, inode, is_up, verifier
                       FROM nodes WHERE id = ?1";
            let mut statement = self.database.connection.prepare_cached(sql).map_err(failed)?;
            let row = statement.query_row([id.0.cast_signed()], row_of).optional().map_err(failed)?;
            drop(statement);
            self.keep(id, row.ok_or(Error::Stale)?);
        }
        self.rows.get(&id).ok_or(Error::Stale)
    }

    fn keep(&mut self, id: NodeId, row: Row) {
        if self.rows.len() >= MOST {
            self.rows.clear();
        }
        self.rows.insert(id, row);
    }

    pub(crate) fn exists(&mut self, id: NodeId) -> bool {
        self.get(id).is_ok()
    }

    pub(crate) fn add(&mut self, row: Row) -> Result<NodeId> {
        let id = NodeId(self.database.number().map_err(failed)?);
        self.put(id, row)?;
        Ok(id)
    }

    pub(crate) fn put(&mut self, id: NodeId, row: Row) -> Result<()> {
        let sql =
            "INSERT INTO nodes (id, kind, parent, mode, links, size, change, accessed, modified, changed, created,
                                      target, lower, inode, is_up, verifier)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
                   ON CONFLICT (id) DO UPDATE SET parent = ?3, mode = ?4, links = ?5, size = ?6, change = ?7,
                       accessed = ?8, modified = ?9, changed = ?10, lower = ?13, is_up = ?15";
        self.execute(
            sql,
            params![
                id.0.cast_signed(),
                kind_number(row.kind),
                row.parent.0.cast_signed(),
                row.mode,
                row.links,
                row.size.cast_signed(),
                row.change.cast_signed(),
                time_bytes(row.accessed),
                time_bytes(row.modified),
                time_bytes(row.changed),
                time_bytes(row.created),
                row.target,
                row.lower,
                row.inode.map_or(Value::Null, |inode| Value::Integer(inode.cast_signed())),
                row.is_up,
                row.verifier,
            ],
        )?;
        self.keep(id, row);
        Ok(())
    }

    /// Changes a row, and its counter.
    pub(crate) fn change(&mut self, id: NodeId, now: SystemTime, what: impl FnOnce(&mut Row)) -> Result<u64> {
        let mut row = self.get(id)?.clone();
        what(&mut row);
        row.changed = now;
        row.change = womm_vfs_disk::seen::nanoseconds(now).max(row.change.max(self.told(id)) + 1);
        let change = row.change;
        self.put(id, row)?;
        Ok(change)
    }

    /// It is gone for good. Whether it had content of its own.
    pub(crate) fn forget(&mut self, id: NodeId) -> Result<bool> {
        let row = self.get(id)?;
        let has_content = row.kind == Kind::File && row.is_up;
        self.rows.remove(&id);
        self.live.remove(&id);
        self.execute("DELETE FROM xattrs WHERE node = ?1", [id.0.cast_signed()])?;
        self.execute("DELETE FROM nodes WHERE id = ?1", [id.0.cast_signed()])?;
        Ok(has_content)
    }

    pub(crate) fn find(&self, folder: NodeId, name: &Name) -> Result<Option<NodeId>> {
        let sql = "SELECT node FROM names WHERE folder = ?1 AND name = ?2";
        let mut statement = self.database.connection.prepare_cached(sql).map_err(failed)?;
        let found = statement.query_row(params![folder.0.cast_signed(), name.as_bytes()], |row| row.get::<_, i64>(0));
        Ok(found.optional().map_err(failed)?.map(|id| NodeId(id.cast_unsigned())))
    }

    pub(crate) fn insert(&self, folder: NodeId, name: &Name, node: NodeId) -> Result<()> {
        let connection = &self.database.connection;
        let mut taken =
            connection.prepare_cached("SELECT 1 FROM names WHERE folder = ?1 AND cookie = ?2").map_err(failed)?;
        let cookie = self.cookies.place(name, |cookie| {
            taken.exists(params![folder.0.cast_signed(), cookie.cast_signed()]).map_err(failed)
        })?;
        let sql = "INSERT INTO names (folder, cookie, name, node) VALUES (?1, ?2, ?3, ?4)";
        let values = params![folder.0.cast_signed(), cookie.cast_signed(), name.as_bytes(), node.0.cast_signed()];
        self.execute(sql, values).map(drop)
    }

    pub(crate) fn remove(&self, folder: NodeId, name: &Name) -> Result<()> {
        let sql = "DELETE FROM names WHERE folder = ?1 AND name = ?2";
        self.execute(sql, params![folder.0.cast_signed(), name.as_bytes()]).map(drop)
    }

    pub(crate) fn is_empty(&self, folder: NodeId) -> Result<bool> {
        let connection = &self.database.connection;
        let mut statement =
            connection.prepare_cached("SELECT 1 FROM names WHERE folder = ?1 LIMIT 1").map_err(failed)?;
        Ok(!statement.exists([folder.0.cast_signed()]).map_err(failed)?)
    }

    /// Names by their cookies, so many at most.
    pub(crate) fn list(&self, folder: NodeId, after: u64, most: usize) -> Result<Vec<(u64, Name, NodeId)>> {
        let sql = "SELECT cookie, name, node FROM names WHERE folder = ?1 AND cookie > ?2 ORDER BY cookie LIMIT ?3";
        let mut statement = self.database.connection.prepare_cached(sql).map_err(failed)?;
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let read = |row: &SqlRow<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, i64>(2)?));
        let rows = statement.query_map(params![folder.0.cast_signed(), after, most], read).map_err(failed)?;
        rows.map(|row| {
            let (cookie, name, node) = row.map_err(failed)?;
            Ok((cookie.cast_unsigned(), Name::new(name)?, NodeId(node.cast_unsigned())))
        })
        .collect()
    }

    /// The node of a file of the snapshot that has several names.
    pub(crate) fn by_inode(&self, inode: u64) -> Result<Option<NodeId>> {
        let sql = "SELECT id FROM nodes WHERE inode = ?1";
        let mut statement = self.database.connection.prepare_cached(sql).map_err(failed)?;
        let found = statement.query_row([inode.cast_signed()], |row| row.get::<_, i64>(0));
        Ok(found.optional().map_err(failed)?.map(|id| NodeId(id.cast_unsigned())))
    }

    /// Nodes without a name that nobody holds.
    pub(crate) fn unheld(&self) -> Result<Vec<NodeId>> {
        let mut statement =
            self.database.connection.prepare_cached("SELECT id FROM nodes WHERE links = 0").map_err(failed)?;
        let ids = statement.query_map([], |row| row.get::<_, i64>(0)).map_err(failed)?;
        let ids: Result<Vec<_>> = ids.map(|id| Ok(NodeId(id.map_err(failed)?.cast_unsigned()))).collect();
        Ok(ids?.into_iter().filter(|id| self.opens(*id) == 0).collect())
    }

    pub(crate) fn opens(&self, id: NodeId) -> u32 {
        self.live.get(&id).map_or(0, |live| live.opens)
    }

    pub(crate) fn open_one(&mut self, id: NodeId) {
        self.live.entry(id).or_default().opens += 1;
    }

    pub(crate) fn close_one(&mut self, id: NodeId) {
        if let Some(live) = self.live.get_mut(&id) {
            live.opens = live.opens.saturating_sub(1);
        }
    }

    fn told(&self, id: NodeId) -> u64 {
        self.live.get(&id).map_or(0, |live| live.told)
    }

    /// The counter of content whose inode has this ctime.
    pub(crate) fn tell(&mut self, id: NodeId, ctime: u64) -> Result<u64> {
        let kept = self.get(id)?.change;
        if self.live.len() >= MOST {
            self.live.retain(|_, live| live.opens > 0 || live.ahead);
        }
        let live = self.live.entry(id).or_default();
        live.told = live.told.max(kept).max(ctime);
        Ok(live.told)
    }

    /// Content was changed: the counter grows, even if the disk's clock is too coarse to tell.
    pub(crate) fn bump(&mut self, id: NodeId, ctime: u64) -> Result<u64> {
        let before = self.tell(id, 0)?;
        let live = self.live.entry(id).or_default();
        live.told = ctime.max(before + 1);
        let told = live.told;
        if told > ctime && !live.ahead {
            live.ahead = true;
            let sql = "UPDATE nodes SET ahead = 1, change = ?2 WHERE id = ?1";
            self.execute(sql, params![id.0.cast_signed(), told.cast_signed()])?;
            self.database.committed();
            self.rows.remove(&id);
        }
        Ok(told)
    }

    pub(crate) fn xattr(&self, id: NodeId, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let sql = "SELECT value FROM xattrs WHERE node = ?1 AND name = ?2";
        let mut statement = self.database.connection.prepare_cached(sql).map_err(failed)?;
        statement.query_row(params![id.0.cast_signed(), name], |row| row.get(0)).optional().map_err(failed)
    }

    pub(crate) fn xattrs(&self, id: NodeId) -> Result<Vec<Vec<u8>>> {
        let sql = "SELECT name FROM xattrs WHERE node = ?1 ORDER BY name";
        let mut statement = self.database.connection.prepare_cached(sql).map_err(failed)?;
        let names = statement.query_map([id.0.cast_signed()], |row| row.get(0)).map_err(failed)?;
        names.map(|name| name.map_err(failed)).collect()
    }

    pub(crate) fn set_xattr(&self, id: NodeId, name: &[u8], value: &[u8]) -> Result<()> {
        self.execute("INSERT OR REPLACE INTO xattrs VALUES (?1, ?2, ?3)", params![id.0.cast_signed(), name, value])
            .map(drop)
    }

    pub(crate) fn remove_xattr(&self, id: NodeId, name: &[u8]) -> Result<bool> {
        let sql = "DELETE FROM xattrs WHERE node = ?1 AND name = ?2";
        Ok(self.execute(sql, params![id.0.cast_signed(), name])? > 0)
    }

    /// Notes the counters that are ahead of the disk.
    pub(crate) fn end(&mut self) -> Result<()> {
        let ahead: Vec<_> =
            self.live.iter().filter(|(_, live)| live.ahead).map(|(id, live)| (*id, live.told)).collect();
        self.commit(|table| {
            for (id, told) in ahead {
                let sql = "UPDATE nodes SET change = MAX(change, ?2) WHERE id = ?1";
                table.execute(sql, params![id.0.cast_signed(), told.cast_signed()])?;
            }
            Ok(())
        })?;
        self.database.end();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_also_before_1970() {
        for (seconds, fraction) in [(0, 0), (1, 5), (4_000_000_000, 999_999_999)] {
            let time = UNIX_EPOCH + Duration::new(seconds, fraction);
            assert_eq!(time_of(&time_bytes(time)), Some(time));
            let before = UNIX_EPOCH - Duration::new(seconds, fraction);
            assert_eq!(time_of(&time_bytes(before)), Some(before));
        }
    }
}
