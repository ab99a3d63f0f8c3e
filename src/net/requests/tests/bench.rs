//! One endpoint, peers that answer it, and a clock that only tests move.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::super::Sighting;
use super::super::endpoint::{Destination, Endpoint, Event, Own};
use super::super::links::Links;
use crate::net::interfaces::LocalNet;
use crate::peer::PeerId;
use crate::protocol::legacy::datagram::Datagram;
use crate::protocol::legacy::discovery::{Abilities, Discovery, DiscoveryKind};
use crate::protocol::legacy::kademlia::{Answer, Call, Kademlia, Request, Rpc};
use crate::protocol::legacy::{LegacyId, Record, Status};

pub(super) const OWN_ADDR: &str = "192.168.1.4:3486";

/// A simulated peer.
#[derive(Debug, Clone)]
pub(super) struct Fake {
    pub(super) addr: SocketAddr,
    pub(super) record: Record,
    pub(super) alive: bool,
    /// Set for a program like ours.
    pub(super) abilities: Option<Abilities>,
    pub(super) knows: Vec<Record>,
}

pub(super) struct Bench {
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) endpoint: Endpoint,
    pub(super) peers: Vec<Fake>,
    /// What went to single computers, and when after the start.
    pub(super) sent: Vec<(Duration, SocketAddr, Datagram, usize)>,
    /// When finds went to groups.
    pub(super) finds: Vec<Duration>,
    pub(super) events: Vec<Event>,
}

pub(super) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn own() -> Own {
    Own {
        peer: PeerId::from_bytes([1; 32]),
        name: "anna".into(),
        stream_port: 3485,
        requests_port: 3486,
        quic_port: Some(4000),
    }
}

pub(super) fn links(own: &str) -> Links {
    let net = |ip: &str, prefix, index| LocalNet {
        ip: ip.parse().unwrap(),
        prefix,
        index,
    };
    Links::fixed(vec![net("127.0.0.1", 8, 1), net(own, 24, 2)])
}

pub(super) fn record(id: u8, ip: IpAddr) -> Record {
    Record {
        id: LegacyId::from_bytes([id; 20]),
        name: format!("peer {id}"),
        ip,
        stream_port: 3485,
        requests_port: 3486,
        status: Status::Online,
    }
}

impl Fake {
    /// An original with this id at 192.168.1.`host`.
    pub(super) fn new(id: u8, host: u8) -> Self {
        let ip = IpAddr::from([192, 168, 1, host]);
        Self {
            addr: SocketAddr::new(ip, 3486),
            record: record(id, ip),
            alive: true,
            abilities: None,
            knows: Vec::new(),
        }
    }

    pub(super) fn own_kind(id: u8, host: u8) -> Self {
        let peer = PeerId::from_bytes([id; 32]);
        let mut fake = Self::new(id, host);
        fake.record.id = LegacyId::of_installation(&peer);
        fake.abilities = Some(Abilities {
            peer,
            port: 4433,
            name: fake.record.name.clone(),
        });
        fake
    }

    pub(super) fn request(&self, rpc: Rpc) -> Datagram {
        let caller = self.record.clone();
        request(caller, rpc)
    }

    pub(super) fn discovery(&self, kind: DiscoveryKind) -> Datagram {
        Datagram::Discovery(Discovery {
            kind,
            id: self.record.id,
            addr: self.addr,
            abilities: self.abilities.clone(),
        })
    }

    fn answer(&self, datagram: &Datagram) -> Option<Datagram> {
        if let Datagram::Discovery(find) = datagram {
            let reply = self.discovery(DiscoveryKind::Reply);
            return (find.kind == DiscoveryKind::Find).then_some(reply);
        }
        let Datagram::Kademlia(Kademlia {
            id,
            call: Call::Request(Request { rpc, .. }),
        }) = datagram
        else {
            return None;
        };
        let answer = match rpc {
            Rpc::Ping => Answer::Record(self.record.clone()),
            Rpc::FindNode(_) => Answer::Nearest(self.knows.clone()),
            Rpc::StorePeersInList(..) => Answer::Done(true),
            other => panic!("originals are never asked {other:?}"),
        };
        let call = Call::Answer(answer);
        Some(Datagram::Kademlia(Kademlia { id: *id, call }))
    }
}

pub(super) fn request(caller: Record, rpc: Rpc) -> Datagram {
    Datagram::Kademlia(Kademlia {
        id: [9; 20],
        call: Call::Request(Request { caller, rpc }),
    })
}

