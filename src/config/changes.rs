//! Changing one setting: checked, written to the settings file, and nothing else with it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Announce, ConflictPolicy, Dht, LegacyMode, LegacyUnanswered, PassOn, Paths, PortMapping,
    Settings, SettingsError, typed_relays,
};
use crate::protocol::link_uri::{LINK_RELAYS_MAX, RelayHint};
use crate::protocol::message::NAME_LEN_MAX;

/// Shortest and longest time that an offer can wait for an answer: an answer takes some seconds,
/// and nobody waits longer than a day.
const ANSWER_TIMES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_secs(86_400);

/// A setting and its new value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Setting {
    /// See [`Settings::name`].
    Name(String),
    /// See [`Settings::folder`].
    Folder(#[serde(with = "crate::text::path")] PathBuf),
    /// See [`Settings::port`].
    Port(u16),
    /// See [`Settings::announce`].
    Announce(Announce),
    /// See [`Settings::on_conflict`].
    OnConflict(ConflictPolicy),
    /// See [`Settings::rate_limit`].
    RateLimit(Option<u64>),
    /// See [`Settings::pass_on`].
    PassOn(PassOn),
    /// See [`Settings::port_mapping`].
    PortMapping(PortMapping),
    /// See [`Settings::dht`].
    Dht(Dht),
    /// See [`Settings::dht_nodes`].
    DhtNodes(Vec<String>),
    /// See [`Settings::relays`].
    Relays(Vec<RelayHint>),
    /// See [`Settings::answer_timeout`].
    AnswerTimeout(Duration),
    /// See [`Settings::legacy`].
    Legacy(LegacyMode),
    /// See [`Settings::legacy_port`].
    LegacyPort(u16),
    /// See [`Settings::legacy_req_port`].
    LegacyReqPort(u16),
    /// See [`Settings::legacy_unanswered`].
    LegacyUnanswered(LegacyUnanswered),
}

impl Setting {
    /// A setting as it is typed: a key of the settings file and a value, without quotes.
    pub fn parse(key: &str, value: &str) -> Result<Self, SettingsError> {
        let line = |value: &str| format!("{key} = {value}");
        let read = |text: &str| Settings::parse(&line(text), "".as_ref());
        // Numbers are the only values that a file has without quotes.
        let quoted = toml::Value::from(value).to_string();
        let settings = match (read(&quoted), value.parse::<u16>()) {
            (Err(_), Ok(number)) => read(&number.to_string()),
            (read, _) => read,
        };
        let settings = settings.map_err(|error| match error {
            SettingsError::Invalid { why, .. } => invalid(key, why),
            file @ SettingsError::File { .. } => file,
        })?;
        let setting = settings.setting(key).ok_or_else(|| {
            let why = "there is no such setting".to_owned();
            invalid(key, why)
        })?;
        setting.check()?;
        Ok(setting)
    }

