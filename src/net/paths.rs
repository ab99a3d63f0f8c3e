//! Which way to a peer is taken: directly, if any direct way works, by UDP rather than over TCP, or
//! through the relay. Both ends ask each other at every address that may lead there, which opens
//! the routers between them (RFC 5128, section 3.3), and on every TCP connection between them, and
//! each decides for what it sends. No clock and no socket in here.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::relay::Nonce;

/// Most addresses of each source that are asked: whoever tells many does not push out others.
const PER_SOURCE_MAX: usize = 8;
/// How often an address is asked while a way is looked for: at most ten times a second.
const SEARCH_EVERY: Duration = Duration::from_millis(150);
/// How long an address is asked at that pace. Before, it does not make room for another one: so
/// nobody can have many strangers asked.
const SEARCH_FOR: Duration = Duration::from_secs(8);
/// How often afterwards: routers change.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How often a way that works is asked, the one in use and the others.
const USED_EVERY: Duration = Duration::from_millis(500);
const SPARE_EVERY: Duration = Duration::from_secs(5);
/// A way that has not answered for this long does not work any more.
const DEAD_AFTER: Duration = Duration::from_secs(3);
/// The same for TCP: on a slow line an answer waits behind what was sent before. That the
/// connection has ended is known otherwise.
const DEAD_AFTER_TCP: Duration = Duration::from_secs(12);
/// A TCP connection that has not answered for this long is not kept.
const VAIN_AFTER: Duration = Duration::from_secs(30);
/// Questions to one address that may be answered late.
const ASKED_MAX: usize = 16;
/// Questions of the peer that are remembered.
const HEARD_MAX: usize = 64;
/// Another way must be so much better, in percent of the round trip, to be changed to.
const BETTER_PERCENT: u32 = 70;

/// Where the peer may be reached. What comes first is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    /// An address, by UDP.
    Udp(SocketAddr),
    /// A TCP connection to it; the number is made up by whoever holds it.
    Tcp(u32),
}

impl Place {
    /// The lower, the rather.
    fn rank(self) -> u8 {
        match self {
            Self::Udp(_) => 0,
            Self::Tcp(_) => 1,
        }
    }

    /// How long an answer may take.
    fn patience(self) -> Duration {
        match self {
            Self::Udp(_) => DEAD_AFTER,
            Self::Tcp(_) => DEAD_AFTER_TCP,
        }
    }

    /// Whether something has to open our own router first.
    fn has_router(self) -> bool {
        match self {
            Self::Udp(_) => true,
            Self::Tcp(_) => false,
        }
    }
}

/// Somebody to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) to: Place,
    pub(super) reach: Reach,
    pub(super) nonce: Nonce,
}

/// How far a question should get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Beyond our own router, no farther: the first one. There are routers that shut a port for
    /// good when something comes for it before their own side has sent anything; so both sides
    /// send something first that does not get there.
    Near,
    /// To the peer.
    Far,
}

/// The ways to one peer.
#[derive(Debug)]
pub(super) struct Paths {
    candidates: Vec<Candidate>,
    used: Option<Place>,
    heard: VecDeque<Nonce>,
}

/// Who says that the peer may be somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The person, or the relay.
    Hint,
    /// The peer.
    Told,
    /// A question that came from there.
    Asked,
    /// A TCP connection, on which the peer has proven its key.
    Connected,
}

#[derive(Debug)]
struct Candidate {
    place: Place,
    source: Source,
    /// Since when it is asked at the faster pace.
    searched: Instant,
    /// Whether something was sent there that opens our own router.
    is_opened: bool,
    asked: Vec<(Nonce, Instant)>,
    last_asked: Option<Instant>,
    /// The first question after the last answer.
    unanswered_since: Option<Instant>,
    /// How long the last answer took.
    rtt: Option<Duration>,
}

impl Candidate {
    /// The round trip, if it is a way that works.
    fn works(&self, now: Instant) -> Option<Duration> {
        self.rtt.filter(|_| self.waits(now) < self.place.patience())
    }

