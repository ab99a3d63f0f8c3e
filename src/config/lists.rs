//! Lists as people write them: several words in one text, or a list of texts.

use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// What stands for none, where something must stand.
const NONE: &str = "none";
/// Most nodes of the DHT to begin at.
const DHT_NODES_MAX: usize = 16;

/// A list of texts; or a text with several, as it is typed.
pub(super) fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Texts {
        List(Vec<String>),
        Typed(String),
    }
    Ok(match Texts::deserialize(from)? {
        Texts::List(texts) => texts,
        Texts::Typed(text) => {
            let words = text.split([' ', ',', '\n']).filter(|word| !word.is_empty());
            words
                .filter(|word| *word != NONE)
                .map(str::to_owned)
                .collect()
        }
    })
}

/// A list as it is typed.
pub(super) fn typed(texts: &[String]) -> String {
    match texts.is_empty() {
        true => NONE.into(),
        false => texts.join(" "),
    }
}

/// A list as it is written into the file.
pub(super) fn written(texts: Vec<String>) -> String {
    toml::Value::from(texts).to_string()
}

/// Nodes of the DHT: `HOST:PORT` each.
pub(super) fn read_nodes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let nodes = read(from)?;
    match check_nodes(&nodes) {
        None => Ok(nodes),
        Some(why) => Err(D::Error::custom(why)),
    }
}

/// What is wrong with them, if something is.
pub(super) fn check_nodes(nodes: &[String]) -> Option<String> {
    if nodes.len() > DHT_NODES_MAX {
        return Some(format!("at most {DHT_NODES_MAX} nodes"));
    }
    let good = nodes.iter().all(|node| is_host_port(node));
    (!good).then(|| "expected HOST:PORT of each node".to_owned())
}

/// Whether it can be a host name or an IPv4 address, and a port: the DHT of IPv6 is another one.
fn is_host_port(node: &str) -> bool {
    node.split_once(':').is_some_and(|(host, port)| {
        let is_host = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
        !host.is_empty() && host.chars().all(is_host) && is_port
    })
}
