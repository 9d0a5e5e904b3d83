//! COPY within this server, done before it answers (RFC 7862, 15.2).

use super::{read, write};
use crate::compound::{Compound, Object, Outcome, key};
use crate::limits::{MOST_COPY, MOST_TRANSFER};
use crate::status::Status;
use crate::wire::Stateid;
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;
use womm_vfs::vfs::Stable;

/// Does it: a part of it, if it is long. The client asks for the rest.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let (source_stateid, target_stateid) = (Stateid::decode(from)?, Stateid::decode(from)?);
    let (source_offset, target_offset, count) = (from.u64()?, from.u64()?, from.u64()?);
    let (_consecutive, _synchronous, servers) = (from.bool()?, from.bool()?, from.u32()?);
    if servers != 0 {
        return Err(Status::NotSupported.into());
    }
    let source = cx.saved.clone().ok_or(Status::NoFileHandle)?;
    let Object::Node(out_of, source_node) = source.clone() else { return Err(Status::IsDirectory.into()) };
    let (into, target_node) = cx.node_to_change()?;
    let (source_stateid, target_stateid) = (cx.resolve(source_stateid)?, cx.resolve(target_stateid)?);
    cx.turn(&out_of).await?;
    cx.turn(&into).await?;
    write::check(cx, &target_stateid).await?;
    let size = check_source(cx, source, &source_stateid).await?;
    let whole = if count == 0 { size.saturating_sub(source_offset) } else { count };
    let end = source_offset.checked_add(whole).ok_or(Status::Invalid)?;
    if source_offset > size || end > size {
        return Err(Status::Invalid.into());
    }
    let overlaps = source_offset < target_offset.saturating_add(whole) && target_offset < end;
    if key(&out_of, source_node) == key(&into, target_node) && overlaps {
        return Err(Status::Invalid.into());
    }
    let verifier = into.write_verifier(target_node);
    let mut copied = 0;
    while copied < whole.min(MOST_COPY) {
        let part = u32::try_from(whole - copied).unwrap_or(u32::MAX).min(MOST_TRANSFER);
        let _hold = cx.caller.budget.reply(part as usize).await?;
        let context = cx.server.context(cx.client()?);
        let read = out_of.vfs.read(&context, source_node, source_offset + copied, part).await?;
        if read.data.is_empty() {
            break;
        }
        let length = read.data.len() as u64;
        let context = cx.server.context(cx.client()?);
        into.vfs.write(&context, target_node, target_offset + copied, read.data, Stable::Unstable).await?;
        copied += length;
    }
    // No callback, since it is done; how much; how durable; in order; before the answer.
    to.u32(0).u64(copied).u32(write::number(Stable::Unstable)).fixed_opaque(&verifier).bool(true).bool(true);
    Ok(())
}

/// Whether the source may be read; its size.
async fn check_source<V: Vfs>(cx: &mut Compound<'_, V>, source: Object<V>, stateid: &Stateid) -> Result<u64, Status> {
    let target = cx.current.replace(source);
    cx.fresh = None;
    let result = match read::check(cx, stateid).await {
        Ok(()) => cx.current_attributes().await.map(|attributes| attributes.size),
        Err(status) => Err(status),
    };
    cx.current = target;
    cx.fresh = None;
    result
}