    /// Since when an answer is missing.
    fn waits(&self, now: Instant) -> Duration {
        self.unanswered_since.map_or(Duration::ZERO, |at| now - at)
    }
}

impl Paths {
    pub(super) fn new() -> Self {
        Self {
            candidates: Vec::new(),
            used: None,
            heard: VecDeque::new(),
        }
    }

    /// The peer may be at `place`. What is new is looked for at once.
    pub(super) fn offer(&mut self, place: Place, source: Source, now: Instant) {
        if self.candidates.iter().any(|known| known.place == place) {
            return;
        }
        let alike = self.candidates.iter().filter(|c| c.source == source);
        if alike.count() >= PER_SOURCE_MAX {
            // One that never answered makes room.
            let gives_way = |c: &Candidate| {
                c.source == source && c.rtt.is_none() && now - c.searched >= SEARCH_FOR
            };
            let Some(index) = self.candidates.iter().position(gives_way) else {
                return;
            };
            self.candidates.remove(index);
        }
        self.candidates.push(Candidate {
            place,
            source,
            searched: now,
            is_opened: !place.has_router(),
            asked: Vec::new(),
            last_asked: None,
            unanswered_since: None,
            rtt: None,
        });
    }

    /// There is nothing at `place` any more.
    pub(super) fn gone(&mut self, place: Place) {
        self.candidates.retain(|c| c.place != place);
    }

    /// Whether `place` was asked for long and has not answered, or never.
    pub(super) fn is_vain(&self, place: Place, now: Instant) -> bool {
        let candidate = self.candidates.iter().find(|c| c.place == place);
        candidate.is_none_or(|c| {
            let never = c.rtt.is_none() && now - c.searched >= SEARCH_FOR;
            never || c.waits(now) >= VAIN_AFTER
        })
    }

    /// Whether the peer asks this for the first time, as far as is remembered.
    pub(super) fn is_new(&mut self, nonce: Nonce) -> bool {
        if self.heard.contains(&nonce) {
            return false;
        }
        if self.heard.len() >= HEARD_MAX {
            self.heard.pop_front();
        }
        self.heard.push_back(nonce);
        true
    }

