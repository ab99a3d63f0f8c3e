//! Who is near, together with what is remembered, and how peers are called by it.

use super::NodeOptions;
use super::api::{Found, Nearby, Presence, Reply};
use super::core::Core;
use super::dial::{Callee, Lookup, add_relay};
use super::names::{self, Meant};
use super::outgoing::To;
use crate::config::{Announce, Dht, PortMapping, Settings};
use crate::fault::Fault;
use crate::net::DhtUse;
use crate::net::discovery::{Discovery, DiscoveryOptions, Input, NearPeer, Who};
use crate::peer::PeerId;
use crate::protocol::link_uri::Address;
use crate::transfer::bookkeeper::unix_now;

/// Begins to find others and be found, as far as the settings allow it.
pub(super) fn discover(me: PeerId, options: &NodeOptions, port: u16) -> Discovery {
    Discovery::start(DiscoveryOptions {
        me,
        name: options.settings.name.clone(),
        port,
        bind: options.bind,
        presence: presence(&options.settings, options.presence),
    })
}

/// How much is said and listened to, as far as the settings allow it.
pub(super) fn presence(settings: &Settings, wanted: Presence) -> Presence {
    match settings.announce {
        Announce::All => wanted,
        Announce::Never => Presence::Off,
    }
}

/// Whether the router shall lead a port here: for those who can be told of it, and only where
/// something may be sent into the network at all.
pub(super) fn wants_router_port(settings: &Settings, presence: Presence) -> bool {
    presence == Presence::Announce && settings.port_mapping == PortMapping::On
}

/// What the DHT is used for: those who are not told of in the network are not told of there.
pub(super) fn dht_use(settings: &Settings, presence: Presence) -> DhtUse {
    let is_on = settings.dht == Dht::On;
    DhtUse {
        search: is_on,
        publish: is_on && presence == Presence::Announce,
        nodes: settings.dht_nodes.clone(),
    }
}

impl Core {
    /// Everybody who is near, those we know first, then by name.
    pub(super) fn nearby(&self) -> Vec<Nearby> {
        let peers = self.discovery.near().peers();
        let mut nearby: Vec<Nearby> = peers.iter().map(|peer| self.near_peer(peer)).collect();
        nearby.sort_by(|a, b| {
            let order = |n: &Nearby| (!n.trusted, !n.known, n.name.to_lowercase());
            order(a).cmp(&order(b)).then_with(|| a.who.cmp(&b.who))
        });
        nearby
    }

    fn near_peer(&self, peer: &NearPeer) -> Nearby {
        let key = match &peer.who {
            Who::Key(id) => Some(*id),
            Who::Original(_) => None,
        };
        let record = key.and_then(|id| self.records.peer(id));
        // A name of our own, or one that was proven in a greeting, says more than a claim.
        let own = record.and_then(|record| record.own_name.clone());
        let greeted = record
            .map(|r| r.claimed_name.clone())
            .filter(|_| record.is_some_and(|record| record.trusted) || peer.name.is_empty());
        let name = own.or(greeted).unwrap_or_else(|| peer.name.clone());
        let name = match (name.is_empty(), &peer.who) {
            (false, _) => name,
            (true, Who::Key(id)) => id.short(),
            (true, Who::Original(id)) => id.requests.ip().to_string(),
        };
        let connected = key.is_some_and(|id| self.connector.pooled(id).is_some());
        Nearby {
            // A connection says more than a claim.
            misses_us: peer.misses_us && !connected,
            name,
            trusted: record.is_some_and(|record| record.trusted),
            known: record.is_some(),
            connected,
            last_seen: unix_now().saturating_sub(peer.heard.elapsed().as_secs()),
            addrs: peer.addrs.clone(),
            who: peer.who,
        }
    }

    /// Tells the list whom we know, if that changed.
    pub(super) fn tell_known(&mut self) {
        if let Some(known) = self.records.new_acquaintances() {
            // Full of news from the network: it is told with the next change.
            let _ = self.discovery.inputs().try_send(Input::Known(known));
        }
    }

    /// How a known or near peer is called.
    pub(super) fn callee_of(&self, peer: PeerId) -> Callee {
        let record = self.records.peer(peer);
        let near = self.discovery.near();
        let peers = near.peers();
        let name = || {
            peers
                .iter()
                .find(|p| p.who == Who::Key(peer))
                .map(|p| p.name.clone())
        };
        let name = record.map(|r| r.name().to_owned()).or_else(name);
        Callee {
            expect: Some(peer),
            addrs: record.map(|r| r.addrs.clone()).unwrap_or_default(),
            relays: self.records.relays(peer),
            near: near.clone(),
            host: None,
            shown: name
                .filter(|n| !n.is_empty())
                .unwrap_or_else(|| peer.short()),
            lookup: Lookup::ByKey,
        }
    }

