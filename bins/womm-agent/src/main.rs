//! Runs jobs in a pod, and GNU parallel on the workstation, and leaves none of their processes behind.

fn main() {}
