use proptest::prelude::*;

use super::*;

fn id(n: u32) -> PeerId {
    PeerId::of_public_key(&n.to_be_bytes())
}

const ME: u32 = u32::MAX;

fn key(n: u32) -> Who {
    Who::Key(id(n))
}

fn sighting(who: Who, name: &str, addrs: &[&str]) -> Sighting {
    Sighting {
        who,
        name: name.into(),
        addrs: addrs.iter().map(|addr| addr.parse().unwrap()).collect(),
        unreached: Vec::new(),
    }
}

/// A list, a clock that the test moves, and what came out.
struct World {
    list: PeerList,
    begun: Instant,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            list: PeerList::new(id(ME), false, now),
            begun: now,
            now,
        }
    }

    fn saw(&mut self, n: u32, name: &str, addrs: &[&str]) {
        self.list
            .saw(self.now, Source::DnsSd, sighting(key(n), name, addrs));
    }

    fn names(&self) -> Vec<String> {
        self.list.entries().map(|peer| peer.name).collect()
    }

    fn only(&self) -> NearPeer {
        let mut entries = self.list.entries();
        let only = entries.next().unwrap();
        assert!(entries.next().is_none());
        only
    }

    /// Moves on to the next thing that is due.
    fn next(&mut self) -> Vec<Ask> {
        self.now = self.list.next_poll().unwrap();
        self.list.poll(self.now)
    }

    fn seconds(&self) -> u64 {
        (self.now - self.begun).as_secs()
    }
}

const ADDR: &str = "192.168.1.2:3485";

fn ping(n: u32) -> Ask {
    Ask::Ping(key(n), ADDR.parse().unwrap())
}

#[test]
fn one_entry_per_identity_whatever_way_it_was_heard() {
    let mut world = World::new();
    world.saw(1, "anna", &[ADDR]);
    let other = sighting(
        key(1),
        "Anna (old discovery)",
        &["192.168.1.2:3485", "10.0.0.1:1"],
    );
    world.list.saw(world.now, Source::OriginalKeys, other);
    let only = world.only();
    assert_eq!((only.who, only.name.as_str()), (key(1), "anna"));
    assert_eq!(only.addrs.len(), 2);
    // Its goodbye counts for what was heard of it by the other way, too.
    world.list.gone(Source::DnsSd, &key(1));
    assert!(world.names().is_empty());
}

#[test]
fn we_ourselves_are_never_in_it() {
    let mut world = World::new();
    world.saw(ME, "me", &[ADDR]);
    assert!(world.names().is_empty() && !world.list.take_changed());
}

#[test]
fn a_goodbye_takes_effect_at_once() {
    let mut world = World::new();
    world.saw(1, "anna", &[ADDR]);
    assert!(world.list.take_changed());
    world.list.gone(Source::DnsSd, &key(1));
    assert!(world.list.take_changed());
    assert!(world.names().is_empty());
}

#[test]
fn a_dead_peer_is_asked_three_times_and_gone_within_fifteen_seconds() {
    let mut world = World::new();
    world.saw(1, "anna", &[ADDR]);
    assert_eq!(world.next(), [ping(1)]);
    assert_eq!(world.next(), [ping(1)]);
    assert_eq!(world.next(), [Ask::Confirm(id(1))]);
    // The daemon tells that nobody answered.
    world.now += CONFIRM_WAIT;
    world.list.gone(Source::DnsSd, &key(1));
    assert!(world.names().is_empty());
    assert!(world.seconds() < 15, "{} s", world.seconds());
}

#[test]
fn a_closed_port_leads_to_the_last_question_at_once() {
    let mut world = World::new();
    world.saw(1, "anna", &[ADDR]);
    assert_eq!(world.next(), [ping(1)]);
    world.list.refused(world.now, &key(1));
    assert_eq!(world.list.poll(world.now), [Ask::Confirm(id(1))]);
    world.list.refused(world.now, &key(1));
    assert!(world.list.poll(world.now).is_empty(), "asked once");
    assert!(world.seconds() < 8);
}

