//! Makes and checks the image of a project: reads .womm, writes the image section of the record.

fn main() {}
