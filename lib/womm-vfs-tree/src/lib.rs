//! An immutable snapshot, and what one task wrote over it.
//!
//! | part | module |
//! |---|---|
//! | the file system | [`TreeVfs`] |
//! | names, attributes, what is where | `nodes`, over `table` |
//! | content: the snapshot's, or copied up | `content` |
//! | the snapshot folder | `lower` |
//! | what the task changed, for a sync-back | [`changes`] |
//!
//! The lower folder is never written. The upper one holds the table of nodes (`nodes.sqlite`, see [`womm_vfs_disk::database`]) and
//! `content/`, a file for each node whose content is not the snapshot's, named by its number. So names are the table's alone: a
//! rename, however much is below, is one commit, and there are no whiteouts. A folder of the snapshot is brought into the table when it
//! is first looked into, which makes a start O(1); from then on, the table says what is in it, cookies included.
//!
//! What a SIGKILL can leave is content that no row knows, which is swept at the next start. Content is copied up before the row says
//! so, and synced if it is the snapshot's, so that a power cut leaves either the old or the new.
//!
//! A file that was made but not written has no content file. Size and mtime of one that has are its inode's; all else is the row's.
//! Of a file with several names in the snapshot, those count that are in folders that were looked into. Exporting a folder in place is
//! [`womm_vfs_disk::DiskVfs`]'s.

pub mod changes;
mod content;
mod lower;
mod nodes;
mod table;
mod vfs;

pub use vfs::TreeVfs;
pub use womm_vfs_disk::OpenError;
