//! OPEN (RFC 8881, 18.16). There are no delegations: why, is said to those who ask for one.

use super::create::CHANGE_NAMES;
use super::{lookup, names};
use crate::attributes::{self, SIZE};
use crate::compound::{Compound, Object, Outcome, key};
use crate::exports::Export;
use crate::state::opens::{READ, WRITE};
use crate::status::Status;
use crate::wire::{Bitmap, Owner, Stateid, decode_owner, encode_change};
use crate::xdr::{Decoder, Encoder};
use bytes::Bytes;
use std::sync::Arc;
use womm_vfs::node::FolderChange;
use womm_vfs::vfs::{Create, New};
use womm_vfs::{Attributes, Kind, Name, NodeId, SetAttributes, Vfs};

/// OPEN4_SHARE_ACCESS_WANT_…: what is wished for of a delegation, and when.
const WANT: u32 = 0xff00;
const WANT_NO_DELEGATION: u32 = 0x400;
const WANT_CANCEL: u32 = 0x500;
const WANT_WHEN: u32 = 0x3_0000;
/// OPEN4_RESULT_LOCKTYPE_POSIX, and PRESERVE_UNLINKED: a file that is open outlives its last name.
const RESULT_FLAGS: u32 = 4 | 8;

struct Arguments {
    access: u32,
    deny: u32,
    want: u32,
    owner: Owner,
    make: Option<Make>,
    claim: Claim,
}

/// openflag4 with OPEN4_CREATE.
struct Make {
    mode: Create,
    set: SetAttributes,
    asked: Bitmap,
}

enum Claim {
    /// CLAIM_NULL.
    Name(Name),
    /// CLAIM_FH.
    Handle,
    /// CLAIM_PREVIOUS.
    Reclaim,
}

/// What is to be opened.
struct Found {
    attributes: Attributes,
    created: bool,
    change: FolderChange,
    set: Bitmap,
    /// Of one that exists, the size to set.
    truncate: Option<u64>,
}

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let arguments = decode(cx, from)?;
    let client = cx.client()?;
    let reclaim = matches!(arguments.claim, Claim::Reclaim);
    cx.server.with_state(|state, now| state.may_get_state(client, reclaim, now))?;
    let (export, here) = cx.node(Status::IsDirectory)?;
    if export.is_drained() {
        return Err(Status::Stale.into());
    }
    if export.terms.read_only && arguments.access & WRITE != 0 {
        return Err(Status::ReadOnly.into());
    }
    let unchanged = FolderChange { before: 0, after: 0, atomic: true };
    let (node, change, set, fresh) = if reclaim {
        export.vfs.reopen(here)?;
        (here, unchanged, Bitmap::default(), None)
    } else {
        cx.turn(&export).await?;
        let found = find(cx, &export, here, &arguments).await?;
        check(cx, &export, &found, &arguments).await?;
        let context = cx.server.context(client);
        let node = found.attributes.id;
        if found.truncate.is_some() {
            let set = SetAttributes { size: found.truncate, ..SetAttributes::default() };
            export.vfs.setattr(&context, node, &set).await?;
        }
        export.vfs.open(&context, node).await?;
        (node, found.change, found.set, found.truncate.is_none().then_some(found.attributes))
    };
    let stateid = take(cx, &export, node, &arguments, reclaim).await?;
    stateid.encode(to);
    encode_change(&change, to);
    to.u32(RESULT_FLAGS);
    set.encode(to);
    encode_no_delegation(arguments.want, to);
    cx.set_current(Object::Node(export, node));
    (cx.stateid, cx.fresh) = (Some(stateid), fresh);
    Ok(())
}

/// The file is open in its file system: what the state says of it. If it is not wanted after all, it is closed there.
async fn take<V: Vfs>(
    cx: &Compound<'_, V>,
    export: &Arc<Export<V>>,
    node: NodeId,
    arguments: &Arguments,
    reclaim: bool,
) -> Result<Stateid, Status> {
    let Arguments { access, deny, owner, .. } = arguments;
    let (client, file) = (cx.client()?, key(export, node));
    let recorded = cx.server.record(client).await;
    let opened = recorded.and_then(|()| {
        cx.server.with_state(|state, now| {
            state.check_open(client, owner, file, (*access, *deny), now)?;
            state.open(client, owner, file, *access, *deny, reclaim)
        })
    });
    if !opened.is_ok_and(|opened| opened.new) {
        export.vfs.close(node);
    }
    match opened {
        Ok(opened) => Ok(opened.stateid),
        Err(Status::ShareDenied) if reclaim => Err(Status::ReclaimConflict),
        Err(status) => Err(status),
    }
}

