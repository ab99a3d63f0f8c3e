//! PeerConnect sends files between people's computers: directly, encrypted, verified.
//!
//! Layers, each using only those below it (`tests/tidy.rs` checks the `use` lines):
//! [`node`] over [`otm`] over [`transfer`] over [`net`] and [`storage`] over [`identity`] over
//! [`protocol`], [`peer`], [`config`], [`fault`] and [`text`].

pub mod config;
pub mod fault;
pub mod identity;
pub mod net;
pub mod node;
pub mod otm;
pub mod peer;
pub mod protocol;
pub mod storage;
pub mod text;
pub mod transfer;
