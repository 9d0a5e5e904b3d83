//! What is looked at before the user invests time, and images on their way: real registries, real Docker engines, of which
//! some are the tests' own and broken by them. Wants root, docker-registry, dockerd, containerd and openssl.

// In a test a panic is the failure; clippy does not know the helpers beside the tests for such.
#![allow(clippy::unwrap_used)]

mod doctor;
mod full;
mod kind;
mod layers;
mod logins;
mod picture;
mod stopped;
mod stub;
mod tls;
mod token;
mod tokens;
