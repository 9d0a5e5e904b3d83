//! SECINFO (RFC 8881, 18.29): what credentials a name wants. All take the same.

use super::{lookup, names};
use crate::compound::{Compound, Outcome};
use crate::rpc::credentials::{NONE, SYS};
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    let name = names::decode(from)?;
    lookup::find(cx, name).await?;
    answer(cx, to);
    Ok(())
}

/// AUTH_SYS, which a client then prefers, and AUTH_NONE. The current file handle is used up (2.6.3.1.1.8).
pub fn answer<V: Vfs>(cx: &mut Compound<'_, V>, to: &mut Encoder) {
    cx.current = None;
    cx.stateid = None;
    to.u32(2).u32(SYS).u32(NONE);
}