    /// The network of this computer has changed: nothing is certain any more.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        for candidate in &mut self.candidates {
            candidate.rtt = None;
            candidate.is_opened = !candidate.place.has_router();
            candidate.asked.clear();
            candidate.last_asked = None;
            candidate.searched = now;
        }
        self.used = None;
    }

    /// Whom to ask now. `nonce` makes one up.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        mut nonce: impl FnMut() -> Option<Nonce>,
    ) -> Vec<Question> {
        let mut questions = Vec::new();
        for index in 0..self.candidates.len() {
            let every = self.every(index, now);
            let Some(candidate) = self.candidates.get_mut(index) else {
                break;
            };
            let due = candidate.last_asked.is_none_or(|at| now - at >= every);
            if !due {
                continue;
            }
            candidate.last_asked = Some(now);
            let Some(nonce) = nonce() else { break };
            let reach = match candidate.is_opened {
                false => Reach::Near,
                true => Reach::Far,
            };
            candidate.is_opened = true;
            candidate.unanswered_since.get_or_insert(now);
            if candidate.asked.len() >= ASKED_MAX {
                candidate.asked.remove(0);
            }
            candidate.asked.push((nonce, now));
            let to = candidate.place;
            questions.push(Question { to, reach, nonce });
        }
        questions
    }

    fn every(&self, index: usize, now: Instant) -> Duration {
        let Some(candidate) = self.candidates.get(index) else {
            return LOOK_EVERY;
        };
        if self.used == Some(candidate.place) {
            USED_EVERY
        } else if candidate.works(now).is_some() {
            SPARE_EVERY
        } else if now - candidate.searched < SEARCH_FOR {
            SEARCH_EVERY
        } else {
            LOOK_EVERY
        }
    }

    /// When there is something to do next.
    pub(super) fn next(&self, now: Instant) -> Instant {
        let due = |index: usize| {
            let last = self.candidates.get(index)?.last_asked;
            Some(last.map_or(now, |last| last + self.every(index, now)))
        };
        let first = (0..self.candidates.len()).filter_map(due).min();
        first.unwrap_or(now + LOOK_EVERY)
    }

    /// The peer has asked from `from`: there is a way from there to here, and the way back is
    /// tried. So a router that lets in only whom it has sent to is opened from both sides.
    pub(super) fn asked_from(&mut self, from: Place, now: Instant) {
        let source = match from {
            Place::Udp(_) => Source::Asked,
            Place::Tcp(_) => Source::Connected,
        };
        self.offer(from, source, now);
        if self.used.is_some_and(|used| used.rank() <= from.rank()) {
            return;
        }
        if let Some(candidate) = self.candidates.iter_mut().find(|c| c.place == from)
            && candidate.works(now).is_none()
            && candidate
                .last_asked
                .is_none_or(|at| now - at >= SEARCH_EVERY)
        {
            candidate.last_asked = None;
        }
    }

    /// The peer has answered.
    pub(super) fn answered(&mut self, nonce: Nonce, from: Place, now: Instant) {
        let Some(candidate) = self.candidates.iter_mut().find(|c| c.place == from) else {
            return;
        };
        let asked = candidate.asked.iter().find(|(asked, _)| *asked == nonce);
        let Some((_, at)) = asked else { return };
        // Smoothed: a single answer may have been held up.
        let rtt = now - *at;
        candidate.rtt = Some(candidate.rtt.map_or(rtt, |before| (before * 3 + rtt) / 4));
        candidate.unanswered_since = None;
        candidate.asked.retain(|(asked, _)| *asked != nonce);
    }

    /// The way to take now; `None`: through the relay.
    pub(super) fn choose(&mut self, now: Instant) -> Option<Place> {
        let working = |c: &Candidate| Some((c.place.rank(), c.works(now)?, c.place));
        let best = self.candidates.iter().filter_map(working).min();
        let used = self
            .candidates
            .iter()
            .filter(|c| Some(c.place) == self.used);
        let used = used.filter_map(working).next();
        let chosen = match (used, best) {
            (Some((rank, rtt, place)), Some((other_rank, other, _)))
                if other_rank == rank && other * 100 >= rtt * BETTER_PERCENT =>
            {
                Some(place)
            }
            (_, best) => best.map(|(_, _, place)| place),
        };
        if self.used.is_some() && chosen.is_none() {
            for candidate in &mut self.candidates {
                candidate.searched = now;
            }
        }
        self.used = chosen;
        chosen
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn addr(n: u8) -> Place {
        Place::Udp(([192, 0, 2, n], 1).into())
    }

    /// Two ends in virtual time: which addresses lead to the peer, and how long an answer takes.
    struct Bed {
        now: Instant,
        paths: Paths,
        nonces: u64,
        answers: Vec<(Instant, Nonce, Place)>,
        asked: Vec<(Instant, Place)>,
    }

    impl Bed {
        fn new(addrs: &[u8]) -> Self {
            let now = Instant::now();
            let mut paths = Paths::new();
            for n in addrs {
                paths.offer(addr(*n), Source::Hint, now);
            }
            Self {
                now,
                paths,
                nonces: 0,
                answers: Vec::new(),
                asked: Vec::new(),
            }
        }

        fn run(&mut self, millis: u64, way: impl Fn(Place) -> Option<u64>) -> Option<u8> {
            let end = self.now + Duration::from_millis(millis);
            let mut chosen = None;
            while self.now < end {
                let now = self.now;
                let nonces = &mut self.nonces;
                let asked = self.paths.ask(now, || {
                    *nonces += 1;
                    Some(nonces.to_be_bytes())
                });
                for Question { to, reach, nonce } in asked {
                    self.asked.push((now, to));
                    if let Some(rtt) = way(to).filter(|_| reach == Reach::Far) {
                        self.answers
                            .push((now + Duration::from_millis(rtt), nonce, to));
                    }
                }
                let due = |a: &(Instant, Nonce, Place)| a.0 <= now;
                for (_, nonce, from) in self.answers.extract_if(.., |a| due(a)) {
                    self.paths.answered(nonce, from, now);
                }
                chosen = self.paths.choose(now);
                self.now += Duration::from_millis(10);
            }
            chosen.map(|place| match place {
                Place::Udp(SocketAddr::V4(addr)) => addr.ip().octets()[3],
                Place::Udp(SocketAddr::V6(_)) => 0,
                Place::Tcp(number) => 200 + u8::try_from(number).unwrap(),
            })
        }

        fn asked_since(&self, since: Instant) -> usize {
            self.asked.iter().filter(|(at, _)| *at >= since).count()
        }
    }

    #[test]
    fn the_first_way_that_answers_is_taken_and_a_much_better_one_later() {
        let mut bed = Bed::new(&[1, 2, 3]);
        assert_eq!(bed.run(100, |_| None), None);
        let only_2 = |a: Place| (a == addr(2)).then_some(50);
        assert_eq!(bed.run(300, only_2), Some(2));
        let a_little = |a: Place| match a {
            a if a == addr(2) => Some(50),
            a if a == addr(3) => Some(45),
            _ => None,
        };
        assert_eq!(bed.run(3_000, a_little), Some(2));
        let much = |a: Place| match a {
            a if a == addr(2) => Some(50),
            a if a == addr(1) => Some(1),
            _ => None,
        };
        assert_eq!(bed.run(20_000, much), Some(1));
    }

    #[test]
    fn a_way_that_dies_is_left_after_three_seconds_and_found_again() {
        let mut bed = Bed::new(&[1]);
        assert_eq!(bed.run(300, |_| Some(10)), Some(1));
        assert_eq!(bed.run(60_000, |_| Some(10)), Some(1));
        assert_eq!(bed.run(2_000, |_| None), Some(1));
        assert_eq!(bed.run(2_500, |_| None), None);
        assert_eq!(bed.run(500, |_| Some(10)), Some(1));
    }

    #[test]
    fn lost_answers_do_not_end_a_way() {
        let mut bed = Bed::new(&[1]);
        bed.run(300, |_| Some(10));
        for round in 0..200u64 {
            // Every second answer is lost.
            let chosen = bed.run(500, |_| round.is_multiple_of(2).then_some(10));
            assert_eq!(chosen, Some(1), "{round}");
        }
    }

    #[test]
    fn nobody_is_flooded() {
        let mut bed = Bed::new(&[1]);
        let start = bed.now;
        bed.run(8_000, |_| None);
        assert!(bed.asked_since(start) <= 80, "{}", bed.asked.len());
        let later = bed.now;
        bed.run(60_000, |_| None);
        assert!(bed.asked_since(later) <= 6, "{}", bed.asked_since(later));
        // A peer that asks without answering does not make it more.
        let last = bed.now;
        for _ in 0..100 {
            bed.paths.asked_from(addr(1), bed.now);
            bed.run(10, |_| None);
        }
        assert!(bed.asked_since(last) <= 10, "{}", bed.asked_since(last));
    }

    #[test]
    fn where_the_peer_asks_from_is_a_way_to_try() {
        let mut bed = Bed::new(&[1]);
        bed.run(20_000, |_| None);
        bed.paths.asked_from(addr(9), bed.now);
        let only_9 = |a: Place| (a == addr(9)).then_some(20);
        assert_eq!(bed.run(300, only_9), Some(9));
    }

    #[test]
    fn an_answer_counts_once_and_from_where_it_was_asked() {
        let now = Instant::now();
        let mut paths = Paths::new();
        paths.offer(addr(1), Source::Hint, now);
        paths.offer(addr(2), Source::Told, now);
        let questions = paths.ask(now, || Some([1; 8]));
        assert_eq!(questions.len(), 2);
        // Each is asked from near first.
        assert!(
            questions
                .iter()
                .all(|question| question.reach == Reach::Near)
        );
        let later = now + SEARCH_EVERY;
        let questions = paths.ask(later, || Some([1; 8]));
        assert!(
            questions
                .iter()
                .all(|question| question.reach == Reach::Far)
        );
        paths.answered([2; 8], addr(1), now);
        paths.answered([1; 8], addr(3), now);
        assert_eq!(paths.choose(now), None);
        paths.answered([1; 8], addr(2), now);
        assert_eq!(paths.choose(now), Some(addr(2)));
    }

    #[test]
    fn whoever_names_many_addresses_neither_floods_them_nor_pushes_others_out() {
        let mut bed = Bed::new(&[1]);
        let start = bed.now;
        let mut asked = std::collections::HashMap::new();
        for n in 0..120u8 {
            let now = bed.now;
            bed.paths.offer(addr(100 + n), Source::Told, now);
            let from = Place::Udp(([198, 51, 100, n], 1).into());
            bed.paths.asked_from(from, now);
            bed.run(500, |_| None);
        }
        for (_, to) in &bed.asked {
            *asked.entry(*to).or_insert(0) += 1;
        }
        assert!(asked.values().all(|times| *times <= 65), "{asked:?}");
        // Eight of each source in eight seconds.
        assert!(asked.len() <= 1 + 2 * (8 + 60), "{}", asked.len());
        let most = bed.paths.candidates.len();
        assert!(most <= 2 * PER_SOURCE_MAX + 1, "{most}");
        let first = |a: Place| (a == addr(1)).then_some(5);
        assert_eq!(bed.run(20_000, first), Some(1));
        assert!(bed.now > start);
    }

    #[test]
    fn tcp_is_taken_while_udp_does_not_work_and_left_when_it_does() {
        let mut bed = Bed::new(&[1]);
        let tcp = Place::Tcp(3);
        assert_eq!(bed.run(1_000, |_| None), None);
        bed.paths.offer(tcp, Source::Connected, bed.now);
        // At once: no router has to be opened first.
        assert_eq!(bed.run(20, |p| (p == tcp).then_some(5)), Some(203));
        let slow_udp = |p: Place| Some(if p == tcp { 5 } else { 900 });
        assert_eq!(bed.run(20_000, slow_udp), Some(1));
        assert_eq!(bed.run(10_000, |p| (p == tcp).then_some(5)), Some(203));
        bed.paths.gone(tcp);
        assert_eq!(bed.run(10, |_| None), None);
    }

    #[test]
    fn what_never_answers_is_vain_after_a_while() {
        let mut bed = Bed::new(&[]);
        let (tcp, other) = (Place::Tcp(1), Place::Tcp(2));
        bed.paths.offer(tcp, Source::Connected, bed.now);
        bed.paths.offer(other, Source::Connected, bed.now);
        bed.run(7_000, |p| (p == other).then_some(5));
        assert!(!bed.paths.is_vain(tcp, bed.now));
        bed.run(1_100, |p| (p == other).then_some(5));
        assert!(bed.paths.is_vain(tcp, bed.now));
        assert!(!bed.paths.is_vain(other, bed.now));
        // It may take a while on a slow line, but not for ever.
        bed.run(10_000, |_| None);
        assert_eq!(bed.paths.used, Some(other));
        bed.run(10_000, |_| None);
        assert_eq!(
            (bed.paths.used, bed.paths.is_vain(other, bed.now)),
            (None, false)
        );
        bed.run(20_000, |_| None);
        assert!(bed.paths.is_vain(other, bed.now));
    }

    #[test]
    fn a_question_counts_once() {
        let mut paths = Paths::new();
        assert!(paths.is_new([1; 8]));
        assert!(!paths.is_new([1; 8]));
        for n in 0..HEARD_MAX as u64 {
            assert!(paths.is_new((n + 1000).to_be_bytes()));
        }
        assert_eq!(paths.heard.len(), HEARD_MAX);
    }

    #[test]
    fn another_network_begins_anew() {
        let mut bed = Bed::new(&[1, 2]);
        bed.run(300, |a| (a == addr(1)).then_some(5));
        bed.paths.begin_anew(bed.now);
        assert_eq!(bed.paths.choose(bed.now), None);
        assert_eq!(bed.run(300, |a| (a == addr(2)).then_some(5)), Some(2));
    }
}
