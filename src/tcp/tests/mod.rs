//! Tests of the connection: rules one by one, and two endpoints over a simulated link.

mod opening;
mod pair;
mod solo;
mod storm;
