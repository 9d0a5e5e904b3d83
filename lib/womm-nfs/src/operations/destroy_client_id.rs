//! DESTROY_CLIENTID (RFC 8881, 18.50).

use crate::compound::{Compound, Outcome};
use crate::wire::ClientId;
use crate::xdr::Decoder;
use womm_vfs::Vfs;

/// Does it.
pub fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder) -> Outcome {
    let client = ClientId(from.u64()?);
    Ok(cx.server.with_state(|state, _| state.destroy_client(client))?)
}