#[test]
fn a_peer_that_answers_or_is_confirmed_stays_for_ever() {
    let mut world = World::new();
    world.saw(1, "answers", &[ADDR]);
    world.saw(2, "behind a firewall", &[ADDR]);
    world.list.take_changed();
    let mut confirmed = 0;
    while world.seconds() < 3600 {
        for ask in world.next() {
            match ask {
                Ask::Ping(who, _) if who == key(1) => world.list.alive(world.now, &who),
                Ask::Ping(..) => {}
                Ask::Confirm(peer) => {
                    assert_eq!(peer, id(2));
                    confirmed += 1;
                }
            }
        }
    }
    assert_eq!(world.names().len(), 2);
    assert!(confirmed > 100);
    let shut: Vec<bool> = world.list.entries().map(|peer| peer.shut).collect();
    let of: Vec<bool> = world
        .list
        .entries()
        .map(|peer| peer.who == key(2))
        .collect();
    assert_eq!(shut, of, "the port of one is shut");
    assert!(world.list.take_changed(), "which was news, once");
    world.list.alive(world.now, &key(2));
    assert!(world.list.take_changed(), "it was opened");
    assert!(world.list.entries().all(|peer| !peer.shut));
}

#[test]
fn a_port_is_shut_when_a_dial_is_not_answered_and_the_peer_is_heard_afterwards() {
    let mut world = World::new();
    let heard_again = |world: &mut World| {
        let seen = sighting(key(1), "anna", &[ADDR]);
        world.list.saw(world.now, Source::OriginalKeys, seen);
        world.only().shut
    };
    assert!(!heard_again(&mut world));
    world.list.unreached(id(1));
    world.list.unreached(id(2));
    assert!(!world.only().shut, "it may have gone");
    world.list.take_changed();
    assert!(heard_again(&mut world) && world.list.take_changed());
    world.list.heard(world.now, &key(1));
    assert!(world.only().shut, "that is not its port");
    world.list.alive(world.now, &key(1));
    assert!(!heard_again(&mut world));
    // At another address nothing is known of its port.
    world.list.unreached(id(1));
    let moved = sighting(key(1), "anna", &["192.168.1.3:3485"]);
    world.list.saw(world.now, Source::OriginalKeys, moved);
    assert!(!world.only().shut);
}

#[test]
fn a_peer_that_says_it_does_not_reach_us_is_marked_until_it_says_so_no_more() {
    let mut world = World::new();
    let mut says = |unreached: Vec<PeerId>| {
        let seen = Sighting {
            unreached,
            ..sighting(key(1), "anna", &[ADDR])
        };
        world.list.saw(world.now, Source::DnsSd, seen);
        (world.only().misses_us, world.list.take_changed())
    };
    assert_eq!(says(vec![id(2)]), (false, true), "another one");
    assert_eq!(says(vec![id(2), id(ME)]), (true, true));
    assert_eq!(says(vec![id(ME)]), (true, false));
    assert_eq!(says(vec![]), (false, true));
}

#[test]
fn what_is_only_repeated_from_memory_does_not_keep_a_dead_peer() {
    let mut world = World::new();
    world.saw(1, "anna", &[ADDR]);
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.extend(world.next());
        world.saw(1, "anna", &[ADDR]);
    }
    assert_eq!(asked, [ping(1), ping(1), Ask::Confirm(id(1))]);
}

#[test]
fn a_new_address_or_name_shows_at_once() {
    let mut world = World::new();
    world.saw(1, "anna", &[ADDR]);
    world.list.take_changed();
    world.saw(1, "anna", &[ADDR]);
    assert!(!world.list.take_changed());
    world.saw(1, "anna", &["192.168.1.9:3485"]);
    assert!(world.list.take_changed());
    assert_eq!(world.only().addrs, ["192.168.1.9:3485".parse().unwrap()]);
    world.saw(1, "Anna", &["192.168.1.9:3485"]);
    assert!(world.list.take_changed());
    assert_eq!(world.only().name, "Anna");
}

#[test]
fn originals_are_in_it_as_long_as_they_are_heard() {
    let mut world = World::new();
    let who = original(1);
    let seen = sighting(who, "old one", &[ADDR]);
    for _ in 0..20 {
        world.list.saw(world.now, Source::Original, seen.clone());
        world.now += VALID / 2;
        assert!(world.list.poll(world.now).is_empty(), "nobody is asked");
    }
    assert_eq!(world.only().who, who);
    world.now += VALID;
    world.list.poll(world.now);
    assert!(world.names().is_empty());
}

