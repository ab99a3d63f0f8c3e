//! Whom a person means by a name, a key or the beginning of either. Pure.
//!
//! Two kinds of names: those the person has vouched for (names of their own, and what trusted
//! peers call themselves), and those that anybody in the network can claim. The second never get
//! in the way of the first.

use crate::fault::Fault;
use crate::net::discovery::{NearPeer, OriginalId, Who};
use crate::peer::PeerId;
use crate::storage::store::PeerRecord;
use crate::text::Shown;

/// Least number of characters of a peer's id that stand for it.
pub const ID_START_MIN: usize = 4;
/// Candidates that are listed when a name could be several peers.
const CANDIDATES_MAX: usize = 8;

/// Who is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meant {
    /// This one: its key was typed, or a name that the person has vouched for.
    Sure(PeerId),
    /// The only one that claims the name.
    Claimed(PeerId),
    /// One of several; in words.
    Several(String),
    /// Nobody.
    Nobody,
}

/// One who could be meant.
struct Person<'a> {
    id: PeerId,
    name: &'a str,
    vouched: bool,
    known: bool,
}

/// Finds whom `text` means among `known` and `near` peers.
pub(super) fn find<'a>(
    text: &str,
    known: impl Iterator<Item = (PeerId, &'a PeerRecord)>,
    near: &'a [NearPeer],
) -> Meant {
    let text = text.trim();
    if let Ok(id) = text.parse() {
        return Meant::Sure(id);
    }
    let wanted = text.to_lowercase();
    if wanted.is_empty() {
        return Meant::Nobody;
    }
    let people = people(known, near);
    let is = |person: &&Person<'_>| person.name.to_lowercase() == wanted;
    let begins = |person: &&Person<'_>| person.name.to_lowercase().starts_with(&wanted);
    let vouched = |person: &&Person<'_>| person.vouched;
    let claimed = |person: &&Person<'_>| !person.vouched;
    let pick = |fits: &dyn Fn(&&Person<'_>) -> bool| people.iter().filter(fits).collect::<Vec<_>>();

    let exact = pick(&|p| vouched(p) && is(p));
    if !exact.is_empty() {
        return one_of(text, &exact, Meant::Sure);
    }
    let abbreviated = pick(&|p| vouched(p) && begins(p));
    let same = pick(&|p| claimed(p) && is(p));
    if !same.is_empty() {
        // Nobody gets hold of an abbreviation of a name that is vouched for by claiming it.
        let both: Vec<_> = same.into_iter().chain(abbreviated).collect();
        return one_of(text, &both, Meant::Claimed);
    }
    if !abbreviated.is_empty() {
        return one_of(text, &abbreviated, Meant::Sure);
    }
    let by_id =
        |p: &&Person<'_>| wanted.len() >= ID_START_MIN && p.id.to_string().starts_with(&wanted);
    let keys = pick(&by_id);
    if !keys.is_empty() {
        return one_of(text, &keys, Meant::Sure);
    }
    one_of(text, &pick(&|p| claimed(p) && begins(p)), Meant::Claimed)
}

/// The only original that calls itself exactly so. Only for names that mean no peer with a key,
/// known or near: nothing goes out in the clear because a name was taken or half typed.
pub(super) fn original(text: &str, near: &[NearPeer]) -> Result<Option<OriginalId>, Fault> {
    let wanted = text.trim().to_lowercase();
    let mut found = Vec::new();
    for peer in near {
        if let Who::Original(id) = peer.who
            && !wanted.is_empty()
            && peer.name.to_lowercase() == wanted
        {
            found.push(id);
        }
    }
    match found.as_slice() {
        [] => Ok(None),
        [id] => Ok(Some(*id)),
        several => {
            let addresses = several.iter().take(CANDIDATES_MAX);
            let addresses: Vec<String> = addresses.map(|id| id.address().to_string()).collect();
            let text = Shown(text);
            let why = format!(
                "several old versions are called \"{text}\": type the address instead ({})",
                addresses.join(", ")
            );
            Err(Fault::Invalid { why })
        }
    }
}

fn people<'a>(
    known: impl Iterator<Item = (PeerId, &'a PeerRecord)>,
    near: &'a [NearPeer],
) -> Vec<Person<'a>> {
    let mut people: Vec<Person<'a>> = known
        .map(|(id, record)| Person {
            id,
            name: record.name(),
            vouched: record.trusted || record.own_name.is_some(),
            known: true,
        })
        .collect();
    people.sort_by_key(|person| person.id);
    for peer in near {
        let Who::Key(id) = peer.who else {
            continue;
        };
        match people.iter_mut().find(|person| person.id == id) {
            // What it calls itself now.
            Some(person) if !person.vouched => person.name = &peer.name,
            Some(_) => {}
            None => people.push(Person {
                id,
                name: &peer.name,
                vouched: false,
                known: false,
            }),
        }
    }
    people
}

