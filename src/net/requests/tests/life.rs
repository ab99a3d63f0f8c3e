//! How peers come, stay and go.

use std::time::Duration;

use super::super::calls::ANSWER_WAIT;
use super::super::endpoint::{CheckInError, Event};
use super::bench::{Bench, Fake, addr, links, own};
use crate::peer::PeerId;
use crate::protocol::legacy::datagram::Datagram;
use crate::protocol::legacy::discovery::DiscoveryKind;
use crate::protocol::legacy::kademlia::{Answer, Call, Kademlia, Request, Rpc};
use crate::protocol::legacy::{LegacyId, Status};

const SECOND: Duration = Duration::from_secs(1);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn known(mut peers: Vec<Fake>) -> Bench {
    let mut bench = Bench::with(std::mem::take(&mut peers));
    for peer in bench.peers.clone() {
        let from = peer.addr.to_string();
        bench.feed(&from, &peer.request(Rpc::Ping));
    }
    bench.pass(SECOND);
    assert_eq!(bench.originals().len(), bench.peers.len());
    bench
}

fn rpcs(datagrams: &[Datagram]) -> Vec<Rpc> {
    let rpc = |datagram: &Datagram| match datagram {
        Datagram::Kademlia(Kademlia {
            call: Call::Request(Request { rpc, .. }),
            ..
        }) => Some(rpc.clone()),
        _ => None,
    };
    datagrams.iter().filter_map(rpc).collect()
}

#[test]
fn while_alone_it_asks_at_the_rhythm_of_originals() {
    let mut bench = Bench::new();
    bench.pass(ms(7500));
    let expected = [100, 300, 3600, 3800, 7100, 7300].map(ms);
    assert_eq!(bench.finds, expected);
    // One that is found ends it.
    let fake = Fake::new(5, 9);
    bench.peers.push(fake.clone());
    bench.feed("192.168.1.9:3486", &fake.discovery(DiscoveryKind::Reply));
    assert!(bench.endpoint.take_changed());
    bench.finds.clear();
    bench.pass(SECOND * 60);
    assert!(bench.finds.len() <= 1, "{:?}", bench.finds);
    assert_eq!(bench.originals(), ["peer 5 192.168.1.9:3485"]);
}

#[test]
fn a_network_that_comes_up_is_asked_at_once() {
    let mut bench = known(vec![Fake::new(5, 9)]);
    bench.finds.clear();
    bench.pass(SECOND * 20);
    assert!(bench.finds.is_empty());
    let at = bench.now - bench.start;
    bench.endpoint.handle_links(bench.now, links("192.168.1.4"));
    bench.pass(SECOND);
    assert!(bench.finds.is_empty(), "nothing has changed");
    bench.endpoint.handle_links(bench.now, links("10.0.0.4"));
    bench.pass(SECOND);
    assert_eq!(bench.finds, [at + SECOND + ms(100)]);
}

#[test]
fn who_calls_us_is_shown_when_it_has_answered() {
    let mut bench = Bench::with(vec![Fake::new(5, 9)]);
    let fake = bench.peers[0].clone();
    bench.kill(0);
    bench.feed("192.168.1.9:3486", &fake.request(Rpc::Ping));
    bench.pass(SECOND * 10);
    assert!(bench.originals().is_empty(), "a source can be forged");
    bench.peers[0].alive = true;
    bench.feed("192.168.1.9:3486", &fake.request(Rpc::Ping));
    bench.pass(ms(299));
    assert!(bench.originals().is_empty(), "it may be one like us");
    bench.pass(ms(1));
    assert_eq!(bench.originals(), ["peer 5 192.168.1.9:3485"]);
}

#[test]
fn a_reply_is_followed_by_a_ping_and_a_question_for_others() {
    let mut first = Fake::new(5, 9);
    let second = Fake::new(6, 10);
    first.knows = vec![second.record.clone()];
    let mut bench = Bench::with(vec![first.clone(), second]);
    bench.feed("192.168.1.9:3486", &first.discovery(DiscoveryKind::Reply));
    bench.pass(SECOND);
    assert_eq!(
        bench.originals(),
        ["peer 5 192.168.1.9:3485", "peer 6 192.168.1.10:3485"]
    );
    let sent = bench.take_sent("192.168.1.9:3486");
    let own = LegacyId::of_installation(&own().peer);
    assert_eq!(rpcs(&sent), [Rpc::Ping, Rpc::FindNode(*own.as_bytes())]);
}

