//! CREATE_SESSION (RFC 8881, 18.36).

use crate::compound::{Compound, Outcome};
use crate::state::sessions::{Channel, Made};
use crate::status::Status;
use crate::wire::ClientId;
use crate::xdr::{Decoder, Encoder, Malformed};
use womm_vfs::Vfs;

/// CREATE_SESSION4_FLAG_CONN_BACK_CHAN: callbacks over this connection, of which we make none.
const BACK_CHANNEL: u32 = 2;
/// PERSIST and CONN_RDMA as well, which we don't grant.
const KNOWN: u32 = 7;

/// Does it.
pub fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let (client, sequence, flags) = (ClientId(from.u64()?), from.u32()?, from.u32()?);
    let (fore, back) = (Channel::decode(from)?, Channel::decode(from)?);
    decode_callback(from)?;
    if flags & !KNOWN != 0 {
        return Err(Status::Invalid.into());
    }
    let caller = cx.caller;
    let result = cx.server.with_state(|state, now| {
        let made = state.create_session(
            client,
            sequence,
            &caller.credentials.principal,
            fore,
            back,
            caller.connection,
            now,
        )?;
        let session = match made {
            Made::Before(reply) => return Ok(reply),
            Made::New(session) => session,
        };
        let made = state.session(session)?;
        let mut reply = Encoder::new();
        session.encode(&mut reply);
        reply.u32(sequence).u32(flags & BACK_CHANNEL);
        made.fore.encode(&mut reply);
        made.back.encode(&mut reply);
        let reply = reply.into_bytes();
        state.keep_session_reply(client, reply.clone());
        Ok::<_, Status>(reply)
    })?;
    to.fixed_opaque(&result);
    Ok(())
}

/// The callback program and its callback_sec_parms4.
///
/// # Errors
/// They are not there.
pub fn decode_callback(from: &mut Decoder) -> Result<(), Malformed> {
    from.u32()?;
    from.list(64, |from| match from.u32()? {
        0 => Ok(()),
        1 => {
            from.u32()?;
            from.opaque(255)?;
            from.u64()?; // uid and gid
            from.list(16, Decoder::u32).map(|_| ())
        }
        6 => {
            from.u32()?;
            from.opaque(1024)?;
            from.opaque(1024).map(|_| ())
        }
        _ => Err(Malformed),
    })?;
    Ok(())
}
