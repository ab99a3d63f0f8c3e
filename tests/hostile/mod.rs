//! What the hostile peer can do, and the world that it does it to.

mod accepted;
mod consent;
mod greeting;
mod names;
mod offers;
mod peer;
mod receiver;
mod world;
