//! Trees in virtual time, and content that several read.

mod flow;
mod forming;
mod links;
mod refusals;
