//! Tests of the connection: rules one by one, and two endpoints over a simulated link.

mod closing;
mod hostile;
mod opening;
mod pair;
mod rules;
mod sending;
mod seqnum;
mod solo;
mod storm;
mod timing;
