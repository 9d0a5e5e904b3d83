//! Real runs: the programs in WOMM_BIN, the real GNU parallel, pods of the engine under test. Each test has a project of
//! its own, which proves at its end that nothing is left. What differs between engines the bodies ask the engine for.

// In a test a panic is the failure; clippy does not know the helpers beside the tests for such.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod environment;
mod exit_codes;
mod images;
mod jobs_killed;
mod killed;
mod modes;
mod names;
mod output;
mod pod_lost;
mod shell;
mod ssh;
mod together;
