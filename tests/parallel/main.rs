//! GNU parallel's options and habits in pods, beside GNU parallel itself over an ssh that runs its command here. The
//! version under test is WOMM_TEST_PARALLEL, else the one on PATH. Each case says what came of it in a line
//! `MATRIX | case | outcome`, of which tests/lib/matrix.sh makes the table in docs/parallel.md.

// In a test a panic is the failure; clippy does not know the helpers beside the tests for such.
#![allow(clippy::unwrap_used)]

mod case;
mod control;
mod facts;
mod files;
mod hosts;
mod inputs;
mod others;
mod output;
mod terminal;