fn decode<V: Vfs>(cx: &Compound<'_, V>, from: &mut Decoder) -> Result<Arguments, Status> {
    from.u32()?; // seqid
    let (share, deny) = (from.u32()?, from.u32()?);
    let owner = Bytes::copy_from_slice(&decode_owner(from)?);
    let make = match from.u32()? {
        0 => None,
        1 => Some(decode_make(cx, from)?),
        _ => return Err(Status::BadXdr),
    };
    let claim = match from.u32()? {
        0 => Claim::Name(names::decode(from)?),
        1 => match from.u32()? {
            0 => Claim::Reclaim,
            // We have given no delegation that could be taken back.
            1..=5 => return Err(Status::ReclaimBad),
            _ => return Err(Status::BadXdr),
        },
        4 => Claim::Handle,
        // CLAIM_DELEGATE_CUR, CLAIM_DELEG_CUR_FH: of a stateid that we never gave.
        2 | 5 => return Err(Status::BadStateid),
        // CLAIM_DELEGATE_PREV, CLAIM_DELEG_PREV_FH
        3 | 6 => return Err(Status::NotSupported),
        _ => return Err(Status::BadXdr),
    };
    let (access, want) = (share & 3, share & WANT);
    if access == 0 || deny > 3 || share & !(3 | WANT | WANT_WHEN) != 0 || want > WANT_CANCEL {
        return Err(Status::Invalid);
    }
    if make.is_some() && !matches!(claim, Claim::Name(_)) {
        return Err(Status::Invalid);
    }
    Ok(Arguments { access, deny, want, owner, make, claim })
}

fn decode_make<V: Vfs>(cx: &Compound<'_, V>, from: &mut Decoder) -> Result<Make, Status> {
    let mode = match from.u32()? {
        0 => Create::Unchecked,
        1 => Create::Guarded,
        2 => {
            let mode = Create::Exclusive(from.array()?);
            return Ok(Make { mode, set: SetAttributes::default(), asked: Bitmap::default() });
        }
        3 => Create::Exclusive(from.array()?),
        _ => return Err(Status::BadXdr),
    };
    let wanted = attributes::decode(from, cx.owner())?;
    Ok(Make { mode, set: wanted.set, asked: wanted.asked })
}

async fn find<V: Vfs>(
    cx: &mut Compound<'_, V>,
    export: &Arc<Export<V>>,
    here: NodeId,
    arguments: &Arguments,
) -> Result<Found, Status> {
    let Claim::Name(name) = &arguments.claim else {
        let attributes = cx.current_attributes().await?;
        let change = FolderChange { before: 0, after: 0, atomic: true };
        return Ok(Found { attributes, created: false, change, set: Bitmap::default(), truncate: None });
    };
    let folder = cx.object()?.clone();
    let Some(make) = &arguments.make else {
        return found(cx, &folder, name).await;
    };
    if make.mode == Create::Unchecked {
        match found(cx, &folder, name).await {
            Ok(mut found) => {
                found.truncate = make.set.size;
                if found.truncate.is_some() {
                    found.set.insert(SIZE);
                }
                return Ok(found);
            }
            Err(Status::NoEntry) => {}
            Err(status) => return Err(status),
        }
    }
    Compound::check_change(export)?;
    cx.check_mode(&folder, CHANGE_NAMES).await?;
    let new = New::File { mode: make.mode, set: make.set.clone() };
    let context = cx.server.context(cx.client()?);
    match export.vfs.create(&context, here, name, &new).await {
        Ok(created) => {
            let set = if created.new || make.mode != Create::Unchecked { make.asked } else { Bitmap::default() };
            let change = created.folder;
            // One that a repeated request finds was made by it.
            let own = created.new || make.mode != Create::Unchecked;
            Ok(Found { attributes: created.attributes, created: own, change, set, truncate: None })
        }
        Err(error) => Err(cx.not_a_folder(&folder, error.into()).await),
    }
}

/// A file that exists.
async fn found<V: Vfs>(cx: &mut Compound<'_, V>, folder: &Object<V>, name: &Name) -> Result<Found, Status> {
    let (_, attributes) = lookup::find(cx, name.clone()).await?;
    let change = cx.attributes(folder).await?.change;
    let attributes = attributes.ok_or(Status::ServerFault)?;
    let change = FolderChange { before: change, after: change, atomic: true };
    Ok(Found { attributes, created: false, change, set: Bitmap::default(), truncate: None })
}

/// Whether it may be opened so.
async fn check<V: Vfs>(
    cx: &mut Compound<'_, V>,
    export: &Arc<Export<V>>,
    found: &Found,
    arguments: &Arguments,
) -> Result<(), Status> {
    match found.attributes.kind {
        Kind::File => {}
        Kind::Folder => return Err(Status::IsDirectory),
        Kind::Symlink => return Err(Status::Symlink),
    }
    if found.created {
        return Ok(());
    }
    let node = found.attributes.id;
    let writes = arguments.access & WRITE != 0 || found.truncate.is_some();
    if writes {
        Compound::check_change(export)?;
    }
    let bits = if arguments.access & READ != 0 { 4 } else { 0 } | if writes { 2 } else { 0 };
    cx.check_mode(&Object::Node(export.clone(), node), bits).await?;
    let (client, file, owner) = (cx.client()?, key(export, node), &arguments.owner);
    let access = arguments.access | if found.truncate.is_some() { WRITE } else { 0 };
    let shares = (access, arguments.deny);
    cx.server.with_state(|state, now| state.check_open(client, owner, file, shares, now))
}

fn encode_no_delegation(want: u32, to: &mut Encoder) {
    const NONE: u32 = 0;
    const NONE_EXT: u32 = 3;
    // why_no_delegation4
    const NOT_WANTED: u32 = 0;
    const NOT_SUPPORTED: u32 = 3;
    const CANCELLED: u32 = 7;
    match want {
        0 => to.u32(NONE),
        WANT_NO_DELEGATION => to.u32(NONE_EXT).u32(NOT_WANTED),
        WANT_CANCEL => to.u32(NONE_EXT).u32(CANCELLED),
        _ => to.u32(NONE_EXT).u32(NOT_SUPPORTED),
    };
}
