//! Tests of the connection: rules one by one, and two endpoints over a simulated link.

mod closing;
mod control;
mod cubic;
mod ecn;
mod hostile;
mod matrix;
mod mtu;
mod opening;
mod pair;
mod pushing;
mod recovery;
mod repair;
mod resend;
mod rules;
mod sending;
mod seqnum;
mod sim;
mod solo;
mod storm;
mod timing;
