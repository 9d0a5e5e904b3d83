//! `womm setup` with a real terminal and the real Docker engine. Each test has a base image of its own with a label of its
//! own, by which everything that was made of it is found: nothing may be left but the image that `.womm` names.

// In a test a panic is the failure; clippy does not know the helpers beside the tests for such.
#![allow(clippy::unwrap_used)]

mod again;
mod images;
mod interrupted;
mod kept;
mod questions;
mod readme;
mod shell;
mod sudo;
mod world;
