//! BIND_CONN_TO_SESSION (RFC 8881, 18.34).

use crate::compound::{Compound, Outcome};
use crate::status::Status;
use crate::wire::SessionId;
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;

/// Does it.
pub fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let (session, direction, _rdma) = (SessionId::decode(from)?, from.u32()?, from.bool()?);
    let direction = match direction {
        1 | 2 => direction,
        // FORE_OR_BOTH, BACK_OR_BOTH
        3 | 7 => 3,
        _ => return Err(Status::Invalid.into()),
    };
    cx.server.with_state(|state, _| state.bind(session, cx.caller.connection))?;
    session.encode(to);
    to.u32(direction).bool(false);
    Ok(())
}