    /// Its key in the settings file.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Name(_) => "name",
            Self::Folder(_) => "folder",
            Self::Port(_) => "port",
            Self::Announce(_) => "announce",
            Self::OnConflict(_) => "on_conflict",
            Self::RateLimit(_) => "rate_limit",
            Self::PassOn(_) => "pass_on",
            Self::PortMapping(_) => "port_mapping",
            Self::Dht(_) => "dht",
            Self::DhtNodes(_) => "dht_nodes",
            Self::Relays(_) => "relays",
            Self::AnswerTimeout(_) => "answer_timeout",
            Self::Legacy(_) => "legacy",
            Self::LegacyPort(_) => "legacy_port",
            Self::LegacyReqPort(_) => "legacy_req_port",
            Self::LegacyUnanswered(_) => "legacy_unanswered",
        }
    }

    /// Whether the value makes sense; whether a folder can be written is not looked at.
    pub fn check(&self) -> Result<(), SettingsError> {
        let why = match self {
            Self::Name(name) if name.trim().is_empty() => "a computer needs a name".to_owned(),
            Self::Name(name) if name.len() > NAME_LEN_MAX => {
                format!("a name has at most {NAME_LEN_MAX} bytes")
            }
            Self::Folder(folder) if !folder.is_absolute() => {
                "expected the whole path of a folder".to_owned()
            }
            Self::RateLimit(Some(0)) => "a limit of nothing would send nothing".to_owned(),
            Self::AnswerTimeout(time) if !ANSWER_TIMES.contains(time) => {
                "expected a time from 5s to 1d".to_owned()
            }
            Self::Name(_) | Self::Folder(_) | Self::RateLimit(_) | Self::AnswerTimeout(_) => {
                return Ok(());
            }
            Self::Port(_) | Self::LegacyPort(_) | Self::LegacyReqPort(_) => return Ok(()),
            Self::Relays(relays) if relays.len() > LINK_RELAYS_MAX => {
                format!("at most {LINK_RELAYS_MAX} relays")
            }
            Self::Relays(relays) if relays.iter().any(|relay| relay.addrs.is_empty()) => {
                "expected the links that `peerconnect relay` prints".to_owned()
            }
            Self::Relays(_) => return Ok(()),
            Self::Announce(_) | Self::OnConflict(_) | Self::PassOn(_) => return Ok(()),
            Self::Legacy(_) | Self::LegacyUnanswered(_) | Self::PortMapping(_) => return Ok(()),
            Self::DhtNodes(nodes) => match super::lists::check_nodes(nodes) {
                Some(why) => why,
                None => return Ok(()),
            },
            Self::Dht(_) => return Ok(()),
        };
        Err(invalid(self.key(), why))
    }

    fn put(self, settings: &mut Settings) {
        match self {
            Self::Name(name) => settings.name = name.trim().to_owned(),
            Self::Folder(folder) => settings.folder = folder,
            Self::Port(port) => settings.port = port,
            Self::Announce(announce) => settings.announce = announce,
            Self::OnConflict(policy) => settings.on_conflict = policy,
            Self::RateLimit(limit) => settings.rate_limit = limit,
            Self::PassOn(pass_on) => settings.pass_on = pass_on,
            Self::PortMapping(mapping) => settings.port_mapping = mapping,
            Self::Dht(dht) => settings.dht = dht,
            Self::DhtNodes(nodes) => settings.dht_nodes = nodes,
            Self::Relays(relays) => settings.relays = relays,
            Self::AnswerTimeout(time) => settings.answer_timeout = time,
            Self::Legacy(mode) => settings.legacy = mode,
            Self::LegacyPort(port) => settings.legacy_port = port,
            Self::LegacyReqPort(port) => settings.legacy_req_port = port,
            Self::LegacyUnanswered(what) => settings.legacy_unanswered = what,
        }
    }
}

fn invalid(place: &str, why: String) -> SettingsError {
    SettingsError::Invalid {
        place: place.to_owned(),
        why,
    }
}

impl Settings {
    /// Checks a setting, writes it to the settings file and takes it over. What else is different
    /// here from the file (by a flag or the environment) does not get into it.
    pub fn change(&mut self, setting: Setting, paths: &Paths) -> Result<(), SettingsError> {
        setting.check()?;
        let mut kept = Self::from_file(&paths.settings_file())?;
        setting.clone().put(&mut kept);
        kept.save(paths)?;
        setting.put(self);
        Ok(())
    }

    /// The setting with this key, as it is here.
    fn setting(&self, key: &str) -> Option<Setting> {
        Some(match key {
            "name" => Setting::Name(self.name.clone()),
            "folder" => Setting::Folder(self.folder.clone()),
            "port" => Setting::Port(self.port),
            "announce" => Setting::Announce(self.announce),
            "on_conflict" => Setting::OnConflict(self.on_conflict),
            "rate_limit" => Setting::RateLimit(self.rate_limit),
            "pass_on" => Setting::PassOn(self.pass_on),
            "port_mapping" => Setting::PortMapping(self.port_mapping),
            "dht" => Setting::Dht(self.dht),
            "dht_nodes" => Setting::DhtNodes(self.dht_nodes.clone()),
            "relays" => Setting::Relays(self.relays.clone()),
            "answer_timeout" => Setting::AnswerTimeout(self.answer_timeout),
            "legacy" => Setting::Legacy(self.legacy),
            "legacy_port" => Setting::LegacyPort(self.legacy_port),
            "legacy_req_port" => Setting::LegacyReqPort(self.legacy_req_port),
            "legacy_unanswered" => Setting::LegacyUnanswered(self.legacy_unanswered),
            _ => return None,
        })
    }

