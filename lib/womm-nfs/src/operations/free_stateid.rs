//! FREE_STATEID (RFC 8881, 18.38).

use crate::compound::{Compound, Outcome};
use crate::wire::Stateid;
use crate::xdr::Decoder;
use womm_vfs::Vfs;

/// Does it.
pub fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder) -> Outcome {
    let stateid = cx.resolve(Stateid::decode(from)?)?;
    let client = cx.client()?;
    Ok(cx.server.with_state(|state, _| state.free_stateid(client, &stateid))?)
}
