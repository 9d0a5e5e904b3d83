//! A folder on this machine, confined: what `womm-server serve --export /export=DIR` exports in place.
//!
//! | part | module |
//! |---|---|
//! | the file system | [`DiskVfs`] |
//! | names and attributes, as the disk has them | `nodes` |
//! | content without a name | `unlinked` |
//! | which number is which file, across restarts | `table`, `node`, `hash` |
//! | for others too: the state folder | [`database`] |
//! | system calls that never leave a folder | [`confined`] |
//! | reading and writing | [`content`], [`xattr`], `buffers` |
//! | descriptors kept for the next call | [`descriptors`] |
//! | what the disk says of a node | [`seen`] |
//!
//! # What is exported in place
//! The disk is the truth: what others do in the folder appears at the next call. The state folder keeps what a disk does not know: the
//! number of each node that was ever shown (found again by inode and birth), modes that would keep the server itself out, verifiers of
//! exclusive creates, counters that ran ahead of ctime.
//!
//! - Whoever mounts the share is its owner, so files stay u+rw on the disk and folders u+rwx; a mode that says otherwise is kept in the
//!   state folder until somebody changes the mode on the disk, which then wins.
//! - Devices, FIFOs and sockets are not shown; their names are taken. setuid and setgid bits are neither shown nor set.
//! - A file that is removed while open is linked into a folder `.womm-unlinked-…` beside the others first, which no listing shows.
//! - A node that somebody else moves keeps its number from when it is seen at its new place; before that it may be stale.
//! - Cookies are keyed hashes of names. Names with the same hash, about one pair in a thousand folders of 10^8 names, are told apart by
//!   their order; only there may a listing during which one of them is removed miss the other. (womm-vfs-tree keeps cookies.)
//!
//! # What may wait
//! Metadata is asked for in the caller's thread: the kernel has it in memory nearly always, and a thread's wake costs ten times as
//! much. Changes of names are made one after the other, so at most one of the runtime's threads waits for a journal. Content is read in
//! place where it is in memory; what has to come from or go to the disk has a thread of its own.

mod buffers;
pub mod confined;
pub mod content;
pub mod database;
pub mod descriptors;
mod hash;
mod listing;
mod node;
mod nodes;
pub mod seen;
mod table;
mod unlinked;
mod vfs;
pub mod xattr;

pub use database::OpenError;
pub use vfs::DiskVfs;
