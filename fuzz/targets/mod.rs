//! What is fuzzed: each target takes any bytes and panics when something is wrong. The fuzzer
//! runs them with new bytes, a plain test with those that once were too much.

mod codecs;
mod files;
mod legacy;
mod script;
mod states;
mod upnp;

/// One target.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Target); 12] = [
    ("frames", codecs::frames),
    ("addresses", codecs::addresses),
    ("names", codecs::names),
    ("pieces", codecs::pieces),
    ("control", codecs::control),
    ("legacy", legacy::legacy),
    ("journal", files::journal),
    ("kept", files::kept),
    ("settings", files::settings),
    ("receiver", states::receiver),
    ("sender", states::sender),
    ("upnp", upnp::upnp),
];

/// The target of this name.
pub fn find(name: &str) -> Option<Target> {
    let found = TARGETS.iter().find(|(known, _)| *known == name)?;
    Some(found.1)
}
