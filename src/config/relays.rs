//! Relays as people write them: the links that relays print.

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::protocol::link_uri::{LINK_RELAYS_MAX, Link, RelayHint};

/// What stands for none, where something must stand.
const NONE: &str = "none";

/// A list of links; or a text with several, as it is typed.
pub(super) fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<RelayHint>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Links {
        List(Vec<String>),
        Typed(String),
    }
    let texts: Vec<String> = match Links::deserialize(from)? {
        Links::List(texts) => texts,
        Links::Typed(text) => {
            let words = text.split([' ', ',', '\n']).filter(|word| !word.is_empty());
            words
                .filter(|word| *word != NONE)
                .map(str::to_owned)
                .collect()
        }
    };
    if texts.len() > LINK_RELAYS_MAX {
        return Err(D::Error::custom(format!(
            "at most {LINK_RELAYS_MAX} relays"
        )));
    }
    let parsed = texts.iter().map(|text| text.parse().map(Link::into));
    parsed.collect::<Result<_, _>>().map_err(D::Error::custom)
}

/// The list as it is typed.
pub fn typed(relays: &[RelayHint]) -> String {
    let texts: Vec<String> = relays.iter().map(|one| one.link().to_string()).collect();
    match texts.is_empty() {
        true => NONE.into(),
        false => texts.join(" "),
    }
}

/// The list as it is written into the file.
pub(super) fn written(relays: &[RelayHint]) -> String {
    let texts = relays.iter().map(|relay| relay.link().to_string());
    toml::Value::Array(texts.map(toml::Value::from).collect()).to_string()
}
