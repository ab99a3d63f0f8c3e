//! What others get when they ask.

use super::bench::{Bench, Fake, OWN_ADDR, addr, own, record, request};
use crate::protocol::legacy::datagram::Datagram;
use crate::protocol::legacy::discovery::{Discovery, DiscoveryKind};
use crate::protocol::legacy::gossip::Gossip;
use crate::protocol::legacy::kademlia::{Answer, Call, Kademlia, Rpc, Stored};
use crate::protocol::legacy::{LIST_IDS, LegacyId, Record, Status, list_of};
use std::time::Duration;

/// Three originals that are known, and one that asks.
fn crowd() -> (Bench, Fake) {
    let mut bench = Bench::with(vec![
        Fake::new(0x10, 16),
        Fake::new(0x22, 34),
        Fake::new(0x2f, 47),
    ]);
    for peer in bench.peers.clone() {
        let from = peer.addr.to_string();
        bench.feed(&from, &peer.request(Rpc::Ping));
    }
    bench.pass(Duration::from_secs(1));
    bench.sent.clear();
    (bench, Fake::new(0x2e, 46))
}

fn ask(bench: &mut Bench, fake: &Fake, rpc: Rpc) -> Option<Answer> {
    let from = fake.addr.to_string();
    bench.feed(&from, &fake.request(rpc));
    let answers = bench
        .take_sent(&from)
        .into_iter()
        .filter_map(|datagram| match datagram {
            Datagram::Kademlia(Kademlia {
                id,
                call: Call::Answer(answer),
            }) => {
                assert_eq!(id, [9; 20], "an answer has the id of its request");
                Some(answer)
            }
            _ => None,
        });
    let answers: Vec<Answer> = answers.collect();
    assert!(answers.len() <= 1);
    answers.into_iter().next()
}

fn own_record() -> Record {
    Record {
        id: LegacyId::of_installation(&own().peer),
        name: "anna".into(),
        ip: addr(OWN_ADDR).ip(),
        stream_port: 3485,
        requests_port: 3486,
        status: Status::Online,
    }
}

#[test]
fn a_ping_is_answered_with_our_record_at_the_address_that_the_peer_can_reach() {
    let (mut bench, fake) = crowd();
    let answer = ask(&mut bench, &fake, Rpc::Ping);
    assert_eq!(answer, Some(Answer::Record(own_record())));
    let mut near = fake;
    near.addr = addr("127.0.0.1:5000");
    near.record.ip = near.addr.ip();
    let Some(Answer::Record(record)) = ask(&mut bench, &near, Rpc::Ping) else {
        panic!("no record");
    };
    assert_eq!(record.ip.to_string(), "127.0.0.1");
}

#[test]
fn the_nearest_come_first_and_the_caller_is_left_out() {
    let (mut bench, mut fake) = crowd();
    let mut ids = |fake: &Fake, target: u8| -> Vec<u8> {
        let answer = ask(&mut bench, fake, Rpc::FindNode([target; 20]));
        let Some(Answer::Nearest(records)) = answer else {
            panic!("{answer:?}");
        };
        records
            .iter()
            .map(|record| record.id.as_bytes()[0])
            .collect()
    };
    assert_eq!(ids(&fake, 0x2e), [0x2f, 0x22, 0x10]);
    assert_eq!(ids(&fake, 0x11), [0x10, 0x22, 0x2f]);
    fake.record.id = LegacyId::from_bytes([0x10; 20]);
    assert_eq!(ids(&fake, 0x11), [0x22, 0x2f]);
}

#[test]
fn lists_hold_those_who_answered_and_nothing_that_others_say() {
    let (mut bench, fake) = crowd();
    let list = list_of(&LegacyId::from_bytes([0x22; 20]));
    let stranger = record(0x23, [203, 0, 113, 1].into());
    let store = Rpc::StorePeersInList(list, vec![stranger]);
    assert_eq!(ask(&mut bench, &fake, store), Some(Answer::Done(true)));
    let unknown = Rpc::StorePeersInList([5; 20], vec![]);
    assert_eq!(ask(&mut bench, &fake, unknown), Some(Answer::Done(false)));
    let Some(Answer::Peers(members)) = ask(&mut bench, &fake, Rpc::FindListOfPeers(list)) else {
        panic!("no list");
    };
    assert!(members.iter().all(|record| list_of(&record.id) == list));
    assert!(
        members
            .iter()
            .all(|record| record.ip.to_string().starts_with("192.168.1."))
    );
    assert!(!members.is_empty());
    let empty = Rpc::FindListOfPeers(LIST_IDS[19]);
    let nearest = ask(&mut bench, &fake, empty);
    assert!(matches!(nearest, Some(Answer::Nearest(all)) if all.len() == 3));
}

