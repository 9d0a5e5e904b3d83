//! What happens to a file system unasked.

use crate::node::NodeId;

/// Told to all who listen. A hint: one who lags behind the channel misses some, and must then ask again about everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// What was known of these nodes may be wrong: somebody else changed them.
    Invalid(Vec<NodeId>),
    /// What is behind the file system can't be reached.
    Away,
    /// It can be reached again.
    Back,
}
