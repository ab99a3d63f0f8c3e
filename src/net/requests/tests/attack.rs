//! Datagrams that were made to do harm.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;

use super::super::answering::ANSWER_FACTOR;
use super::super::limiter::{ALL_MAX, PER_ADDR_MAX};
use super::super::peers::{ORIGINALS_MAX, ORIGINALS_PER_ADDR_MAX, OWN_KIND_MAX};
use super::bench::{Bench, Fake, addr, record, request};
use crate::protocol::legacy::datagram::Datagram;
use crate::protocol::legacy::discovery::{Discovery, DiscoveryKind};
use crate::protocol::legacy::kademlia::{Answer, Call, Kademlia, Rpc};
use crate::protocol::legacy::{DATAGRAM_MAX, LIST_IDS, LegacyId};

const VICTIM: &str = "203.0.113.7:53";
const ATTACKER: &str = "192.168.1.66:3486";

fn discovery(kind: DiscoveryKind, at: &str) -> Datagram {
    Datagram::Discovery(Discovery {
        kind,
        id: LegacyId::from_bytes([66; 20]),
        addr: addr(at),
        abilities: None,
    })
}

#[test]
fn nothing_goes_to_an_address_that_a_datagram_names() {
    for victim in [
        VICTIM,
        "192.168.1.77:53",
        "127.0.0.1:53",
        "255.255.255.255:53",
    ] {
        let mut bench = Bench::new();
        for kind in [DiscoveryKind::Find, DiscoveryKind::Reply] {
            bench.feed(ATTACKER, &discovery(kind, victim));
        }
        bench.pass(Duration::from_secs(20));
        let victim = addr(victim).ip();
        assert!(!bench.sent.is_empty(), "the attacker itself is answered");
        let hit = bench.sent.iter().filter(|(_, to, ..)| to.ip() == victim);
        assert_eq!(hit.count(), 0, "{victim}");
    }
}

#[test]
fn records_lead_nobody_out_of_the_network() {
    let victim = record(9, addr(VICTIM).ip());
    let mut bench = Bench::with(vec![Fake::new(66, 66)]);
    bench.peers[0].knows = vec![victim.clone(); 20];
    let fake = bench.peers[0].clone();
    bench.feed(ATTACKER, &request(victim.clone(), Rpc::Ping));
    let told = Rpc::StorePeersInList(LIST_IDS[0], vec![victim; 20]);
    bench.feed(ATTACKER, &fake.request(told));
    bench.pass(Duration::from_secs(60));
    let hit = bench
        .sent
        .iter()
        .filter(|(_, to, ..)| to.ip() == addr(VICTIM).ip());
    assert_eq!(hit.count(), 0);
}

#[test]
fn a_flood_from_one_address_gets_ten_answers_a_second() {
    let mut bench = Bench::new();
    let find = discovery(DiscoveryKind::Find, ATTACKER);
    let ping = request(record(66, addr(ATTACKER).ip()), Rpc::Ping);
    for _ in 0..1000 {
        bench.feed(ATTACKER, &find);
        bench.feed(ATTACKER, &ping);
    }
    // A greeting is a find and a ping, and counts once.
    assert!(
        bench.sent.len() as u32 <= PER_ADDR_MAX + 1,
        "{}",
        bench.sent.len()
    );
}

#[test]
fn a_flood_from_everywhere_gets_two_hundred_answers_a_second() {
    let mut bench = Bench::new();
    for n in 0..2000u32 {
        let from = SocketAddr::new(IpAddr::from((0x0a00_0000 + n).to_be_bytes()), 3486);
        // 10.0.0.0 is none of our networks; route them so that there is an answer.
        let from = match n % 2 {
            0 => SocketAddr::new([192, 168, 1, (n % 250) as u8 + 1].into(), 3486),
            _ => from,
        };
        let find = Datagram::Discovery(Discovery {
            kind: DiscoveryKind::Find,
            id: LegacyId::from_short(&n.to_be_bytes()).unwrap(),
            addr: from,
            abilities: None,
        });
        bench.feed_bytes(from, &find.encode().unwrap());
    }
    assert!(bench.sent.len() as u32 <= ALL_MAX, "{}", bench.sent.len());
    assert!(bench.sent.len() > 100);
}

#[test]
fn answers_are_at_most_eight_times_as_long_as_requests() {
    let peers = (1..60u8).map(|n| {
        let mut fake = Fake::new(n, n + 100);
        fake.record.name = "x".repeat(1000);
        fake
    });
    let mut bench = Bench::with(peers.collect());
    for peer in bench.peers.clone() {
        bench.feed(&peer.addr.to_string(), &peer.request(Rpc::Ping));
        bench.pass(Duration::from_millis(200));
    }
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.originals().len(), 59);
    let asks = Fake::new(100, 90);
    for rpc in [
        Rpc::Ping,
        Rpc::FindNode([1; 20]),
        Rpc::FindValue([1; 20]),
        Rpc::FindListOfPeers(LIST_IDS[0]),
        Rpc::SearchPeers("x".into()),
    ] {
        bench.sent.clear();
        let request = asks.request(rpc);
        let len = request.encode().unwrap().len();
        bench.feed("192.168.1.90:3486", &request);
        let (_, _, answer, answer_len) = &bench.sent[0];
        assert!(matches!(
            answer,
            Datagram::Kademlia(Kademlia {
                call: Call::Answer(_),
                ..
            })
        ));
        assert!(*answer_len <= len * ANSWER_FACTOR, "{answer_len} to {len}");
        bench.pass(Duration::from_secs(1));
    }
}

