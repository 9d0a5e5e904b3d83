//! Makes, watches and deletes the pods of a task.

fn main() {}
