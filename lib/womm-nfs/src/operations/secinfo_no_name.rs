//! SECINFO_NO_NAME (RFC 8881, 18.45).

use super::{lookupp, secinfo};
use crate::compound::{Compound, Outcome};
use crate::status::Status;
use crate::xdr::{Decoder, Encoder};
use womm_vfs::Vfs;

/// Does it.
pub async fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder, to: &mut Encoder) -> Outcome {
    match from.u32()? {
        0 => {
            cx.object()?;
        }
        1 => lookupp::run(cx).await?,
        _ => return Err(Status::BadXdr.into()),
    }
    secinfo::answer(cx, to);
    Ok(())
}