#[test]
fn the_nearest_three_are_asked_in_rounds_and_get_our_record() {
    let mut bench = known((0..5).map(|n| Fake::new(n * 40 + 3, n + 10)).collect());
    bench.pass(ms(1999));
    bench.sent.clear();
    bench.pass(ms(1));
    let all: Vec<Datagram> = bench
        .sent
        .iter()
        .map(|(_, _, sent, _)| sent.clone())
        .collect();
    let all = rpcs(&all);
    let is_find = |rpc: &&Rpc| matches!(rpc, Rpc::FindNode(_));
    let is_store = |rpc: &&Rpc| matches!(rpc, Rpc::StorePeersInList(_, peers) if peers.len() == 1);
    assert_eq!(all.iter().filter(is_find).count(), 3);
    assert_eq!(all.iter().filter(is_store).count(), 3);
    bench.sent.clear();
    bench.pass(ms(8499));
    assert!(bench.sent.is_empty());
    bench.pass(ms(1));
    assert_eq!(bench.sent.len(), 6);
}

#[test]
fn a_peer_is_given_up_after_call_removal_ping_and_probe() {
    let mut bench = known(vec![Fake::new(5, 9)]);
    bench.kill(0);
    // The round at 3 s is not answered: until 8 s, the removal ping until 12 s.
    bench.pass(ms(7000) - ms(1));
    bench.take_sent("192.168.1.9:3486");
    bench.pass(ms(1));
    let sent = bench.take_sent("192.168.1.9:3486");
    assert!(
        matches!(sent.as_slice(), [Datagram::RemovalPing { .. }]),
        "{sent:?}"
    );
    bench.pass(SECOND * 4);
    let [Event::Probe(key, to)] = bench.events.as_slice() else {
        panic!("{:?}", bench.events);
    };
    assert_eq!(*to, addr("192.168.1.9:3485"));
    assert_eq!(bench.originals().len(), 1, "it is still shown");
    let key = *key;
    bench.endpoint.take_changed();
    bench.endpoint.handle_probe(bench.now, key, false);
    assert!(bench.originals().is_empty());
    assert!(bench.endpoint.take_changed());
    bench.finds.clear();
    bench.pass(SECOND * 15);
    assert!(!bench.finds.is_empty(), "alone again, it asks again");
    assert_eq!(bench.events.len(), 1);
}

#[test]
fn a_peer_whose_stream_port_is_open_or_that_answers_the_ping_stays() {
    let mut bench = known(vec![Fake::new(5, 9)]);
    bench.kill(0);
    bench.pass(SECOND * 11);
    let [Event::Probe(key, _)] = bench.events.as_slice() else {
        panic!("{:?}", bench.events);
    };
    let key = *key;
    bench.endpoint.handle_probe(bench.now, key, true);
    bench.sent.clear();
    // The round at 11.5 s fails, too.
    bench.pass(SECOND * 6);
    let ping = bench.take_sent("192.168.1.9:3486");
    let id = ping.iter().find_map(|sent| match sent {
        Datagram::RemovalPing { id, .. } => Some(id.clone()),
        _ => None,
    });
    let answer = Datagram::RemovalAnswer {
        id: id.unwrap(),
        peer: None,
    };
    bench.feed("192.168.1.9:3486", &answer);
    bench.pass(SECOND * 3);
    assert_eq!(bench.events.len(), 1, "no second probe");
    assert_eq!(bench.originals().len(), 1);
}

#[test]
fn a_probe_that_nobody_makes_does_not_keep_a_peer() {
    let mut bench = known(vec![Fake::new(5, 9)]);
    bench.kill(0);
    bench.pass(SECOND * 30);
    assert!(bench.originals().is_empty());
}

#[test]
fn who_is_not_asked_in_rounds_is_asked_when_it_was_silent() {
    let mut bench = known((0..8).map(|n| Fake::new(n * 30 + 3, n + 10)).collect());
    bench.pass(SECOND * 120);
    assert_eq!(bench.originals().len(), 8);
    bench.kill(0);
    bench.kill(7);
    bench.pass(SECOND * 60);
    let gone = bench.events.len();
    assert_eq!(bench.originals().len(), 6, "{:?}", bench.originals());
    assert!(gone >= 2);
}

