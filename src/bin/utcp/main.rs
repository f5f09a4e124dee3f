//! The `utcp` command.

mod ladder;
mod model;
mod paint;
mod sides;
mod states;
fn main() {}
