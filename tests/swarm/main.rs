//! Sessions of many receivers in one process and in virtual time: the real transfers, the real
//! files and the real decisions, over links in memory. Between the receivers is a network that does
//! what each test says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub
)]

mod between;
#[path = "../common/mod.rs"]
mod common;
mod member;
mod network;
mod pictures;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peerconnect::otm::origin::coordinate;
use peerconnect::otm::tree::Limits;
use peerconnect::protocol::groups::GROUP_LEN;
use peerconnect::protocol::sessions::Feeder;
use peerconnect::transfer::ended::Ended;
use peerconnect::transfer::limiter::Limiter;
use peerconnect::transfer::status::Shortcoming;
use tokio::sync::mpsc;
use tokio::time::Instant;

use common::{content, tree};
use member::{Common, Member, id, inbox, peer};
use network::{Manner, Network};

const MIB: u64 = GROUP_LEN;
/// How much later everybody else is done at most, because one of them has died.
const REPAIRED_IN: Duration = Duration::from_secs(10);

/// A session, some of whose receivers are there.
struct Swarm {
    common: Common,
    members: BTreeMap<usize, Member>,
    _dir: tempfile::TempDir,
}

impl Swarm {
    /// One of `groups` groups and some small files, for so many receivers, none of which is there.
    fn new(seed: u64, members: usize, groups: u64) -> Self {
        let mut files: Vec<(String, u64)> =
            (1..6).map(|n| (format!("small-{n}"), n * 1500)).collect();
        let more = [
            ("big", (groups - 1) * MIB + 5),
            ("medium", 300_000),
            ("tiny", 77),
            ("empty", 0),
        ];
        files.extend(more.map(|(name, len)| (name.to_owned(), len)));
        Self::of(seed, members, &files, 10 * MIB)
    }

    /// One of these files, of which the sender sends so many bytes a second.
    fn of(seed: u64, members: usize, files: &[(String, u64)], rate: u64) -> Self {
        // In memory where that is possible: this is not about the disk.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let dir = dir.unwrap();
        let out = dir.path().join("out/d");
        std::fs::create_dir_all(&out).unwrap();
        for (name, len) in files {
            let bytes = content(seed ^ len, *len as usize);
            std::fs::write(out.join(name), bytes).unwrap();
        }
        let (news, heard) = mpsc::channel(1024);
        tokio::spawn(coordinate(heard, Limits::default()));
        let common = Common {
            dir: dir.path().to_owned(),
            paths: vec![out],
            members: members as u32,
            network: Network::new(seed),
            news,
            known: Arc::default(),
            limiter: Arc::new(Limiter::new(Some(rate))),
            tries: 1,
            links: 0,
            blamed: Arc::default(),
            short: Arc::default(),
        };
        Self {
            common,
            members: BTreeMap::new(),
            _dir: dir,
        }
    }

    fn start(&mut self, n: usize, manner: Manner) {
        let member = Member::start(&self.common, n, manner);
        self.members.insert(n, member);
    }

    async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let reached = async {
            while !so(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(3600), reached);
        reached
            .await
            .unwrap_or_else(|_| panic!("{what}: waited in vain"));
    }

    async fn until_has(&self, n: usize, percent: u64) {
        self.until("a part", |swarm| swarm.members[&n].has(percent))
            .await;
    }

    /// Everybody who is still there gets everything, and nothing else.
    async fn complete(self) -> Arc<Mutex<Vec<peerconnect::protocol::message::TransferId>>> {
        let all = tree(&self.common.dir.join("out"));
        let _kept: Vec<_> = self
            .members
            .values()
            .map(|member| member.sent.clone())
            .collect();
        for (n, member) in self.members {
            assert_eq!(member.ended().await, Ended::Completed, "{n}");
            assert!(tree(&inbox(&self.common.dir, n)) == all, "{n}");
        }
        self.common.blamed
    }
}

#[tokio::test(start_paused = true)]
async fn sixty_four_get_everything() {
    for seed in 0..2 {
        let mut swarm = Swarm::new(seed, 64, 4);
        (0..64).for_each(|n| swarm.start(n, Manner::Honest));
        assert_eq!(*swarm.complete().await.lock().unwrap(), []);
    }
}

