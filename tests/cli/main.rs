//! The programs alone: their words, their refusals, records in and out. No engine, no GNU parallel.

// In a test a panic is the failure; clippy does not know the helpers beside the tests for such.
#![allow(clippy::unwrap_used)]

mod agent;
mod common;
mod image;
mod pods;
mod server;
mod ssh;
mod sshlogins;
mod womm;