#[test]
fn two_peers_with_the_id_of_the_untouched_profile_are_both_shown() {
    let twin = |host| {
        let mut fake = Fake::new(1, host);
        fake.record.id = LegacyId::DEFAULT_PROFILE;
        fake
    };
    let mut bench = known(vec![twin(9), twin(10)]);
    bench.pass(SECOND * 120);
    assert_eq!(bench.originals().len(), 2);
    // Others learn of one only: they could not tell them apart.
    let asks = Fake::new(7, 11);
    bench.feed("192.168.1.11:3486", &asks.request(Rpc::FindNode([3; 20])));
    let sent = bench.take_sent("192.168.1.11:3486");
    let nearest = sent.iter().find_map(|sent| match sent {
        Datagram::Kademlia(Kademlia {
            call: Call::Answer(Answer::Nearest(records)),
            ..
        }) => Some(records.len()),
        _ => None,
    });
    assert_eq!(nearest, Some(1));
}

#[test]
fn a_peer_that_moved_is_shown_at_its_new_address_and_soon_only_there() {
    let mut bench = known(vec![Fake::new(5, 9)]);
    bench.kill(0);
    let moved = Fake::new(5, 77);
    bench.peers.push(moved.clone());
    bench.feed("192.168.1.77:3486", &moved.request(Rpc::Ping));
    bench.pass(ms(300));
    assert!(
        bench
            .originals()
            .contains(&"peer 5 192.168.1.77:3485".into())
    );
    bench.pass(SECOND * 20);
    assert_eq!(bench.originals(), ["peer 5 192.168.1.77:3485"]);
}

#[test]
fn a_peer_with_a_new_name_or_port_is_shown_so() {
    let mut bench = known(vec![Fake::new(5, 9)]);
    bench.peers[0].record.name = "new".into();
    bench.peers[0].record.stream_port = 4000;
    let fake = bench.peers[0].clone();
    bench.feed("192.168.1.9:3486", &fake.request(Rpc::Ping));
    assert_eq!(bench.originals(), ["new 192.168.1.9:4000"]);
}

#[test]
fn a_peer_that_says_it_goes_is_gone_when_it_says_so_again() {
    let mut bench = known(vec![Fake::new(5, 9)]);
    let mut says = bench.peers[0].clone();
    says.record.status = Status::Offline;
    bench.feed("192.168.1.9:3486", &says.request(Rpc::Ping));
    bench.pass(SECOND);
    assert_eq!(bench.originals().len(), 1, "anybody could say so");
    bench.peers[0].record.status = Status::Offline;
    bench.feed("192.168.1.9:3486", &says.request(Rpc::Ping));
    assert!(bench.originals().is_empty());
}

#[test]
fn a_program_like_ours_is_a_hint_and_no_original() {
    let mut bench = Bench::with(vec![Fake::own_kind(5, 9)]);
    let fake = bench.peers[0].clone();
    bench.feed("192.168.1.9:3486", &fake.discovery(DiscoveryKind::Find));
    bench.feed("192.168.1.9:3486", &fake.request(Rpc::Ping));
    bench.pass(SECOND * 20);
    assert_eq!(bench.own_kind(), ["peer 5 192.168.1.9:4433"]);
    assert!(bench.originals().is_empty());
    assert!(rpcs(&bench.take_sent("192.168.1.9:3486")).is_empty());
}

#[test]
fn a_program_like_ours_that_calls_first_is_recognised_before_it_is_shown() {
    let mut bench = Bench::with(vec![Fake::own_kind(5, 9)]);
    let fake = bench.peers[0].clone();
    bench.feed("192.168.1.9:3486", &fake.request(Rpc::Ping));
    bench.pass(ms(300));
    assert_eq!(bench.own_kind(), ["peer 5 192.168.1.9:4433"]);
    assert!(bench.originals().is_empty());
}

#[test]
fn programs_like_ours_stay_while_they_answer() {
    let mut bench = Bench::with(vec![Fake::own_kind(5, 9)]);
    let fake = bench.peers[0].clone();
    bench.feed("192.168.1.9:3486", &fake.discovery(DiscoveryKind::Reply));
    bench.pass(SECOND * 600);
    assert_eq!(bench.own_kind().len(), 1);
    bench.kill(0);
    bench.pass(SECOND * 85);
    assert_eq!(bench.own_kind().len(), 1);
    bench.pass(SECOND * 10);
    assert!(bench.own_kind().is_empty());
}

