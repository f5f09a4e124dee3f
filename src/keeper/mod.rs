//! keeper
pub mod mirror;
