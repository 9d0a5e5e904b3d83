//! SAVEFH (RFC 8881, 18.28).

use crate::compound::{Compound, Outcome};
use womm_vfs::Vfs;

/// Does it.
pub fn run<V: Vfs>(cx: &mut Compound<'_, V>) -> Outcome {
    cx.saved = Some(cx.object()?.clone());
    cx.saved_stateid = cx.stateid;
    Ok(())
}