fn one_of(text: &str, people: &[&Person<'_>], only: impl Fn(PeerId) -> Meant) -> Meant {
    match people {
        [] => Meant::Nobody,
        [person] => only(person.id),
        several => {
            let shown = several.iter().take(CANDIDATES_MAX).map(|person| {
                let kind = match (person.vouched, person.known) {
                    (true, _) => "trusted or named by you",
                    (false, true) => "seen before",
                    (false, false) => "new",
                };
                format!("{} ({}, {kind})", Shown(person.name), person.id.short())
            });
            let mut shown: Vec<String> = shown.collect();
            let rest = several.len() - shown.len();
            if rest > 0 {
                shown.push(format!("{rest} more"));
            }
            let (last, others) = shown
                .split_last()
                .map_or((String::new(), &[][..]), |(l, o)| (l.clone(), o));
            let text = Shown(text);
            Meant::Several(format!(
                "\"{text}\" could be {} or {last}: type the id instead",
                others.join(", ")
            ))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::protocol::legacy::LegacyId;
    use crate::storage::store::Accept;

    fn id(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    fn known(n: u8, own: Option<&str>, claimed: &str, trusted: bool) -> (PeerId, PeerRecord) {
        let record = PeerRecord {
            claimed_name: claimed.into(),
            own_name: own.map(str::to_owned),
            trusted,
            accept: Accept::Ask,
            addrs: Vec::new(),
            first_seen: 0,
            last_seen: 0,
        };
        (id(n), record)
    }

    fn near(n: u8, name: &str) -> NearPeer {
        NearPeer {
            who: Who::Key(id(n)),
            name: name.into(),
            addrs: Vec::new(),
            heard: Instant::now(),
            shut: false,
            misses_us: false,
        }
    }

    fn find_in(text: &str, known: &[(PeerId, PeerRecord)], near: &[NearPeer]) -> Meant {
        find(text, known.iter().map(|(id, record)| (*id, record)), near)
    }

    #[test]
    fn a_name_in_the_network_is_enough_if_one_peer_has_it() {
        let near = [near(1, "Kitchen PC"), near(2, "kiosk")];
        for (text, meant) in [
            ("kitchen pc", Meant::Claimed(id(1))),
            (" KIT", Meant::Claimed(id(1))),
            ("kiosk", Meant::Claimed(id(2))),
            ("x", Meant::Nobody),
            ("", Meant::Nobody),
        ] {
            assert_eq!(find_in(text, &[], &near), meant, "{text}");
        }
        assert!(matches!(find_in("ki", &[], &near), Meant::Several(_)));
        let key = id(2).to_string();
        assert_eq!(find_in(&key[..6], &[], &near), Meant::Sure(id(2)));
        assert_eq!(find_in(&id(9).to_string(), &[], &[]), Meant::Sure(id(9)));
    }

    #[test]
    fn a_name_that_two_keys_claim_shows_both() {
        let near = [near(1, "twin"), near(2, "Twin")];
        let Meant::Several(text) = find_in("twin", &[], &near) else {
            panic!("one was chosen");
        };
        for n in [1, 2] {
            assert!(text.contains(&id(n).short()), "{text}");
        }
        let seen = [known(1, None, "twin", false)];
        let Meant::Several(text) = find_in("twin", &seen, &near) else {
            panic!("one was chosen");
        };
        assert!(
            text.contains("seen before") && text.contains("new"),
            "{text}"
        );
    }

    #[test]
    fn nobody_gets_hold_of_a_name_that_was_vouched_for() {
        let vouched = [
            known(1, None, "kitchen", true),
            known(2, Some("Anna"), "laptop", false),
        ];
        let near = [near(7, "kitchen"), near(8, "Anna"), near(9, "kit")];
        assert_eq!(find_in("kitchen", &vouched, &near), Meant::Sure(id(1)));
        assert_eq!(find_in("anna", &vouched, &near), Meant::Sure(id(2)));
        assert_eq!(find_in("an", &vouched, &near), Meant::Sure(id(2)));
        // "kit" was an abbreviation before somebody took it for a name.
        assert!(matches!(find_in("kit", &vouched, &near), Meant::Several(_)));
        assert_eq!(find_in("kitc", &vouched, &near), Meant::Sure(id(1)));
        assert_eq!(find_in("laptop", &vouched, &near), Meant::Nobody);
    }

    #[test]
    fn an_original_is_meant_by_its_whole_name_and_only_if_no_peer_with_a_key_is() {
        let at = |host: u8| OriginalId {
            id: LegacyId::DEFAULT_PROFILE,
            requests: ([10, 0, 0, host], 3486).into(),
        };
        let old = |host: u8, name: &str| NearPeer {
            who: Who::Original(at(host)),
            ..near(0, name)
        };
        let peers = [
            old(1, "Kitchen"),
            old(2, "twin"),
            old(3, "twin"),
            near(9, "hall"),
        ];
        assert_eq!(original(" kitchen", &peers), Ok(Some(at(1))));
        for text in ["kit", "hall", ""] {
            assert_eq!(original(text, &peers), Ok(None), "{text}");
        }
        let Err(Fault::Invalid { why }) = original("twin", &peers) else {
            panic!("one was chosen");
        };
        assert!(
            why.contains("10.0.0.2") && why.contains("10.0.0.3"),
            "{why}"
        );
        // Nothing that is said of peers with keys is ever an original.
        for text in ["kitchen", "twin"] {
            assert_eq!(find_in(text, &[], &peers), Meant::Nobody);
        }
        let away = [known(1, None, "kitchen", false)];
        assert_eq!(find_in("kitchen", &away, &peers), Meant::Claimed(id(1)));
    }

    #[test]
    fn names_that_deceive_are_escaped_in_the_list() {
        let near = [near(1, "a\u{202e}b"), near(2, "a\u{1b}[2J")];
        let Meant::Several(text) = find_in("a", &[], &near) else {
            panic!("one was chosen");
        };
        assert!(!text.contains(['\u{202e}', '\u{1b}']), "{text}");
        let many: Vec<NearPeer> = (0..40).map(|n| super::tests::near(n, "many")).collect();
        let Meant::Several(text) = find_in("many", &[], &many) else {
            panic!("one was chosen");
        };
        assert!(text.contains("or 32 more"), "{text}");
    }
}
