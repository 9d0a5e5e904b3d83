//! What both ends of a WOMM run must agree on: the JSON records that the programs hand to each other, labels,
//! names of environment variables and files, and the frames between `womm-ssh`, `womm-sshlogins` and `womm-agent`.
//!
//! No I/O here, and no dependency but serde: a value goes in, a value comes out. `docs/wire.md` describes every field.
//!
//! What breaks whom: records ignore and keep unknown fields, frames of unknown kind are refused, fields of
//! [`frame::Open`] that are not known are passed over. A change that an older peer would misread raises
//! [`names::PROTOCOL`].

pub mod frame;
pub mod names;
pub mod pod;
pub mod quantity;
pub mod record;
pub mod slot;
