//! An NFS server of minor versions 1 and 2 (RFC 8881, RFC 7862, RFC 8276) for any [`womm_vfs::Vfs`].
//!
//! From the wire upwards:
//!
//! | layer | module |
//! |---|---|
//! | XDR | [`xdr`] |
//! | RPC: records, calls, credentials | [`rpc`] |
//! | types that operations share, statuses, attributes, file handles | [`wire`], [`status`], [`attributes`], [`handle`] |
//! | compounds | [`compound`] |
//! | a file per operation | [`operations`] |
//! | client ids, sessions, slots, stateids, locks, grace | [`state`] |
//! | what outlives a restart | [`folder`], [`journal`], [`drained`] |
//! | exports and the pseudo file system | [`exports`] |
//! | what tells clients to write again | [`verifier`] |
//! | appends that overwrite each other | [`appends`] |
//! | limits, memory | [`limits`], [`budget`] |
//! | what becomes of a panic | [`fault`] |
//! | connections | [`connection`] |
//! | all of it together | [`server`] |
//!
//! What is left out: delegations, pNFS, RPCSEC_GSS, minor version 0. See docs/semantics.md.

pub mod appends;
pub mod attributes;
pub mod budget;
pub mod compound;
pub mod connection;
pub mod drained;
pub mod exports;
pub mod fault;
pub mod folder;
pub mod handle;
pub mod journal;
pub mod limits;
pub mod operations;
pub mod rpc;
pub mod server;
pub mod state;
pub mod status;
pub mod verifier;
pub mod wire;
pub mod xdr;

pub use exports::{BadPath, Exports};
pub use folder::{FolderError, StateFolder};
pub use server::{Config, Server};
pub use status::Status;
