//! Something breaks in the middle of a run: afterwards each job has delivered all of its output and its true exit code, or
//! is lost and says so (tests/harness/fault.rs). What users see of each fault goes into docs/faults.md.

// In a test a panic is the failure; clippy does not know the helpers beside the tests for such.
#![allow(clippy::unwrap_used)]

mod full;
mod many;
mod pods;
mod reader;
mod retries;
mod stopped;
mod wire;
