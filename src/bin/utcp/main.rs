//! The `utcp` command.

mod capture;
mod diff;
mod ladder;
mod model;
mod netns;
mod paint;
mod procs;
mod sides;
mod states;
mod trouble;
fn main() {}
