//! The endpoint in virtual time among simulated peers, under attack, and with a reference peer
//! that behaves as originals do.

mod attack;
mod bench;
mod life;
mod original;
mod questions;