#[test]
fn as_many_originals_are_remembered_as_fit_and_none_is_pushed_out() {
    let mut bench = Bench::new();
    // One computer with many ports.
    for port in 1000..1020u16 {
        let mut fake = Fake::new(9, 9);
        fake.record.id = LegacyId::from_short(&port.to_be_bytes()).unwrap();
        fake.record.requests_port = port;
        fake.addr.set_port(port);
        bench.peers.push(fake);
    }
    // And many computers.
    for n in 0..300u16 {
        let host = 10 + (n % 240) as u8;
        let mut fake = Fake::new(9, host);
        fake.record.id = LegacyId::from_short(&(3000 + n).to_be_bytes()).unwrap();
        fake.record.requests_port = 3486 + n / 240;
        fake.addr.set_port(3486 + n / 240);
        bench.peers.push(fake);
    }
    let mut most = 0;
    for peer in bench.peers.clone() {
        bench.feed(&peer.addr.to_string(), &peer.request(Rpc::Ping));
        bench.pass(Duration::from_millis(500));
        let now = bench.originals().len();
        assert!(now >= most, "nobody is pushed out");
        most = now;
    }
    assert_eq!(bench.originals().len(), ORIGINALS_MAX);
    let mut by_ip: HashMap<IpAddr, usize> = HashMap::new();
    for original in bench.originals() {
        let (_, at) = original.rsplit_once(' ').unwrap();
        *by_ip.entry(addr(at).ip()).or_default() += 1;
    }
    assert!(by_ip.values().all(|count| *count <= ORIGINALS_PER_ADDR_MAX));
}

#[test]
fn programs_like_ours_are_limited_in_number() {
    let mut bench = Bench::new();
    for n in 0..400u16 {
        let mut fake = Fake::own_kind(5, 9);
        let abilities = fake.abilities.as_mut().unwrap();
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        abilities.peer = crate::peer::PeerId::from_bytes(bytes);
        fake.record.id = LegacyId::of_installation(&abilities.peer);
        bench.feed("192.168.1.9:3486", &fake.discovery(DiscoveryKind::Find));
        bench.pass(Duration::from_millis(1));
    }
    assert_eq!(bench.own_kind().len(), OWN_KIND_MAX);
}

#[test]
fn datagrams_that_are_too_long_or_come_from_nowhere_are_ignored() {
    let mut bench = Bench::new();
    let find = discovery(DiscoveryKind::Find, ATTACKER).encode().unwrap();
    for from in [
        "192.168.1.66:0",
        "0.0.0.0:1",
        "239.1.11.11:3486",
        "255.255.255.255:1",
    ] {
        bench.feed_bytes(addr(from), &find);
    }
    let mut long = find.clone();
    long.resize(DATAGRAM_MAX + 1, 0);
    bench.feed_bytes(addr(ATTACKER), &long);
    let caller = record(66, addr(ATTACKER).ip());
    let mut kademlia = request(caller, Rpc::SearchPeers("x".repeat(7900)));
    bench.feed_bytes(addr(ATTACKER), &kademlia.encode().unwrap());
    assert_eq!(
        bench.take_sent(ATTACKER).len(),
        3,
        "an answer, a find, a ping"
    );
    if let Datagram::Kademlia(Kademlia { id, .. }) = &mut kademlia {
        *id = [1; 20];
    }
    // 8 KiB and more, by a request that grew on the way.
    let mut bytes = kademlia.encode().unwrap();
    bytes.resize(60_000, 0);
    bench.feed_bytes(addr(ATTACKER), &bytes);
    assert_eq!(
        bench.take_sent(ATTACKER).len(),
        1,
        "what is behind the length is ignored"
    );
}

#[test]
fn answers_to_nobodys_question_are_ignored() {
    let mut bench = Bench::new();
    let call = Call::Answer(Answer::Record(record(66, addr(ATTACKER).ip())));
    bench.feed(
        ATTACKER,
        &Datagram::Kademlia(Kademlia { id: [3; 20], call }),
    );
    bench.feed(
        ATTACKER,
        &Datagram::RemovalAnswer {
            id: "x".into(),
            peer: None,
        },
    );
    bench.pass(Duration::from_secs(1));
    assert!(bench.originals().is_empty());
    assert!(bench.sent.is_empty());
}

proptest! {
    #[test]
    fn arbitrary_datagrams_never_panic_and_hit_nobody_else(
        datagrams in proptest::collection::vec(any::<Vec<u8>>(), 1..20),
        damage in proptest::collection::vec(any::<(usize, u8)>(), 0..6),
    ) {
        let mut bench = Bench::new();
        let mut all = datagrams;
        let fake = Fake::new(66, 66);
        for datagram in [
            fake.request(Rpc::Ping),
            fake.discovery(DiscoveryKind::Find),
            fake.discovery(DiscoveryKind::Reply),
        ] {
            let mut bytes = datagram.encode().unwrap();
            for (place, value) in &damage {
                let place = place % bytes.len();
                bytes[place] = *value;
            }
            all.push(bytes);
        }
        for bytes in all {
            bench.feed_bytes(addr(ATTACKER), &bytes);
        }
        bench.pass(Duration::from_secs(30));
        let near = |ip: IpAddr| ip.to_string().starts_with("192.168.1.");
        prop_assert!(bench.sent.iter().all(|(_, to, ..)| near(to.ip())));
    }
}
