//! Tests of the connection: rules one by one, and two endpoints over a simulated link.

mod closing;
mod hostile;
mod matrix;
mod opening;
mod pair;
mod recovery;
mod sending;
mod seqnum;
mod sim;
mod solo;
mod storm;
mod timing;