    /// What a person typed: a link, the name or key of a peer, or an address.
    pub(super) async fn callee(&self, text: &str) -> Result<Callee, Fault> {
        match self.recipient(text).await? {
            To::Peer(callee) => Ok(callee),
            To::Original(_) => Err(Fault::Invalid {
                why: "an old version has no key; files can only be sent to it".into(),
            }),
        }
    }

    /// To whom files go, as a person typed it: as for [`Self::callee`], or an original.
    pub(super) async fn recipient(&self, text: &str) -> Result<To, Fault> {
        let shown = text.trim().to_owned();
        let callee = match self.meant(&shown).await? {
            (Found::Original(id), _) => return self.original(id.address()).map(To::Original),
            (_, Some(Address::Legacy(address))) => {
                return self.original(address).map(To::Original);
            }
            (Found::Sure(peer) | Found::Claimed(peer), _) => Ok(self.callee_of(peer)),
            (Found::Address | Found::Host, Some(Address::Link(link))) => {
                let known = self.callee_of(link.id);
                let mut addrs = link.addrs;
                let more = known.addrs.iter().filter(|a| !addrs.contains(a)).copied();
                let more: Vec<_> = more.collect();
                addrs.extend(more);
                let mut relays = known.relays.clone();
                for relay in link.relays.into_iter().rev() {
                    add_relay(&mut relays, relay);
                }
                Ok(Callee {
                    addrs,
                    relays,
                    ..known
                })
            }
            (Found::Address | Found::Host, Some(Address::HostPort(host, port))) => Ok(Callee {
                expect: self.pinned(&shown).await?,
                addrs: Vec::new(),
                relays: Vec::new(),
                near: self.discovery.near().clone(),
                host: Some((host, port)),
                shown,
                lookup: Lookup::ByKey,
            }),
            (Found::Address | Found::Host, None) => Err(Fault::Invalid {
                why: format!("\"{shown}\" is no link, peer or address"),
            }),
        };
        callee.map(To::Peer)
    }

    /// Says whom a text means, without calling anybody.
    pub(super) async fn find(&self, text: &str) -> Result<Reply, Fault> {
        let (found, _) = self.meant(text.trim()).await?;
        Ok(Reply::Found(found))
    }

    /// Names that were vouched for come first, then what can only be an address, then what was
    /// typed as an address before, then what anybody in the network may call itself, and last who
    /// cannot even have a key.
    async fn meant(&self, text: &str) -> Result<(Found, Option<Address>), Fault> {
        let near = self.discovery.near().peers();
        let meant = names::find(text, self.records.all(), &near);
        if let Meant::Sure(peer) = meant {
            return Ok((Found::Sure(peer), None));
        }
        let address: Result<Address, _> = text.parse();
        if let Ok(address) = &address
            && (is_only_an_address(text) || self.pinned(text).await?.is_some())
        {
            return Ok((Found::Address, Some(address.clone())));
        }
        match (meant, address) {
            (Meant::Sure(peer), _) => Ok((Found::Sure(peer), None)),
            (Meant::Claimed(peer), _) => Ok((Found::Claimed(peer), None)),
            (Meant::Several(why), _) => Err(Fault::Invalid { why }),
            (Meant::Nobody, address) => {
                let original = names::original(text, &near)?;
                match (original, address) {
                    (Some(id), _) => Ok((Found::Original(id), None)),
                    (None, Ok(address)) => Ok((Found::Host, Some(address))),
                    (None, Err(error)) => Err(Fault::NotFound {
                        what: format!("link, peer or address \"{text}\" ({error})"),
                    }),
                }
            }
        }
    }

    async fn pinned(&self, typed: &str) -> Result<Option<PeerId>, Fault> {
        let typed = typed.to_owned();
        let pinned = self.records.ask(move |store| store.pinned(&typed)).await;
        // Not to know who was there is not the same as nobody: another key would be taken.
        pinned.await.map_err(|_| Fault::Internal {
            what: "the database cannot be read".into(),
        })
    }
}

/// Whether a text that is an address cannot be meant as the name of a peer.
pub(super) fn is_only_an_address(text: &str) -> bool {
    text.contains([':', '.', '['])
}
