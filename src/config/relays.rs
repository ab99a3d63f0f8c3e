//! Relays as people write them: the links that relays print.

use serde::Serializer;
use serde::de::{Deserializer, Error};

use super::lists;
use crate::protocol::link_uri::{LINK_RELAYS_MAX, Link, RelayHint};

/// A list of links; or a text with several, as it is typed.
pub(super) fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<RelayHint>, D::Error> {
    let texts = lists::read(from)?;
    if texts.len() > LINK_RELAYS_MAX {
        return Err(D::Error::custom(format!(
            "at most {LINK_RELAYS_MAX} relays"
        )));
    }
    let parsed = texts.iter().map(|text| text.parse().map(Link::into));
    parsed.collect::<Result<_, _>>().map_err(D::Error::custom)
}

/// The same list of links, for other processes.
pub(super) fn write<S: Serializer>(relays: &[RelayHint], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(links(relays))
}

/// The list as it is typed.
pub fn typed(relays: &[RelayHint]) -> String {
    lists::typed(&links(relays))
}

/// The list as it is written into the file.
pub(super) fn written(relays: &[RelayHint]) -> String {
    lists::written(links(relays))
}

fn links(relays: &[RelayHint]) -> Vec<String> {
    let links = relays.iter().map(|relay| relay.link().to_string());
    links.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::peer::PeerId;

    #[test]
    fn what_one_process_says_another_one_reads() {
        let relay = |n| RelayHint {
            id: PeerId::from_bytes([n; 32]),
            addrs: vec!["192.0.2.1:3487".parse().unwrap()],
        };
        for relays in [vec![], vec![relay(1)], vec![relay(1), relay(2)]] {
            let settings = Settings {
                relays,
                ..Settings::default()
            };
            let said = serde_json::to_string(&settings).unwrap();
            let read: Settings = serde_json::from_str(&said).unwrap();
            assert_eq!(read, settings);
        }
    }
}
