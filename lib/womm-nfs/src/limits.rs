//! Every limit of the server, with its unit and reason.

use std::time::Duration;

/// READ and WRITE, bytes: what a Linux client asks for by default.
pub const MOST_TRANSFER: u32 = 1 << 20;
/// What stands around the data of a READ or WRITE in one message, bytes: the headers of RPC and the other operations.
pub const AROUND_TRANSFER: u32 = 16 << 10;
/// A call or reply, bytes, without its record mark (ca_maxrequestsize, ca_maxresponsesize).
pub const MOST_MESSAGE: u32 = MOST_TRANSFER + AROUND_TRANSFER;
/// A reply that is kept for a retry, bytes (ca_maxresponsesize_cached).
pub const MOST_CACHED: u32 = 8 << 10;
/// Calls of one session at once (ca_maxrequests): what a Linux client asks for.
pub const MOST_SLOTS: u32 = 64;
/// Operations of one compound (ca_maxoperations). A Linux client sends up to 8, some tools 16.
pub const MOST_OPERATIONS: u32 = 128;
/// The least message and operations that a session can work with: SEQUENCE and one more.
pub const LEAST_MESSAGE: u32 = 128;
/// See [`LEAST_MESSAGE`].
pub const LEAST_OPERATIONS: u32 = 2;
/// Sessions of one client.
pub const MOST_SESSIONS_OF_CLIENT: usize = 64;
/// Of replies that are kept, what each session may have whatever the others have, bytes: so many sessions there are at most. A
/// Linux client's session keeps that of 64 slots, each of about 400.
pub const OWN_KEPT_BYTES: usize = 64 * 512;
/// When opens and locks have taken half of their memory, the rest is divided by at least so many clients.
pub const LEAST_CLIENTS_WITH_STATE: usize = 16;
/// Byte ranges that are locked, of one file: then DELAY.
pub const MOST_LOCKS_OF_FILE: usize = 1 << 16;
/// A client's name or a lock owner's, bytes (NFS4_OPAQUE_LIMIT).
pub const MOST_OWNER: usize = 1024;
/// A file handle, bytes (NFS4_FHSIZE).
pub const MOST_HANDLE: usize = 128;
/// A symlink's target, bytes: PATH_MAX of Linux.
pub const MOST_TARGET: usize = 4096;
/// The name of an extended attribute, bytes: XATTR_NAME_MAX of Linux.
pub const MOST_XATTR_NAME: usize = 255;
/// The value of an extended attribute, bytes: XATTR_SIZE_MAX of Linux.
pub const MOST_XATTR_VALUE: usize = 64 << 10;
/// What one COPY moves at most before it answers, bytes: the client goes on with the rest.
pub const MOST_COPY: u64 = 16 << 20;
/// Slots of one client that may wait for one export's backend, so that the others' stay free (a Linux node has one session).
pub const MOST_WAITING: usize = 16;
/// How long a further one waits for one of these before it is told to come again.
pub const WAIT_FOR_TURN: Duration = Duration::from_millis(500);
/// How long a backend may take for one operation before the client is told to come again.
pub const BACKEND_DEADLINE: Duration = Duration::from_secs(10);
/// Connections at once; a further one is closed.
pub const MOST_CONNECTIONS: usize = 4096;
/// Calls of one connection that are worked on or wait to be sent; no more are read until one is done.
pub const MOST_CALLS_OF_CONNECTION: usize = 256;
/// What a call takes from when it comes until its reply was sent, besides its own bytes and those of a long reply: the work on it, a
/// short reply.
pub const CALL_BYTES: usize = 8 << 10;
/// With the beginning of a message in hand, the memory for the rest is waited for so long: if all that there is were such beginnings, they
/// would wait for each other forever.
pub const WAIT_FOR_REST: Duration = Duration::from_secs(10);
/// Without progress for so long in the middle of a message, either way, a connection is given up.
pub const STALLED: Duration = Duration::from_secs(60);
/// How often is looked whether a message that makes no progress takes memory which others need.
pub const LOOK: Duration = Duration::from_secs(1);
/// Then its connection is given up after so long.
pub const STALLED_WHEN_SCARCE: Duration = Duration::from_secs(2);
/// A client whose lease expired is forgotten after so long if nobody wanted what it holds.
pub const COURTESY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long handles of a drained export answer, so that it can be unmounted.
pub const TOMBSTONE: Duration = Duration::from_secs(24 * 60 * 60);
