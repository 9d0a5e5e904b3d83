//! What a file system is to womm-nfs.
//!
//! womm-nfs owns client ids, stateids, locks and replay; a file system behind [`Vfs`] owns nodes and their content. It knows
//! nodes by number, not by path, and nothing of NFS.
//!
//! | part | module |
//! |---|---|
//! | the trait | [`vfs`] |
//! | nodes, names, attributes | [`node`] |
//! | who asks, until when | [`context`] |
//! | errors | [`error`] |
//! | what happens unasked: invalidations, a backend away and back | [`event`] |
//! | the time, which tests move | [`clock`] |
//! | for backends: what Linux refuses | [`rules`] |
//! | for backends: where names stand in a listing | [`cookie`] |
//! | a backend in memory, which tests make fail | [`memory`] |
//! | what every backend must do (feature `suite`) | `suite` |

pub mod clock;
pub mod context;
pub mod cookie;
pub mod error;
pub mod event;
pub mod memory;
pub mod node;
pub mod rules;
#[cfg(feature = "suite")]
pub mod suite;
pub mod vfs;

pub use clock::Clock;
pub use context::Context;
pub use error::{Error, Result};
pub use event::Event;
pub use node::{Attributes, Kind, Name, NodeId, SetAttributes};
pub use vfs::Vfs;
