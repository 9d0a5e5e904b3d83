//! TEST_STATEID (RFC 8881, 18.48).

use crate::compound::{Compound, Outcome};
use crate::limits::MOST_MESSAGE;
use crate::wire::Stateid;
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;

/// Does it.
pub fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let stateids = from.list(MOST_MESSAGE as usize / 16, Stateid::decode)?;
    let client = cx.client()?;
    to.count(stateids.len());
    cx.server.with_state(|state, _| {
        for stateid in &stateids {
            to.u32(state.test_stateid(client, stateid) as u32);
        }
    });
    Ok(())
}
