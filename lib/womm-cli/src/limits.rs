//! Limits of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many descriptors as we may have: jobs, pods and GNU parallel need several each.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Whoever runs out of them says so itself.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