/// Where a receiver is among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The sender feeds it, and it feeds others.
    Head,
    /// Between others.
    Middle,
    /// It feeds nobody.
    Leaf,
}

impl Swarm {
    /// Where it is now, if it was told.
    fn place(&self, n: usize) -> Option<Place> {
        let network = &self.common.network;
        let feeds = self.members.keys().any(|other| {
            let feeder = network.feeder_of(id(*other));
            matches!(feeder, Some(Feeder::Member { member, .. }) if member == id(n))
        });
        Some(match (network.feeder_of(id(n))?, feeds) {
            (_, false) => Place::Leaf,
            (Feeder::Origin, true) => Place::Head,
            (Feeder::Member { .. }, true) => Place::Middle,
        })
    }

    /// How many get everything through it.
    fn below(&self, n: usize) -> usize {
        let feeder = |other: usize| match self.common.network.feeder_of(id(other)) {
            Some(Feeder::Member { member, .. }) => Some(usize::from(member.0[0]) - 1),
            Some(Feeder::Origin) | None => None,
        };
        let is_below = |other: &&usize| {
            let above = std::iter::successors(feeder(**other), |above| feeder(*above));
            { above }.take(self.members.len()).any(|above| above == n)
        };
        self.members.keys().filter(is_below).count()
    }

    /// The one at such a place on whom the most depend.
    fn at(&self, place: Place) -> Option<usize> {
        let members = self.members.keys().copied();
        let fit = members.filter(|n| self.place(*n) == Some(place));
        fit.max_by_key(|n| self.below(*n))
    }
}

/// What came of a session in which one at this place, as the others stood in the middle of it,
/// turned out to be like this: how often it lied, and whether it was named for that, and for
/// passing nothing on. Nobody else is.
async fn one_turns(
    manner: Manner,
    place: Place,
    seed: u64,
    (groups, seconds): (u64, u64),
) -> (u32, bool, bool) {
    const MEMBERS: usize = 6;
    let mut swarm = Swarm::new(seed, MEMBERS, groups);
    // So slow that much is still to come when it is found out, and fast enough that it is known by
    // then who must have what.
    let rate = groups * MIB / seconds;
    swarm.common.limiter = Arc::new(Limiter::new(Some(rate)));
    let (network, short) = (swarm.common.network.clone(), swarm.common.short.clone());
    (0..MEMBERS).for_each(|n| swarm.start(n, Manner::Honest));
    let begun = |s: &Swarm| s.members.values().all(|m| m.has(15)) && s.at(place).is_some();
    swarm.until("the tree", begun).await;
    let bad = swarm.at(place).unwrap();
    network.turn(id(bad), manner);
    let blamed = swarm.complete().await;
    let blamed = blamed.lock().unwrap();
    let others = blamed.iter().filter(|who| **who != id(bad)).count();
    assert_eq!(others, 0, "{place:?}, {seed}: not only {bad}: {blamed:?}");
    let short = short.lock().unwrap();
    let mut silent = short.iter().filter(|(_, s)| *s != Shortcoming::OutOfReach);
    let named = silent.clone().next().is_some();
    assert!(
        silent.all(|(who, _)| *who == id(bad)),
        "{place:?}, {seed}: {short:?}"
    );
    (network.lies_of(id(bad)), !blamed.is_empty(), named)
}

