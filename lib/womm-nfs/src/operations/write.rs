//! WRITE (RFC 8881, 18.32).

use super::setattr::file;
use crate::appends;
use crate::compound::{Compound, Outcome, key};
use crate::exports::Export;
use crate::limits::MOST_MESSAGE;
use crate::status::Status;
use crate::wire::{ClientId, Stateid};
use crate::xdr::{Decoder, Encoder};
use bytes::Bytes;
use womm_vfs::vfs::{Stable, Written};
use womm_vfs::{NodeId, Vfs};

/// How often a stable write is tried beside others that fail.
const STABLE_ATTEMPTS: usize = 3;

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let stateid = cx.resolve(Stateid::decode(from)?)?;
    let offset = from.u64()?;
    let stable = match from.u32()? {
        0 => Stable::Unstable,
        1 => Stable::Data,
        2 => Stable::File,
        _ => return Err(Status::BadXdr.into()),
    };
    let data = from.opaque(MOST_MESSAGE as usize)?;
    let (export, node) = cx.node_to_change()?;
    cx.turn(&export).await?;
    check(cx, &stateid).await?;
    let count = data.len();
    if offset.checked_add(count as u64).is_none_or(|end| end > i64::MAX as u64) {
        return Err(Status::FileTooBig.into());
    }
    let client = cx.client()?;
    let others = cx.server.with_state(|state, _| state.others_who_write(client, key(&export, node)));
    let size = if others.is_empty() { None } else { Some(cx.current_attributes().await?.size) };
    // Before it: what is lost from now on may be this.
    let verifier = export.write_verifier(node);
    let written = match stable {
        Stable::Unstable => {
            let context = cx.server.context(client);
            export.vfs.write(&context, node, offset, data, stable).await?
        }
        Stable::Data | Stable::File => durably(cx, &export, node, (offset, data, stable)).await?,
    };
    if let Some(size) = size {
        let written = appends::Written { client, offset, end: offset + count as u64, size };
        notice_loss(cx, &export, node, written, &others);
    }
    to.count(count).u32(number(written.stable)).fixed_opaque(&verifier);
    Ok(())
}

/// Says so if it was over what another has appended meanwhile.
fn notice_loss<V: Vfs>(
    cx: &Compound<'_, V>,
    export: &Export<V>,
    node: NodeId,
    written: appends::Written,
    others: &[ClientId],
) {
    let (file, appends) = (key(export, node), cx.server.appends());
    if let Some(other) = appends.wrote(file, written, others) {
        let who = cx.server.with_state(|state, _| [written.client, other].map(|client| state.address(client)));
        let path: Vec<_> = export.path.iter().map(|name| String::from_utf8_lossy(name)).collect();
        appends.tell(&format!("/{}", path.join("/")), file, who);
    }
}

/// A stable write has no second look at its verifier: it is done again while others' attempts at the file's durability fail beside
/// it, as the error may have been about this one.
async fn durably<V: Vfs>(
    cx: &Compound<'_, V>,
    export: &Export<V>,
    node: NodeId,
    (offset, data, stable): (u64, Bytes, Stable),
) -> Result<Written, Status> {
    for _ in 0..STABLE_ATTEMPTS {
        let context = cx.server.context(cx.client()?);
        let writing = export.vfs.write(&context, node, offset, data.clone(), stable);
        let (written, others_failed) = export.verifiers.attempt(node, writing).await?;
        if !others_failed {
            return Ok(written);
        }
    }
    Err(Status::Io)
}

/// stable_how4.
pub fn number(stable: Stable) -> u32 {
    match stable {
        Stable::Unstable => 0,
        Stable::Data => 1,
        Stable::File => 2,
    }
}

/// Whether the stateid lets the caller write the current file.
///
/// # Errors
/// As for the stateid; for the special ones ISDIR, SYMLINK, ACCESS.
pub async fn check<V: Vfs>(cx: &mut Compound<'_, V>, stateid: &Stateid) -> Result<(), Status> {
    if *stateid == Stateid::ANONYMOUS || *stateid == Stateid::BYPASS {
        cx.check_file(Status::Symlink).await?;
        let object = cx.object()?.clone();
        cx.check_mode(&object, 2).await?;
    }
    let (client, file) = (cx.client()?, file(cx)?);
    cx.server.with_state(|state, now| state.check_io(client, stateid, file, true, now))
}
