//! Real runs on a real Kubernetes: what only a cluster has, or can do to its users. The tests of tests/e2e run there too.
//!
//! All variables of the harness for engine kube must be set, WOMM_BIN and WOMM_TEST_BASE too. The cluster is one of
//! tests/cluster: beside its kubeconfig lie those of other users, its keys and what its nodes are configured with, it has
//! the namespaces that its README names, and it reaches servers of the tests' own. openssl and docker-registry are there
//! because it needs them too.

// In a test a panic is the failure; clippy does not know the helpers beside the tests for such.
#![allow(clippy::unwrap_used)]

mod cluster;
mod contexts;
mod credentials;
mod doctor;
mod first_pod;
mod images;
mod inside;
mod killed;
mod later;
mod least_privilege;
mod namespaces;
mod no_pod_comes;
mod patch;
mod pod_security;
mod pull_secret;
mod refused_objects;
mod setup_shell;
mod webhook;
mod words;
