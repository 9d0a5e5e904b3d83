//! RECLAIM_COMPLETE (RFC 8881, 18.51).

use crate::compound::{Compound, Outcome};
use crate::xdr::Decoder;
use womm_vfs::Vfs;

/// Does it.
pub fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder) -> Outcome {
    let client = cx.client()?;
    if from.bool()? {
        // Of one file system: that is for those that moved here, and none did.
        cx.object()?;
        return Ok(());
    }
    Ok(cx.server.with_state(|state, now| state.reclaim_complete(client, now))?)
}
