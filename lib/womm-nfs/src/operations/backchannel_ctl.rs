//! BACKCHANNEL_CTL (RFC 8881, 18.33): taken, and of no consequence, since we never call back.

use super::create_session::decode_callback;
use crate::compound::{Compound, Outcome};
use crate::xdr::Decoder;
use womm_vfs::Vfs;

/// Does it.
pub fn run<V: Vfs>(cx: &mut Compound<'_, V>, from: &mut Decoder) -> Outcome {
    cx.client()?;
    Ok(decode_callback(from)?)
}
