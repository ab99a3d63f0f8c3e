#![doc = include_str!("README.md")]

pub mod close;
pub mod codes;
pub mod frame;
pub mod groups;
pub mod legacy;
pub mod limits;
pub mod link_uri;
pub mod message;
pub mod pake;
pub mod relay;
pub mod sessions;
pub mod tcp;
pub mod texts;
pub mod words;
