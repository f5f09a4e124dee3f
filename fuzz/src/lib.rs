//! What the fuzz targets do with their input. Without libFuzzer's part, so that the project's
//! tests can run the same (tests/hostile.rs).

pub mod connection;
pub mod fragments;
pub mod input;
pub mod link;
pub mod listener;
pub mod options;
pub mod rig;
pub mod segment;
