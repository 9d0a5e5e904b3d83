//! An immutable snapshot and what one task wrote over it, as a file system for womm-nfs.
