//! GETFH (RFC 8881, 18.8).

use crate::compound::{Compound, Outcome};
use crate::xdr::Encoder;
use womm_vfs::Vfs;

/// Does it.
pub fn run<V: Vfs>(cx: &mut Compound<'_, V>, to: &mut Encoder) -> Outcome {
    to.opaque(&cx.seal(cx.object()?));
    Ok(())
}
