//! LOCK (RFC 8881, 18.10).

use super::setattr::file;
use crate::compound::{Compound, Failure, Outcome};
use crate::state::lockers::{Denied, Locker, NoLock, Wanted};
use crate::state::locks::Range;
use crate::status::Status;
use crate::wire::{Stateid, decode_owner};
use crate::xdr::{Decoder, Encoder};
use bytes::Bytes;
use womm_vfs::Vfs;

/// Does it. One that waits is answered DENIED as well: its client asks again.
pub fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let (write, reclaim) = (decode_type(from)?, from.bool()?);
    let range = Range::new(from.u64()?, from.u64()?);
    let locker = if from.bool()? {
        from.u32()?; // open_seqid
        let open = Stateid::decode(from)?;
        from.u32()?; // lock_seqid
        Locker::New(cx.resolve(open)?, Bytes::copy_from_slice(&decode_owner(from)?))
    } else {
        let stateid = Stateid::decode(from)?;
        from.u32()?; // lock_seqid
        Locker::Known(cx.resolve(stateid)?)
    };
    let wanted = Wanted { range: range.ok_or(Status::Invalid)?, write, reclaim };
    let (client, file) = (cx.client()?, file(cx)?);
    let locked = cx.server.with_state(|state, now| state.lock(client, &locker, file, wanted, now));
    match locked {
        Ok(stateid) => {
            stateid.encode(to);
            cx.stateid = Some(stateid);
            Ok(())
        }
        Err(NoLock::Refused(status)) => Err(status.into()),
        Err(NoLock::Denied(denied)) => Err(refusal(&denied)),
    }
}

/// nfs_lock_type4: whether it is to write.
///
/// # Errors
/// BADXDR.
pub fn decode_type(from: &mut Decoder) -> Result<bool, Status> {
    match from.u32()? {
        1 | 3 => Ok(false),
        2 | 4 => Ok(true),
        _ => Err(Status::BadXdr),
    }
}

/// DENIED, and who is in the way.
pub fn refusal(denied: &Denied) -> Failure {
    let mut body = Encoder::new();
    let range = denied.held.range;
    body.u64(range.first).u64(range.length()).u32(if denied.held.write { 2 } else { 1 });
    body.u64(denied.client.0).opaque(&denied.owner);
    Failure { status: Status::Denied, body: Some(body) }
}
