//! The binary `lectern`.
fn main() {}