#[test]
fn when_a_source_fails_its_peers_stay_only_while_they_answer() {
    let mut world = World::new();
    world.saw(1, "answers", &[ADDR]);
    world.saw(2, "silent", &[ADDR]);
    world.list.orphan(world.now, Source::DnsSd);
    while world.seconds() < 40 {
        for ask in world.next() {
            match ask {
                Ask::Ping(who, _) if who == key(1) => world.list.alive(world.now, &who),
                Ask::Ping(..) => {}
                Ask::Confirm(_) => panic!("there is nobody to ask"),
            }
        }
    }
    assert_eq!(world.names(), ["answers"]);
}

#[test]
fn a_flood_of_strangers_costs_bounded_memory_and_hides_nobody_we_know() {
    let mut world = World::new();
    world
        .list
        .set_known(HashSet::from([id(100_001), id(100_002)]));
    world.saw(100_001, "known and early", &[ADDR]);
    let mut asks = 0;
    for n in 0..100_000 {
        world.now += Duration::from_millis(1);
        world.saw(n, "x", &[ADDR]);
        asks += world.list.poll(world.now).len();
    }
    world.saw(100_002, "known and late", &[ADDR]);
    let names = world.names();
    assert_eq!(names.len(), NEARBY_MAX);
    for known in ["known and early", "known and late"] {
        assert!(names.iter().any(|name| name == known), "{known}");
    }
    // Each entry is asked about every few seconds, and no more.
    let most = NEARBY_MAX as u64 * (world.seconds() / ANSWER_WAIT.as_secs() + 1);
    assert!(asks as u64 <= most, "{asks} questions");
}

#[test]
fn strangers_who_shout_do_not_use_up_the_attention_for_others_for_ever() {
    let mut world = World::new();
    for n in 0..10_000 {
        world.saw(1, &n.to_string(), &[ADDR]);
    }
    assert_eq!(
        world.only().name,
        (super::credit::SIGHTINGS_MAX - 1).to_string()
    );
    world.list.set_known(HashSet::from([id(2)]));
    world.saw(2, "known", &[ADDR]);
    world.saw(3, "unknown", &[ADDR]);
    assert_eq!(world.names().len(), 2);
    world.now += Duration::from_secs(1);
    world.saw(3, "unknown", &[ADDR]);
    assert_eq!(world.names().len(), 3);
}

