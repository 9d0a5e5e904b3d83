//! DESTROY_SESSION (RFC 8881, 18.37).

use crate::compound::{Compound, Outcome};
use crate::status::Status;
use crate::wire::SessionId;
use crate::xdr::Decoder;
use womm_vfs::Vfs;

/// Does it.
pub fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder) -> Outcome {
    let session = SessionId::decode(from)?;
    let own = cx.bound.as_ref().is_some_and(|bound| bound.session == session);
    if own && !cx.last {
        return Err(Status::NotOnlyOperation.into());
    }
    let connection = cx.caller.connection;
    cx.server.with_state(|state, _| {
        // "MUST be invoked on a connection that is associated with the session" (18.37.3)
        if !state.session(session)?.is_bound(connection) {
            return Err(Status::ConnectionNotBound);
        }
        state.destroy_session(session)
    })?;
    Ok(())
}
