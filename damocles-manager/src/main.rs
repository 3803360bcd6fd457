//! placeholder entry point
fn main() {}
