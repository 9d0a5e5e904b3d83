//! EXCHANGE_ID (RFC 8881, 18.35): a client introduces itself.

use crate::compound::{Compound, Outcome};
use crate::limits::MOST_OWNER;
use crate::state::clients::Arrival;
use crate::status::Status;
use crate::wire::decode_time;
use crate::xdr::{Decoder, Encoder};
use bytes::Bytes;
use womm_vfs::Vfs;

const USE_NON_PNFS: u32 = 0x1_0000;
const UPDATE: u32 = 0x4000_0000;
const CONFIRMED: u32 = 0x8000_0000;
/// Those that a client may set: referrals, migration, BIND_PRINC_STATEID, the three of pNFS, the update. SUPP_FENCE_OPS of
/// RFC 7862, 14.1, is about layouts, of which we have none.
const KNOWN: u32 = 0x3 | 0x100 | 0x7_0000 | UPDATE;

/// Does it.
pub fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let (verifier, owner) = (from.array()?, from.opaque(MOST_OWNER)?);
    let (flags, protection) = (from.u32()?, from.u32()?);
    match protection {
        0 => {}
        // SP4_MACH_CRED and SP4_SSV want RPCSEC_GSS (18.35.3).
        1 | 2 => return Err(Status::Invalid.into()),
        _ => return Err(Status::BadXdr.into()),
    }
    from.list(1, |from| {
        from.opaque(MOST_OWNER)?;
        from.opaque(MOST_OWNER)?;
        decode_time(from)
    })?;
    if flags & !KNOWN != 0 {
        return Err(Status::Invalid.into());
    }
    let arrival = Arrival {
        owner: Bytes::copy_from_slice(&owner),
        verifier,
        principal: cx.caller.credentials.principal.clone(),
        address: cx.caller.address,
        update: flags & UPDATE != 0,
    };
    let known = cx.server.with_state(|state, now| state.exchange_id(&arrival, now))?;
    let scope = &cx.server.folder().scope;
    to.u64(known.id.0).u32(known.sequence);
    to.u32(USE_NON_PNFS | if known.confirmed { CONFIRMED } else { 0 });
    to.u32(0).u64(0).opaque(scope).opaque(scope).u32(0);
    Ok(())
}