#[test]
fn nobody_hides_an_original_behind_its_id() {
    let mut bench = known(vec![Fake::new(5, 9)]);
    let mut liar = Fake::own_kind(6, 66);
    liar.record.id = bench.peers[0].record.id;
    bench.feed("192.168.1.66:3486", &liar.discovery(DiscoveryKind::Find));
    assert!(bench.own_kind().is_empty());
    assert_eq!(bench.originals().len(), 1);
    // Nor does anybody pass for us.
    let mut liar = Fake::own_kind(1, 66);
    assert_eq!(
        liar.abilities.as_ref().unwrap().peer,
        PeerId::from_bytes([1; 32])
    );
    liar.record.id = LegacyId::from_bytes([1; 20]);
    bench.feed("192.168.1.66:3486", &liar.discovery(DiscoveryKind::Find));
    assert!(bench.own_kind().is_empty());
}

fn checked_in(bench: &Bench) -> Option<Result<String, CheckInError>> {
    bench.events.iter().find_map(|event| match event {
        Event::CheckedIn(7, result) => Some(
            result
                .clone()
                .map(|found| format!("{} {}", found.record.name, found.stream)),
        ),
        Event::CheckedIn(..) | Event::Probe(..) | Event::Informed(_) => None,
    })
}

#[test]
fn a_check_in_gives_the_record_of_the_peer() {
    let mut bench = Bench::with(vec![Fake::new(5, 9)]);
    bench
        .endpoint
        .check_in(bench.now, addr("192.168.1.9:3486"), 7);
    bench.settle();
    assert_eq!(
        checked_in(&bench),
        Some(Ok("peer 5 192.168.1.9:3485".into()))
    );
    bench.pass(SECOND);
    assert_eq!(bench.originals().len(), 1);
}

#[test]
fn a_check_in_is_repeated_and_given_up_after_five_seconds() {
    let mut bench = Bench::new();
    bench
        .endpoint
        .check_in(bench.now, addr("192.168.1.9:3486"), 7);
    bench.pass(ANSWER_WAIT - ms(1));
    let times: Vec<Duration> = bench.sent.iter().map(|(at, ..)| *at).collect();
    assert_eq!(times, [0, 1000, 2500].map(ms));
    let pings = bench.take_sent("192.168.1.9:3486");
    assert!(pings.iter().all(|ping| *ping == pings[0]), "one id for all");
    assert_eq!(checked_in(&bench), None);
    bench.pass(ms(1));
    assert_eq!(checked_in(&bench), Some(Err(CheckInError::NoAnswer)));
}

#[test]
fn a_check_in_that_is_answered_late_or_wrongly_fails() {
    let mut bench = Bench::new();
    bench
        .endpoint
        .check_in(bench.now, addr("192.168.1.9:3486"), 7);
    bench.settle();
    let sent = bench.take_sent("192.168.1.9:3486");
    let [Datagram::Kademlia(Kademlia { id, .. })] = sent.as_slice() else {
        panic!("{sent:?}");
    };
    let call = Call::Answer(Answer::Done(true));
    let answer = Datagram::Kademlia(Kademlia { id: *id, call });
    bench.feed("192.168.1.9:3486", &answer);
    assert_eq!(checked_in(&bench), Some(Err(CheckInError::NotAnOriginal)));
    bench.events.clear();
    bench.endpoint.check_in(bench.now, addr("0.0.0.0:3486"), 7);
    bench.settle();
    assert_eq!(checked_in(&bench), Some(Err(CheckInError::Refused)));
}

#[test]
fn streams_go_to_the_address_in_the_record_only_if_it_is_near() {
    for (ip, expected) in [
        ("192.168.1.200", "peer 5 192.168.1.200:3485"),
        ("203.0.113.1", "peer 5 192.168.1.9:3485"),
        ("127.0.0.1", "peer 5 192.168.1.9:3485"),
    ] {
        let mut fake = Fake::new(5, 9);
        fake.record.ip = ip.parse().unwrap();
        let mut bench = Bench::with(vec![fake]);
        bench
            .endpoint
            .check_in(bench.now, addr("192.168.1.9:3486"), 7);
        bench.settle();
        assert_eq!(checked_in(&bench), Some(Ok(expected.into())));
    }
}
