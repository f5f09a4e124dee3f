//! Tests of the connection: rules one by one, and two endpoints over a simulated link.

mod pair;
mod storm;
