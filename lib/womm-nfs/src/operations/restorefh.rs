//! RESTOREFH (RFC 8881, 18.27).

use crate::compound::{Compound, Outcome};
use crate::status::Status;
use womm_vfs::Vfs;

/// Does it.
pub fn run<V: Vfs>(cx: &mut Compound<'_, V>) -> Outcome {
    let saved = cx.saved.clone().ok_or(Status::NoFileHandle)?;
    cx.set_current(saved);
    cx.stateid = cx.saved_stateid;
    Ok(())
}
