//! The suite on the memory backend.

use std::sync::Arc;
use womm_vfs::clock::SystemClock;
use womm_vfs::memory::MemoryVfs;
use womm_vfs::suite::Backend;

struct Memory(Arc<MemoryVfs>);

impl Backend for Memory {
    type Vfs = MemoryVfs;

    fn fresh() -> Self {
        Self(Arc::new(MemoryVfs::new(Arc::new(SystemClock))))
    }

    fn vfs(&self) -> &Arc<MemoryVfs> {
        &self.0
    }

    fn restart(self) -> Self {
        Self(Arc::new(self.0.restart()))
    }
}

womm_vfs::suite!(Memory);

/// Names meet all the time.
mod names_that_meet {
    use super::*;

    struct FewCookies(Arc<MemoryVfs>);

    impl Backend for FewCookies {
        type Vfs = MemoryVfs;

        fn fresh() -> Self {
            Self(Arc::new(MemoryVfs::with_cookie_bits(Arc::new(SystemClock), 3)))
        }

        fn vfs(&self) -> &Arc<MemoryVfs> {
            &self.0
        }

        fn restart(self) -> Self {
            Self(Arc::new(self.0.restart()))
        }
    }

    womm_vfs::suite!(FewCookies);
}
