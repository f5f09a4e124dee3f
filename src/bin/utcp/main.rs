//! The `utcp` command.
fn main() {}