#[tokio::test(start_paused = true)]
async fn at_each_place_in_the_tree_a_liar_is_named_for_it_and_nobody_else() {
    for manner in [Manner::Flips, Manner::Repeats] {
        for place in [Place::Head, Place::Middle, Place::Leaf] {
            let mut named = 0;
            for seed in 0..3 {
                let (lies, blamed, silent) = one_turns(manner, place, seed, (12, 9)).await;
                assert_eq!(lies > 0, blamed, "{manner:?}, {place:?}, {seed}");
                assert!(!silent, "{manner:?}, {place:?}, {seed}");
                named += u32::from(blamed);
            }
            assert!(named > 0 || place == Place::Leaf, "{manner:?}, {place:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn at_each_place_in_the_tree_one_that_passes_nothing_on_is_named_and_nobody_else() {
    for (manner, size) in [(Manner::Withholds, (160, 20)), (Manner::Denies, (144, 9))] {
        for place in [Place::Head, Place::Middle, Place::Leaf] {
            let (_, blamed, silent) = one_turns(manner, place, 0, size).await;
            assert!(!blamed, "{manner:?}, {place:?}");
            // Whoever feeds nobody gives nobody nothing.
            assert!(silent || place == Place::Leaf, "{manner:?}, {place:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn at_no_place_in_the_tree_one_that_gives_what_it_should_is_named_however_slowly() {
    for (manner, groups) in [
        (Manner::Slow, 36),
        (Manner::Reorders, 12),
        (Manner::Drops, 12),
        (Manner::Delays, 12),
        (Manner::Honest, 12),
    ] {
        for place in [Place::Head, Place::Middle, Place::Leaf] {
            for seed in 0..2 {
                let came = one_turns(manner, place, seed, (groups, 9)).await;
                assert_eq!(came, (0, false, false), "{manner:?}, {place:?}, {seed}");
            }
        }
    }
}

/// So many, one of whom is not as it should be, at each place.
async fn one_is(manner: Manner) {
    const MEMBERS: usize = 5;
    let mut lied = 0;
    for bad in 0..MEMBERS {
        let mut swarm = Swarm::new(bad as u64, MEMBERS, 5);
        let network = swarm.common.network.clone();
        for n in 0..MEMBERS {
            let manner = if n == bad { manner } else { Manner::Honest };
            swarm.start(n, manner);
        }
        let blamed = swarm.complete().await;
        let blamed = blamed.lock().unwrap();
        assert!(
            blamed.iter().all(|who| *who == id(bad)),
            "{bad}: {blamed:?}"
        );
        let lies = network.lies_of(id(bad));
        assert_eq!(lies > 0, !blamed.is_empty(), "{bad}: {lies} lies");
        lied += lies;
    }
    let is_liar = matches!(manner, Manner::Flips | Manner::Repeats);
    assert_eq!(lied > 0, is_liar, "{lied} lies");
}

#[tokio::test(start_paused = true)]
async fn one_that_flips_bytes_is_named_wherever_it_is() {
    one_is(Manner::Flips).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_gives_again_what_it_gave_before_is_named_wherever_it_is() {
    one_is(Manner::Repeats).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_half_of_what_is_asked_keeps_nobody_from_anything() {
    one_is(Manner::Drops).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_in_any_order_keeps_nobody_from_anything() {
    one_is(Manner::Reorders).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_seconds_for_each_group_keeps_nobody_from_anything() {
    one_is(Manner::Delays).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_dies_in_the_middle_the_others_get_everything() {
    let mut fed = 0;
    for seed in 0..50 {
        let mut swarm = Swarm::new(seed, 6, 4);
        (0..6).for_each(|n| swarm.start(n, Manner::Honest));
        let began = Instant::now();
        let dies = swarm.common.network.random(6) as usize;
        swarm.until_has(dies, 50).await;
        let network = swarm.common.network.clone();
        fed += u32::from(network.asked_of(id(dies)) > 0);
        let dead = swarm.members.remove(&dies).unwrap();
        dead.die();
        swarm.complete().await;
        let with = began.elapsed();

        let mut swarm = Swarm::new(seed, 6, 4);
        (0..6).for_each(|n| swarm.start(n, Manner::Honest));
        let began = Instant::now();
        swarm.complete().await;
        let without = began.elapsed();
        let later = with.saturating_sub(without);
        assert!(later <= REPAIRED_IN, "{seed}: {with:?}, not {without:?}");
    }
    assert!(fed >= 10, "only {fed} of those that died had fed anybody");
}

/// How long a session of six takes, in which one at this place may stop in the middle.
async fn one_stops(seed: u64, stops: Option<Place>) -> Duration {
    let mut swarm = Swarm::new(seed, 6, 12);
    (0..6).for_each(|n| swarm.start(n, Manner::Honest));
    let began = Instant::now();
    if let Some(place) = stops {
        let network = swarm.common.network.clone();
        let half = |s: &Swarm| s.at(place).is_some_and(|n| s.members[&n].has(50));
        swarm.until("half of it", half).await;
        let stops = swarm.at(place).unwrap();
        swarm.members[&stops].freeze(&network, id(stops));
        let _stopped = swarm.members.remove(&stops);
    }
    swarm.complete().await;
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_without_a_word_costs_the_others_little_wherever_it_is() {
    for seed in 0..6 {
        let without = one_stops(seed, None).await;
        for place in [Place::Head, Place::Middle] {
            let with = one_stops(seed, Some(place)).await;
            let later = with.saturating_sub(without);
            let said = format!("{seed}, {place:?}: {with:?}, not {without:?}");
            assert!(later <= REPAIRED_IN, "{said}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn when_all_links_of_the_sender_break_in_the_middle_all_go_on_from_what_they_have() {
    for seed in 0..10 {
        let mut swarm = Swarm::new(seed, 5, 12);
        (swarm.common.tries, swarm.common.links) = (0, 1);
        (0..5).for_each(|n| swarm.start(n, Manner::Honest));
        swarm.until_has(0, 50).await;
        assert!(swarm.members.values().all(|member| !member.is_over()));
        swarm.members.values().for_each(Member::cut);
        swarm.complete().await;
    }
}

#[tokio::test(start_paused = true)]
async fn sixty_four_get_everything_although_some_lie_die_and_come_late() {
    for seed in 0..2 {
        let mut swarm = Swarm::new(seed, 64, 6);
        let (liar, dies, late) = (3, 11, 60..64);
        for n in 0..late.start {
            let manner = if n == liar {
                Manner::Flips
            } else {
                Manner::Honest
            };
            swarm.start(n, manner);
        }
        swarm.until_has(dies, 50).await;
        swarm.members.remove(&dies).unwrap().die();
        late.for_each(|n| swarm.start(n, Manner::Honest));
        let lies = swarm.common.network.clone();
        let blamed = swarm.complete().await;
        let blamed = blamed.lock().unwrap();
        assert!(blamed.iter().all(|who| *who == id(liar)), "{blamed:?}");
        assert_eq!(lies.lies_of(id(liar)) > 0, !blamed.is_empty(), "{seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_in_the_middle_gets_everything() {
    for seed in 0..10 {
        let mut swarm = Swarm::new(seed, 5, 4);
        (0..4).for_each(|n| swarm.start(n, Manner::Honest));
        swarm.until_has(0, 50).await;
        swarm.start(4, Manner::Honest);
        swarm.complete().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_restarted_in_the_middle_goes_on() {
    for seed in 0..10 {
        let mut swarm = Swarm::new(seed, 5, 4);
        (0..5).for_each(|n| swarm.start(n, Manner::Honest));
        let restarts = swarm.common.network.random(5) as usize;
        swarm.until_has(restarts, 50).await;
        let before = swarm.members.remove(&restarts).unwrap();
        before.die();
        before.ended().await;
        swarm.start(restarts, Manner::Honest);
        swarm.complete().await;
    }
}

/// The sender leaves as soon as it may. Returns how many did not have everything then.
async fn leave(swarm: &Swarm) -> usize {
    may_leave(swarm).await;
    let open = swarm.members.values().filter(|m| !m.is_over());
    open.map(Member::cut).count()
}

async fn may_leave(swarm: &Swarm) {
    let may = |swarm: &Swarm| {
        let mut members = swarm.members.values();
        members.all(|member| member.is_over() || member.goes_on())
    };
    swarm.until("that it may leave", may).await;
}

#[tokio::test(start_paused = true)]
async fn the_sender_may_leave_when_all_say_so() {
    let mut left = 0;
    for seed in 0..20 {
        let mut swarm = Swarm::new(seed, 6, 12);
        swarm.common.network.delay.store(900, Ordering::Relaxed);
        let early = 1 + swarm.common.network.random(4) as usize;
        (0..early).for_each(|n| swarm.start(n, Manner::Honest));
        swarm
            .until("one is done", |s| s.members[&0].is_over())
            .await;
        (early..6).for_each(|n| swarm.start(n, Manner::Honest));
        left += leave(&swarm).await;
        swarm.complete().await;
    }
    assert!(left >= 20, "{left} were left alone");
}

#[tokio::test(start_paused = true)]
async fn when_the_sender_has_left_no_liar_harms_anybody() {
    let mut lies = 0;
    for (seed, manner) in [
        Manner::Flips,
        Manner::Drops,
        Manner::Repeats,
        Manner::Delays,
    ]
    .into_iter()
    .cycle()
    .take(12)
    .enumerate()
    {
        let mut swarm = Swarm::new(seed as u64, 6, 8);
        let network = swarm.common.network.clone();
        network.delay.store(900, Ordering::Relaxed);
        network.harm.store(false, Ordering::Relaxed);
        // Of three who have everything, two turn out to be bad.
        swarm.start(0, Manner::Honest);
        (1..3).for_each(|n| swarm.start(n, manner));
        let done = |s: &Swarm| s.members.values().all(Member::is_over);
        swarm.until("three are done", done).await;
        (3..6).for_each(|n| swarm.start(n, Manner::Honest));
        leave(&swarm).await;
        network.harm.store(true, Ordering::Relaxed);
        swarm.complete().await;
        let told = network.lies_of(id(1)) + network.lies_of(id(2));
        let named = network.lied.lock().unwrap();
        assert_eq!(told > 0, !named.is_empty(), "{manner:?}: {named:?}");
        let liars = [1, 2].map(|n| peer(id(n)));
        assert!(named.iter().all(|who| liars.contains(who)), "{named:?}");
        lies += told;
    }
    assert!(lies > 0, "nobody asked a liar");
}

#[tokio::test(start_paused = true)]
async fn when_all_who_had_it_leave_as_well_nobody_hangs() {
    let mut lost = 0;
    for seed in 0..3 {
        let mut swarm = Swarm::new(seed, 3, 24);
        swarm.common.network.delay.store(900, Ordering::Relaxed);
        swarm.start(0, Manner::Honest);
        let done = |s: &Swarm| s.members[&0].is_over();
        swarm.until("one is done", done).await;
        (1..3).for_each(|n| swarm.start(n, Manner::Honest));
        assert_eq!(leave(&swarm).await, 2);
        swarm.members[&0].die();
        let all = tree(&swarm.common.dir.join("out"));
        for n in 1..3 {
            let member = swarm.members.remove(&n).unwrap();
            // Unless the two have everything between them.
            lost += u32::from(matches!(member.ended().await, Ended::Lost(_)));
            let got = tree(&inbox(&swarm.common.dir, n)).into_iter();
            // What is there under its own name is right.
            let mut named = got.filter(|(name, _)| !name.contains(".pcpart"));
            assert!(named.all(|(name, bytes)| all[&name] == bytes));
        }
    }
    assert!(lost > 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_senders_person_has_paused_stays_so_when_the_sender_has_left() {
    let mut swarm = Swarm::new(1, 3, 24);
    swarm.common.network.delay.store(20_000, Ordering::Relaxed);
    swarm.start(0, Manner::Honest);
    let done = |s: &Swarm| s.members[&0].is_over();
    swarm.until("one is done", done).await;
    (1..3).for_each(|n| swarm.start(n, Manner::Honest));
    may_leave(&swarm).await;
    swarm.members[&1].pause_there("d/big").await;
    let paused = |s: &Swarm| s.members[&1].is_paused("d/big");
    swarm.until("the pause", paused).await;
    // What is paused nobody else gives: the sender is needed until it goes on.
    let is_needed = |s: &Swarm| !s.members[&1].goes_on();
    swarm.until("that it must stay", is_needed).await;
    swarm.members[&1].resume_there("d/big").await;
    let goes_on = |s: &Swarm| s.members[&1].goes_on();
    swarm.until("that it may leave again", goes_on).await;
    swarm.members[&1].pause_there("d/big").await;
    swarm.until("that it must stay", is_needed).await;
    swarm.until("the pause", paused).await;
    let open = swarm.members.values().filter(|m| !m.is_over());
    open.for_each(Member::cut);
    let other = swarm.members.remove(&2).unwrap();
    assert_eq!(other.ended().await, Ended::Completed);
    let waits = &swarm.members[&1];
    // Much longer than the other one took.
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!waits.is_over() && waits.is_paused("d/big"));
}
