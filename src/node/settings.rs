//! Settings that change while the node runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::api::{Chosen, Reply};
use super::commands::{Replied, not_found};
use super::core::Core;
use super::near::{dht_use, wants_router_port};
use crate::config::{LegacyMode, Setting, Settings};
use crate::fault::Fault;
use crate::peer::PeerId;
use crate::protocol::link_uri::RelayHint;
use crate::storage::folder::Folder;
use crate::storage::refusal::refusal;

/// What was read once, when the sockets were opened.
const AT_START: [&str; 6] = [
    "name",
    "port",
    "announce",
    "legacy",
    "legacy_port",
    "legacy_req_port",
];

impl Core {
    pub(super) fn set(&mut self, setting: Setting) -> Replied {
        if let Setting::Folder(folder) = &setting {
            self.check_writable(folder)?;
        }
        self.settings.change(setting, &self.paths)?;
        self.limiter.set(self.settings.rate_limit);
        // Those that are not wanted any more are used until the end.
        let relays = self.settings.relays.clone();
        self.use_relays(&relays)?;
        let wanted = wants_router_port(&self.settings, self.discovery.presence());
        self.net.want_router_port(wanted);
        self.net
            .use_dht(dht_use(&self.settings, self.discovery.presence()));
        if let Some(legacy) = &self.legacy {
            legacy.set(&self.settings);
        }
        self.chosen = chosen(&self.settings, &self.started);
        Ok(Reply::Done)
    }

    /// Listens at these relays from now on.
    pub(super) fn use_relays(&mut self, relays: &[RelayHint]) -> Replied {
        let known = |relay: &RelayHint| self.relays.borrow().iter().any(|r| r.relay == *relay);
        if !relays.iter().all(known) {
            self.checks.wait_again();
        }
        self.net.listen_at(relays);
        Ok(Reply::Done)
    }

    pub(super) async fn set_peer_folder(
        &mut self,
        peer: PeerId,
        folder: Option<PathBuf>,
    ) -> Replied {
        if self.records.peer(peer).is_none() {
            return Err(not_found("such peer"));
        }
        if let Some(folder) = &folder {
            if !folder.is_absolute() {
                let why = "expected the whole path of a folder".into();
                return Err(Fault::Invalid { why });
            }
            self.check_writable(folder)?;
        }
        self.records.set_folder(peer, folder).await;
        Ok(Reply::Done)
    }

    fn check_writable(&self, folder: &Path) -> Result<(), Fault> {
        self.check_folder(folder)?;
        let usable = Folder::open(folder).and_then(|opened| opened.check_writable());
        usable.map_err(|error| Fault::CannotWrite {
            path: folder.to_owned(),
            why: refusal(folder, &error),
        })
    }
}

/// What a node that was `started` with other settings says about those of now.
pub(super) fn chosen(now: &Settings, started: &Settings) -> Arc<Chosen> {
    let closed = |settings: &Settings| settings.legacy == LegacyMode::Off;
    let rows = now.rows().into_iter().zip(started.rows());
    let waits = rows.filter(|((key, now_is), (_, was))| {
        // Whether to send to old versions is asked each time; only their ports are not.
        let holds = *key == "legacy" && closed(now) == closed(started);
        let is_left = |relay: &RelayHint| !now.relays.contains(relay);
        let leaves = *key == "relays" && started.relays.iter().any(is_left);
        leaves || AT_START.contains(key) && now_is != was && !holds
    });
    Arc::new(Chosen {
        settings: now.clone(),
        after_restart: waits.map(|((key, _), _)| key.to_owned()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PassOn;

    #[test]
    fn only_what_is_read_at_the_start_waits_for_the_next() {
        let started = Settings::default();
        let waits = |change: fn(&mut Settings)| {
            let mut now = started.clone();
            change(&mut now);
            chosen(&now, &started).after_restart.join(" ")
        };
        assert_eq!(waits(|_| {}), "");
        assert_eq!(waits(|s| s.name = "other".into()), "name");
        assert_eq!(waits(|s| s.pass_on = PassOn::Never), "");
        assert_eq!(waits(|s| s.legacy = LegacyMode::ReceiveOnly), "");
        assert_eq!(waits(|s| s.legacy = LegacyMode::Off), "legacy");
        assert_eq!(waits(|s| s.port = 1), "port");
        // Another relay is used at once; one that is not wanted any more is left at the next start.
        let mut relay = RelayHint {
            id: crate::peer::PeerId::from_bytes([1; 32]),
            addrs: Vec::new(),
        };
        let with = Settings {
            relays: vec![relay.clone()],
            ..started.clone()
        };
        assert!(chosen(&with, &started).after_restart.is_empty());
        assert_eq!(chosen(&started, &with).after_restart.join(" "), "relays");
        relay.id = crate::peer::PeerId::from_bytes([2; 32]);
        let other = Settings {
            relays: vec![relay],
            ..started.clone()
        };
        assert_eq!(chosen(&other, &with).after_restart.join(" "), "relays");
    }

    #[test]
    fn settings_are_the_same_behind_the_control_socket() {
        let settings = Settings {
            rate_limit: Some(u64::MAX / 4),
            ..Settings::default()
        };
        for sent in [Settings::default(), settings] {
            let text = serde_json::to_string(&sent).unwrap_or_default();
            let back: Option<Settings> = serde_json::from_str(&text).ok();
            assert_eq!(back, Some(sent));
        }
    }
}
