//! Pictures of the node.

use std::time::SystemTime;

use super::*;

impl Core {
    pub(super) fn publish(&mut self) {
        self.changed = false;
        self.tell_known();
        self.tell_codes();
        let addrs = self.addrs.borrow().clone();
        let texts = addrs.iter().map(ToString::to_string).collect();
        let relays = self.relays.borrow().clone();
        let hints = relays.iter().map(|standing| standing.relay.clone());
        let link = Link {
            id: self.me,
            addrs,
            relays: hints.collect(),
        };
        let me = Me {
            id: self.me,
            name: self.started.name.clone(),
            link: link.to_string(),
            addrs: texts,
            folder: self.receive_folder(),
            rate_limit: self.limiter.rate(),
            pid: std::process::id(),
            legacy: self.legacy.as_ref().map(|legacy| LegacyMe {
                port: legacy.port(),
                req_port: legacy.req_port(),
                peer_id: legacy.us.to_string(),
            }),
            relays,
            router_port: *self.router_port.borrow(),
            takes_tcp: self.net.takes_tcp(),
            dht: *self.dht.borrow(),
        };
        let peers = self.records.peers().into_iter().map(|(id, record)| {
            let connection = self.connector.pooled(id);
            let words = connection.as_ref().map(|c| c.words().to_owned());
            PeerInfo {
                id,
                record,
                connected: connection.is_some(),
                path: connection.map(|c| c.path()),
                words,
                folder: self.records.folder(id).map(Path::to_owned),
            }
        });
        let transfers = self.book.snapshots(|id| self.person(id));
        let overview = Overview {
            me,
            peers: peers.collect(),
            groups: self.records.groups().into(),
            nearby: self.nearby().into(),
            presence: self.discovery.presence(),
            listens_since: self.discovery.since(),
            multicast: self.checks.multicast.works(),
            sessions: self.sessions.snapshots(&transfers).into(),
            transfers: transfers.into(),
            texts: self.texts.snapshots(|id| self.person(id)).into(),
            codes: self.codes.snapshots().into(),
            passing_on: self.shelves.streams(),
            notices: self.notices.clone(),
            chosen: self.chosen.clone(),
        };
        self.pictures.send_replace(Arc::new(overview));
        if let Some(wake) = &self.wake {
            wake();
        }
    }

    pub(super) fn receive_folder(&self) -> std::path::PathBuf {
        match (&self.expected, &self.rule) {
            (Some(rule), _) | (None, Some(rule)) => rule.folder.clone(),
            (None, None) => self.settings.folder.clone(),
        }
    }

    pub(super) fn person(&self, id: PeerId) -> Person {
        let record = self.records.peer(id);
        // Who knows a code is the one that is meant: there is nothing to compare.
        let proved = self.codes.has_proved(id);
        let connection = self.connector.pooled(id).filter(|_| !proved);
        Person {
            name: record
                .map(|r| r.name().to_owned())
                .filter(|name| !name.is_empty()),
            trusted: record.is_some_and(|r| r.trusted),
            words: connection.map(|c| c.words().to_owned()),
        }
    }
}

/// A picture without anything in it yet.
pub(in crate::node) fn first_picture(
    id: PeerId,
    settings: &Settings,
    presence: Presence,
) -> Overview {
    Overview {
        me: Me {
            id,
            name: settings.name.clone(),
            link: String::new(),
            addrs: Vec::new(),
            folder: settings.folder.clone(),
            rate_limit: settings.rate_limit,
            pid: std::process::id(),
            legacy: None,
            relays: Vec::new(),
            router_port: RouterPort::Off,
            dht: DhtStanding::Off,
            takes_tcp: true,
        },
        peers: Arc::new([]),
        groups: Arc::new([]),
        nearby: Arc::new([]),
        presence,
        listens_since: SystemTime::now(),
        multicast: None,
        transfers: Arc::new([]),
        sessions: Arc::new([]),
        texts: Arc::new([]),
        codes: Arc::new([]),
        passing_on: 0,
        notices: Arc::new([]),
        chosen: chosen(settings, settings),
    }
}
