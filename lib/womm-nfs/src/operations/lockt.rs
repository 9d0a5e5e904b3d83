//! LOCKT (RFC 8881, 18.11).

use super::lock::{decode_type, refusal};
use super::setattr::file;
use crate::compound::{Compound, Outcome};
use crate::state::locks::Range;
use crate::status::Status;
use crate::wire::decode_owner;
use crate::xdr::{Decoder, Encoder};
use bytes::Bytes;
use womm_vfs::Vfs;

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, _to: &mut Encoder) -> Outcome {
    let write = decode_type(from)?;
    let range = Range::new(from.u64()?, from.u64()?);
    let owner = Bytes::copy_from_slice(&decode_owner(from)?);
    cx.node(Status::IsDirectory)?;
    cx.check_file(Status::Symlink).await?;
    let range = range.ok_or(Status::Invalid)?;
    let (client, file) = (cx.client()?, file(cx)?);
    let denied = cx.server.with_state(|state, now| {
        if state.in_grace(now) {
            return Err(Status::Grace);
        }
        Ok(state.test_lock(client, &owner, file, range, write, now))
    })?;
    denied.map_or(Ok(()), |denied| Err(refusal(&denied)))
}