impl Bench {
    pub(super) fn new() -> Self {
        let start = Instant::now();
        let endpoint = Endpoint::new(start, own(), links("192.168.1.4"), [7; 32]);
        Self {
            start,
            now: start,
            endpoint,
            peers: Vec::new(),
            sent: Vec::new(),
            finds: Vec::new(),
            events: Vec::new(),
        }
    }

    pub(super) fn with(peers: Vec<Fake>) -> Self {
        let mut bench = Self::new();
        bench.peers = peers;
        bench
    }

    /// A datagram comes, and everything that follows at once happens.
    pub(super) fn feed(&mut self, from: &str, datagram: &Datagram) {
        self.feed_bytes(addr(from), &datagram.encode().unwrap());
    }

    pub(super) fn feed_bytes(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.endpoint.handle_datagram(self.now, from, bytes);
        self.settle();
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while let Some(at) = self.endpoint.poll_timeout().filter(|at| *at <= end) {
            assert!(at >= self.now, "time does not go back");
            self.now = at;
            self.endpoint.handle_timeout(at);
            self.settle();
            let again = self.endpoint.poll_timeout();
            assert!(again.is_none_or(|again| again > at), "it makes progress");
        }
        self.now = end;
    }

    pub(super) fn settle(&mut self) {
        loop {
            while let Some(event) = self.endpoint.poll_event() {
                self.events.push(event);
            }
            let Some(transmit) = self.endpoint.poll_transmit() else {
                return;
            };
            let at = self.now - self.start;
            let datagram = Datagram::decode(&transmit.bytes).unwrap();
            assert_harmless(&datagram, &transmit.bytes);
            match transmit.to {
                Destination::Group(_) => self.finds.push(at),
                Destination::Peer(to) => {
                    self.sent
                        .push((at, to, datagram.clone(), transmit.bytes.len()));
                    let peer = self.peers.iter().find(|peer| peer.addr == to && peer.alive);
                    if let Some(answer) = peer.and_then(|peer| peer.answer(&datagram)) {
                        let bytes = answer.encode().unwrap();
                        self.endpoint.handle_datagram(self.now, to, &bytes);
                    }
                }
            }
        }
    }

    /// What went to this address since this was asked last.
    pub(super) fn take_sent(&mut self, to: &str) -> Vec<Datagram> {
        let to = addr(to);
        let (taken, rest) = self
            .sent
            .drain(..)
            .partition(|(_, sent_to, ..)| *sent_to == to);
        self.sent = rest;
        let taken: Vec<(Duration, SocketAddr, Datagram, usize)> = taken;
        taken
            .into_iter()
            .map(|(_, _, datagram, _)| datagram)
            .collect()
    }

    /// Names and addresses of originals that are shown.
    pub(super) fn originals(&self) -> Vec<String> {
        let original = |sighting| match sighting {
            Sighting::Original { record, addr, .. } => Some(format!("{} {addr}", record.name)),
            Sighting::Own { .. } => None,
        };
        self.endpoint
            .sightings()
            .into_iter()
            .filter_map(original)
            .collect()
    }

    pub(super) fn own_kind(&self) -> Vec<String> {
        let own = |sighting| match sighting {
            Sighting::Original { .. } => None,
            Sighting::Own { name, addr, .. } => Some(format!("{name} {addr}")),
        };
        self.endpoint
            .sightings()
            .into_iter()
            .filter_map(own)
            .collect()
    }

    pub(super) fn kill(&mut self, host: usize) {
        self.peers[host].alive = false;
    }
}

/// What ends an original is never sent: unknown headers to its discovery, finds without address,
/// pings answered with anything but a record of six items, records of more.
fn assert_harmless(datagram: &Datagram, bytes: &[u8]) {
    assert_eq!(
        datagram.encode().unwrap(),
        bytes,
        "our form is the only form"
    );
    match datagram {
        Datagram::Discovery(_) | Datagram::Gossip(_) | Datagram::RemovalAnswer { .. } => {}
        Datagram::RemovalPing { triggered, .. } => assert!(triggered),
        Datagram::Kademlia(Kademlia { call, .. }) => match call {
            Call::Request(request) => {
                assert!(bytes.len() < 1000, "no request of ours is long");
                let known = matches!(
                    request.rpc,
                    Rpc::Ping | Rpc::FindNode(_) | Rpc::StorePeersInList(..)
                );
                assert!(known, "{request:?}");
            }
            Call::Answer(_) => {}
        },
        Datagram::Otm(_) | Datagram::Other { .. } => panic!("never sent: {datagram:?}"),
    }
}
