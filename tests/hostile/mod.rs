//! What the hostile peer can do, and the world that it does it to.

mod greeting;
mod peer;
mod world;
