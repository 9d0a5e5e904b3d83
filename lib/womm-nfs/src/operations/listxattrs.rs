//! LISTXATTRS (RFC 8276, 8.4.3).

use crate::compound::{Compound, Outcome};
use crate::status::Status;
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;

/// The cookie, the number of names, the end, bytes.
const AROUND: usize = 8 + 4 + 4;

/// Does it. A cookie is the number of names before it, which are sorted.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let (cookie, most) = (from.u64()?, from.u32()? as usize);
    let (export, node) = cx.node(Status::NotSupported)?;
    cx.turn(&export).await?;
    let object = cx.object()?.clone();
    cx.check_mode(&object, 4).await?;
    let most = most.min(cx.room);
    cx.hold_reply(most).await?;
    let context = cx.server.context(cx.client()?);
    let names = export.vfs.listxattr(&context, node).await?;
    let first = usize::try_from(cookie).ok().filter(|first| *first <= names.len()).ok_or(Status::BadCookie)?;
    let (mut listed, mut count) = (Encoder::new(), 0);
    for name in &names[first..] {
        if AROUND + listed.len() + 4 + name.len().next_multiple_of(4) > most {
            break;
        }
        listed.opaque(name);
        count += 1;
    }
    let end = first + count == names.len();
    if count == 0 && !end {
        return Err(Status::TooSmall.into());
    }
    to.u64((first + count) as u64).count(count).append(listed).bool(end);
    Ok(())
}