#[test]
fn names_and_addresses_are_cut_and_impossible_addresses_left_out() {
    let mut world = World::new();
    let many: Vec<String> = (1..=20).map(|n| format!("10.0.0.{n}:1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    world.saw(1, &"é".repeat(1000), &many);
    let only = world.only();
    assert_eq!(
        (only.name.len(), only.addrs.len()),
        (NAME_LEN_MAX, NEARBY_ADDRS_MAX)
    );
    let impossible = [
        "0.0.0.0:1",
        "224.0.0.1:1",
        "255.255.255.255:1",
        "127.0.0.1:1",
        "[::ffff:127.0.0.1]:1",
        "[::]:1",
        "[ff02::1]:1",
        "[::1]:1",
        "10.0.0.1:0",
    ];
    world.saw(2, "nowhere", &impossible);
    assert_eq!(world.names().len(), 1);
}

#[test]
fn nobody_can_have_us_knock_at_a_door_outside() {
    let mut world = World::new();
    world.saw(1, "anna", &["203.0.113.9:53", "[2001:db8::9]:53"]);
    assert_eq!(world.next(), [Ask::Confirm(id(1))]);
}

#[test]
fn every_address_gets_its_turn_to_be_asked() {
    let mut world = World::new();
    world.saw(1, "anna", &["10.0.0.1:1", "10.0.0.2:1"]);
    let mut asked = Vec::new();
    asked.extend(world.next());
    asked.extend(world.next());
    let at = |addr: &str| Ask::Ping(key(1), addr.parse().unwrap());
    assert_eq!(asked, [at("10.0.0.1:1"), at("10.0.0.2:1")]);
}

#[derive(Debug, Clone)]
enum Step {
    Saw(u8, u8, String, Vec<SocketAddr>),
    Gone(u8, u8),
    Alive(u8),
    Refused(u8),
    Orphan(u8),
    Wait(u16),
}

fn source(n: u8) -> Source {
    match n % 3 {
        0 => Source::DnsSd,
        1 => Source::OriginalKeys,
        _ => Source::Original,
    }
}

fn original(n: u8) -> Who {
    Who::Original(OriginalId {
        id: LegacyId::DEFAULT_PROFILE,
        requests: ([10, 0, 0, n], 3486).into(),
    })
}

fn who(n: u8) -> Who {
    match n % 4 {
        0 => original(n),
        _ => key(n.into()),
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let addrs = prop::collection::vec(any::<(std::net::IpAddr, u16)>(), 0..12);
    let addrs = addrs.prop_map(|all| all.into_iter().map(SocketAddr::from).collect());
    let step = prop_oneof![
        (any::<u8>(), any::<u8>(), "\\PC{0,200}", addrs)
            .prop_map(|(n, source, name, addrs)| Step::Saw(n, source, name, addrs)),
        any::<(u8, u8)>().prop_map(|(n, source)| Step::Gone(n, source)),
        any::<u8>().prop_map(Step::Alive),
        any::<u8>().prop_map(Step::Refused),
        any::<u8>().prop_map(Step::Orphan),
        any::<u16>().prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn whatever_is_heard_the_list_stays_sound(steps in steps()) {
        let mut world = World::new();
        let mut before: Vec<NearPeer> = Vec::new();
        for step in steps {
            let (now, list) = (world.now, &mut world.list);
            match step {
                Step::Saw(n, from, name, addrs) => {
                    let who = who(n);
                    let unreached = vec![id(ME); usize::from(n % 2)];
                    let seen = Sighting { who, name, addrs, unreached };
                    list.saw(now, source(from), seen);
                }
                Step::Gone(n, from) => list.gone(source(from), &who(n)),
                Step::Alive(n) => list.alive(now, &who(n)),
                Step::Refused(n) => list.refused(now, &who(n)),
                Step::Orphan(from) => list.orphan(now, source(from)),
                Step::Wait(ms) => world.now += Duration::from_millis(ms.into()),
            }
            let asks = world.list.poll(world.now);
            prop_assert!(world.list.poll(world.now).is_empty(), "each question once");
            for ask in asks {
                if let Ask::Ping(_, addr) = ask {
                    prop_assert!(may_be_pinged(&addr) && addr.port() != 0);
                }
            }
            if let Some(next) = world.list.next_poll() {
                prop_assert!(next > world.now, "it would spin");
            }
            let after: Vec<NearPeer> = world.list.entries().collect();
            prop_assert!(after.len() <= NEARBY_MAX);
            for peer in &after {
                prop_assert!(!peer.addrs.is_empty() && peer.addrs.len() <= NEARBY_ADDRS_MAX);
                prop_assert!(peer.name.len() <= NAME_LEN_MAX);
            }
            let same = |a: &NearPeer, b: &NearPeer| {
                let claims = |peer: &NearPeer| (peer.shut, peer.misses_us);
                a.who == b.who && a.name == b.name && a.addrs == b.addrs && claims(a) == claims(b)
            };
            let differ = after.len() != before.len()
                || after.iter().zip(&before).any(|(a, b)| !same(a, b));
            let told = world.list.take_changed();
            prop_assert!(told || !differ, "a change that was not told");
            before = after;
        }
        // Left alone, nothing stays that does not answer, except what the daemon still claims.
        for _ in 0..100_000 {
            match world.list.next_poll() {
                Some(next) if next < world.begun + Duration::from_secs(30_000) => {
                    world.now = next;
                    for ask in world.list.poll(next) {
                        if let Ask::Confirm(id) = ask {
                            world.list.gone(Source::DnsSd, &Who::Key(id));
                        }
                    }
                }
                Some(_) | None => break,
            }
        }
        let originals_by_dns = world.list.entries().all(|p| matches!(p.who, Who::Original(_)));
        prop_assert!(originals_by_dns);
    }
}
