//! An ssh for GNU parallel, rsync, scp and people that leads into pods.

fn main() {}
