//! What the tests share: the programs under test in an environment of their own, the engine that pods run on, and the
//! proof that a test left nothing behind.
//!
//! | variable             | meaning                                                                  |
//! |----------------------|--------------------------------------------------------------------------|
//! | WOMM_BIN             | folder of the programs; else target/womm/bin                             |
//! | WOMM_TEST_ENGINE     | docker (default) or kube                                                 |
//! | WOMM_TEST_BASE       | base image for `womm-image setup`; tests/run makes one                   |
//! | WOMM_TEST_KUBECONFIG | kube: the cluster                                                        |
//! | WOMM_TEST_REGISTRY   | kube: a registry to push to and pull from, HOST:PORT                     |
//! | WOMM_TEST_KUBECTL    | kube: the kubectl; else the one on PATH                                  |
//! | WOMM_TEST_CLUSTER    | kube: the program tests/cluster, for tests that break its machines       |
//! | WOMM_TEST_PARALLEL   | the GNU parallel to test with, a path; else the one on PATH              |
//! | WOMM_TEST_BY_SHELL   | tests/parallel: set: jobs go by PARALLEL_SHELL, to see what that breaks    |
//! | WOMM_TEST_BUSYBOX    | a static busybox, for images that have nothing else                      |
//! | WOMM_UPDATE_SCREENS  | 1: tests/*/screens are written anew                                      |
//! | WOMM_UPDATE_README   | 1: so are README's transcripts                                           |
//! | WOMM_TEST_KEEP       | set: a failed test's folder stays                                        |
//! | WOMM_SOAK            | 1: faults last as long as they are said to, not a shorter time           |

mod after;
pub mod audrey;
pub mod command;
pub mod dockerd;
pub mod engine;
pub mod fault;
pub mod image;
pub mod inside;
pub mod joblog;
pub mod machines;
pub mod process;
pub mod project;
pub mod proxy;
pub mod readme;
pub mod registry;
pub mod screen;
pub mod terminal;
pub mod wait;

pub use audrey::Audrey;
pub use command::{Cmd, Outcome, Running, tool};
pub use dockerd::Dockerd;
pub use engine::{Engine, Pod, kubectl_command, kubectl_program};
pub use project::Project;
pub use proxy::Proxy;
pub use registry::Registry;
pub use rustix::process::Signal;
pub use terminal::Terminal;
pub use wait::{LONG, SOON, until};
