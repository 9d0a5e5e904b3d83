//! SEQUENCE (RFC 8881, 18.46): lets a compound into its session.

use crate::compound::{Compound, Entry};
use crate::state::sessions::{Admitted, Call};
use crate::state::slots::Admission;
use crate::status::Status;
use crate::wire::SessionId;
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;

/// Of its result, with the operation's number and status, bytes.
const RESULT: usize = 8 + 36;

/// Reads it and takes the slot.
///
/// # Errors
/// BADXDR; as [`crate::state::State::sequence`].
pub fn admit<V: Vfs>(cx: &Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Result<Entry<V>, Status> {
    let session = SessionId::decode(from)?;
    let (sequence, slot, highest, cache) = (from.u32()?, from.u32()?, from.u32()?, from.bool()?);
    let call = Call {
        session,
        slot,
        sequence,
        highest,
        operations: cx.operations,
        bytes: cx.bytes,
        least_reply: cx.head + RESULT,
        cache,
        fingerprint: cx.fingerprint,
        connection: cx.caller.connection,
    };
    let admitted = cx.server.with_state(|state, now| state.sequence(&call, now))?;
    let Admitted { client, fore, admission } = admitted;
    let entry = match admission {
        Admission::New => Entry::New(cx.bound(client, session, slot, fore, cache)),
        Admission::Replay(bytes) => Entry::Replay(bytes),
        Admission::Uncached => Entry::Uncached,
    };
    session.encode(to);
    // The highest slot that there is, that we would like to be used, and no status flags.
    to.u32(sequence).u32(slot).u32(fore.slots - 1).u32(fore.slots - 1).u32(0);
    Ok(entry)
}
