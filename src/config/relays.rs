//! Relays as people write them: the links that relays print.

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::protocol::link_uri::{LINK_RELAYS_MAX, Link, RelayHint};

/// A list of links.
pub(super) fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<RelayHint>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    if texts.len() > LINK_RELAYS_MAX {
        return Err(D::Error::custom(format!(
            "at most {LINK_RELAYS_MAX} relays"
        )));
    }
    let parsed = texts.iter().map(|text| text.parse().map(Link::into));
    parsed.collect::<Result<_, _>>().map_err(D::Error::custom)
}

/// The list as it is written into the file.
pub(super) fn written(relays: &[RelayHint]) -> String {
    let texts = relays.iter().map(|relay| relay.link().to_string());
    toml::Value::Array(texts.map(toml::Value::from).collect()).to_string()
}