    /// Keys and values of all settings, in the order of the file, as they are typed.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let rows = self.fields().into_iter();
        rows.map(|(key, _, value)| match value.parse::<toml::Value>() {
            Ok(toml::Value::String(text)) => (key, text),
            Ok(toml::Value::Array(_)) if key == "relays" => (key, typed_relays(&self.relays)),
            Ok(toml::Value::Array(_)) if key == "dht_nodes" => {
                (key, super::lists::typed(&self.dht_nodes))
            }
            Ok(_) | Err(_) => (key, value),
        })
        .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::peer::PeerId;

    fn relay() -> RelayHint {
        RelayHint {
            id: PeerId::from_bytes([1; 32]),
            addrs: vec!["192.0.2.1:3487".parse().unwrap()],
        }
    }

    #[test]
    fn every_setting_that_is_typed_arrives_in_the_file_and_nothing_else_does() {
        let link = relay().link().to_string();
        for (key, value) in [
            ("name", "Desk \"1\""),
            ("name", "7"),
            ("folder", "/srv/in"),
            ("port", "4000"),
            ("announce", "never"),
            ("on_conflict", "ask"),
            ("rate_limit", "20M"),
            ("pass_on", "never"),
            ("port_mapping", "off"),
            ("dht", "on"),
            ("dht_nodes", "dht.example.org:6881, 192.0.2.1:6881"),
            ("relays", link.as_str()),
            ("answer_timeout", "2min"),
            ("legacy", "off"),
            ("legacy_port", "0"),
            ("legacy_req_port", "1"),
            ("legacy_unanswered", "decline"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let paths = Paths::below(folder.path());
            // As if a flag had changed everything.
            let mut now = Settings {
                name: "flag".into(),
                port: 9,
                legacy: LegacyMode::ReceiveOnly,
                ..Settings::default()
            };
            let setting = Setting::parse(key, value).unwrap();
            assert_eq!(setting.key(), key);
            now.change(setting.clone(), &paths).unwrap();
            assert_eq!(now.setting(key), Some(setting.clone()));
            let mut kept = Settings::default();
            setting.put(&mut kept);
            assert_ne!(kept, Settings::default(), "{key} is tried with its default");
            let file = Settings::from_file(&paths.settings_file()).unwrap();
            assert_eq!(file, kept, "{key}");
        }
        for (key, ..) in Settings::default().fields() {
            assert!(Settings::default().setting(key).is_some(), "{key}");
        }
    }

    #[test]
    fn nonsense_is_refused_and_changes_nothing() {
        for (key, value) in [
            ("name", "  "),
            ("folder", "in"),
            ("port", "70000"),
            ("announce", "some"),
            ("rate_limit", "0"),
            ("answer_timeout", "1s"),
            ("relays", "there"),
            ("dht_nodes", "there"),
            ("dht_nodes", "there:0"),
            ("dht_nodes", "[::1]:6881"),
            ("nmae", "x"),
            ("name\nport", "1"),
        ] {
            assert!(Setting::parse(key, value).is_err(), "{key} = {value}");
        }
        let long = "x".repeat(NAME_LEN_MAX + 1);
        assert!(Setting::parse("name", &long).is_err());
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::below(folder.path());
        let mut settings = Settings::default();
        let refused = settings.change(Setting::RateLimit(Some(0)), &paths);
        assert!(refused.is_err() && !paths.settings_file().exists());
    }

    #[test]
    fn settings_are_listed_as_they_are_typed() {
        let settings = Settings {
            name: "Desk \"1\"".into(),
            relays: vec![relay(), relay()],
            ..Settings::default()
        };
        let rows = settings.rows();
        assert!(rows.contains(&("name", "Desk \"1\"".to_owned())));
        assert!(rows.contains(&("rate_limit", "none".to_owned())));
        for (key, value) in rows {
            let read = Setting::parse(key, &value).unwrap();
            assert_eq!(Some(read), settings.setting(key), "{key}");
        }
    }
}