#[test]
fn values_are_not_kept_and_searches_are_answered_harmlessly() {
    let (mut bench, fake) = crowd();
    let store = Rpc::Store([1; 20], Stored::from("x"));
    assert_eq!(ask(&mut bench, &fake, store), Some(Answer::Done(false)));
    let found = ask(&mut bench, &fake, Rpc::FindValue([1; 20]));
    assert!(matches!(found, Some(Answer::Nearest(all)) if all.len() == 3));
    let found = ask(&mut bench, &fake, Rpc::SearchPeers("peer 34".into()));
    assert!(matches!(found, Some(Answer::Packed(all)) if all.len() == 1));
    let none = ask(&mut bench, &fake, Rpc::SearchPeers("nobody".into()));
    assert_eq!(none, Some(Answer::Nearest(vec![])), "an empty array");
}

#[test]
fn a_find_is_replied_to_with_our_endpoint_and_what_we_can() {
    let mut bench = Bench::new();
    let fake = Fake::new(5, 9);
    bench.feed("192.168.1.9:3486", &fake.discovery(DiscoveryKind::Find));
    let replies = bench.take_sent("192.168.1.9:3486");
    let [Datagram::Discovery(reply)] = replies.as_slice() else {
        panic!("{replies:?}");
    };
    assert_eq!(reply.kind, DiscoveryKind::Reply);
    assert_eq!(reply.addr, addr(OWN_ADDR));
    let abilities = reply.abilities.as_ref().unwrap();
    assert_eq!((abilities.peer, abilities.port), (own().peer, 4000));
}

#[test]
fn a_find_from_a_computer_with_two_addresses_is_replied_to_where_it_came_from() {
    let mut bench = Bench::new();
    let find = Datagram::Discovery(Discovery {
        kind: DiscoveryKind::Find,
        id: LegacyId::DEFAULT_PROFILE,
        addr: addr("10.9.9.9:3486"),
        abilities: None,
    });
    bench.feed("192.168.1.9:3486", &find);
    assert_eq!(bench.take_sent("192.168.1.9:3486").len(), 1);
    assert!(bench.sent.is_empty());
}

#[test]
fn who_searches_our_name_gets_our_record() {
    let mut bench = Bench::new();
    let search = |text: &str| {
        Datagram::Gossip(Gossip::Search {
            id: "s-1".into(),
            text: text.into(),
            created: 5.5,
        })
    };
    bench.feed("192.168.1.9:3486", &search("nn"));
    let expected = Datagram::Gossip(Gossip::Reply {
        id: "s-1".into(),
        record: own_record(),
        created: 5.5,
    });
    assert_eq!(bench.take_sent("192.168.1.9:3486"), [expected]);
    bench.feed("192.168.1.9:3486", &search("bob"));
    assert!(bench.sent.is_empty());
}

#[test]
fn removal_pings_are_answered_with_and_without_trigger() {
    let mut bench = Bench::new();
    for triggered in [true, false] {
        let id = "689e7e90-06f7-46d4-9a51-8bf77683b866".to_owned();
        let ping = Datagram::RemovalPing {
            id: id.clone(),
            triggered,
        };
        bench.feed("192.168.1.9:3486", &ping);
        let peer = Some(LegacyId::of_installation(&own().peer));
        let expected = Datagram::RemovalAnswer { id, peer };
        assert_eq!(bench.take_sent("192.168.1.9:3486"), [expected]);
    }
}

#[test]
fn what_seems_to_come_from_ourselves_is_ignored() {
    let mut bench = Bench::new();
    bench.feed(OWN_ADDR, &request(own_record(), Rpc::Ping));
    let find = Datagram::Discovery(Discovery {
        kind: DiscoveryKind::Reply,
        id: own_record().id,
        addr: addr(OWN_ADDR),
        abilities: None,
    });
    bench.feed(OWN_ADDR, &find);
    // A stranger who says that somebody is at our own address.
    let fake = Fake::new(5, 9);
    let told = Rpc::StorePeersInList(LIST_IDS[0], vec![record(7, addr(OWN_ADDR).ip())]);
    bench.feed("192.168.1.9:3486", &fake.request(told));
    assert!(bench.sent.iter().all(|(_, to, ..)| *to != addr(OWN_ADDR)));
}
