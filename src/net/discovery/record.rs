//! What our DNS-SD record says, and what is believed of those of others.

use std::net::SocketAddr;

use super::codes::NearCode;
use super::list::{Sighting, Who};
use crate::peer::PeerId;
use crate::protocol::codes::NUMBER_MAX;

/// Service type of our own peers (RFC 6763).
pub(super) const SERVICE: &str = "_peerconnect._udp.local.";

/// Service type of one-time codes that wait to be typed.
pub(super) const CODE_SERVICE: &str = "_peercode._udp.local.";

/// Version of the keys below: with another one they mean something else.
const VERSION: &str = "1";

const KEY_VERSION: &str = "v";
const KEY_ID: &str = "id";
const KEY_NAME: &str = "name";
const KEY_UNREACHED: &str = "unreached";

/// Most peers that a record says are not reached: they fit into one string of a TXT record.
pub(super) const UNREACHED_MAX: usize = 4;

/// The keys of our TXT record.
pub(super) fn properties(
    id: PeerId,
    name: &str,
    unreached: &[PeerId],
) -> Vec<(&'static str, String)> {
    let mut keys = vec![
        (KEY_VERSION, VERSION.into()),
        (KEY_ID, id.to_string()),
        (KEY_NAME, name.into()),
    ];
    let unreached = unreached.iter().take(UNREACHED_MAX);
    let unreached: Vec<String> = unreached.map(PeerId::to_string).collect();
    if !unreached.is_empty() {
        keys.push((KEY_UNREACHED, unreached.join(",")));
    }
    keys
}

/// The label of our instance: names of people are not unique, keys are.
pub(super) fn instance(id: PeerId) -> String {
    id.to_string()
}

/// The full name of a peer's instance.
pub(super) fn full_name(id: PeerId) -> String {
    format!("{}.{SERVICE}", instance(id))
}

/// The name that our addresses are found under.
pub(super) fn host(id: PeerId) -> String {
    format!("{id}.local.")
}

/// Whose instance has this full name.
pub(super) fn id_of(full_name: &str) -> Option<PeerId> {
    let (label, service) = full_name.split_at_checked(PeerId::TEXT_LEN)?;
    let is_ours = service.strip_prefix('.')?.eq_ignore_ascii_case(SERVICE);
    label.parse().ok().filter(|_| is_ours)
}

/// What a record tells, if it is one of ours and does not contradict itself. `text` gives the
/// values of its keys.
pub(super) fn sighting<'a>(
    full_name: &str,
    text: impl Fn(&str) -> Option<&'a [u8]>,
    addrs: impl Iterator<Item = SocketAddr>,
) -> Option<Sighting> {
    let utf8 = |key| std::str::from_utf8(text(key)?).ok();
    let id: PeerId = utf8(KEY_ID)?.parse().ok()?;
    if utf8(KEY_VERSION)? != VERSION || id_of(full_name)? != id {
        return None;
    }
    let mut addrs: Vec<SocketAddr> = addrs.collect();
    addrs.sort_by_key(rank);
    Some(Sighting {
        who: Who::Key(id),
        name: utf8(KEY_NAME).unwrap_or_default().to_owned(),
        addrs,
        unreached: ids(utf8(KEY_UNREACHED).unwrap_or_default()),
    })
}

/// The keys of the TXT record of a code that waits here.
pub(super) fn code_properties() -> [(&'static str, String); 1] {
    [(KEY_VERSION, VERSION.into())]
}

/// The label of the instance of a code: its number, and who has made it.
pub(super) fn code_instance(number: u16, id: PeerId) -> String {
    format!("{number}-{id}")
}

/// The full name of the instance of a code.
pub(super) fn code_full_name(number: u16, id: PeerId) -> String {
    format!("{}.{CODE_SERVICE}", code_instance(number, id))
}

/// The name that the addresses of a code are found under.
pub(super) fn code_host(number: u16, id: PeerId) -> String {
    format!("{}.local.", code_instance(number, id))
}

/// What the record of a code tells, if it is one of ours. `text` gives the values of its keys.
pub(super) fn near_code<'a>(
    full_name: &str,
    text: impl Fn(&str) -> Option<&'a [u8]>,
    addrs: impl Iterator<Item = SocketAddr>,
) -> Option<NearCode> {
    if text(KEY_VERSION)? != VERSION.as_bytes() {
        return None;
    }
    let (number, peer) = code_of(full_name)?;
    let mut addrs: Vec<SocketAddr> = addrs.collect();
    addrs.sort_by_key(rank);
    Some(NearCode {
        number,
        peer,
        addrs,
    })
}

/// The code whose instance has this full name: its number, and who has made it.
pub(super) fn code_of(full_name: &str) -> Option<(u16, PeerId)> {
    let (digits, rest) = full_name.split_once('-')?;
    let (id, service) = rest.split_at_checked(PeerId::TEXT_LEN)?;
    let service = service.strip_prefix('.')?;
    let number: u16 = digits.parse().ok()?;
    let is_number = (1..=NUMBER_MAX).contains(&number) && digits == number.to_string();
    let is_code = is_number && service.eq_ignore_ascii_case(CODE_SERVICE);
    let peer = id.parse().ok()?;
    is_code.then_some((number, peer))
}

/// The ids in a list, of which no more are read than may be in it. What is none is not there.
fn ids(text: &str) -> Vec<PeerId> {
    let ids = text.split(',').take(UNREACHED_MAX);
    ids.filter_map(|id| id.parse().ok()).collect()
}

/// Most useful first; among equals always in the same order, so that nothing seems to change.
fn rank(addr: &SocketAddr) -> (u8, SocketAddr) {
    let rank = match addr {
        SocketAddr::V4(v4) if !v4.ip().is_link_local() => 0,
        SocketAddr::V6(v6) if !v6.ip().is_unicast_link_local() => 1,
        SocketAddr::V4(_) => 2,
        SocketAddr::V6(_) => 3,
    };
    (rank, *addr)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> PeerId {
        PeerId::of_public_key(b"anna")
    }

    fn read(full_name: &str, keys: &[(&str, &[u8])]) -> Option<Sighting> {
        let text = |key: &str| keys.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        sighting(full_name, text, ["10.0.0.2:1".parse().unwrap()].into_iter())
    }

    #[test]
    fn what_is_announced_is_read_back() {
        let others: Vec<PeerId> = [1, 2, 3, 4, 5].map(|n| PeerId::from_bytes([n; 32])).into();
        let ours = properties(id(), "Anna's büro", &others);
        let keys: Vec<_> = ours.iter().map(|(k, v)| (*k, v.as_bytes())).collect();
        let seen = read(&full_name(id()), &keys).unwrap();
        assert_eq!(
            (seen.who, seen.name.as_str()),
            (Who::Key(id()), "Anna's büro")
        );
        assert_eq!(seen.unreached, others[..UNREACHED_MAX]);
        // Labels of DNS, and what fits a TXT string.
        assert!(instance(id()).len() <= 63);
        let longest = "é".repeat(crate::protocol::message::NAME_LEN_MAX / 2);
        for (key, value) in properties(id(), &longest, &others) {
            assert!(key.len() + 1 + value.len() <= 255);
        }
    }

    #[test]
    fn records_that_contradict_themselves_are_not_believed() {
        let text = id().to_string();
        let good: [(&str, &[u8]); 2] = [("v", b"1"), ("id", text.as_bytes())];
        assert_eq!(read(&full_name(id()), &good).unwrap().name, "");
        let other = PeerId::of_public_key(b"ben");
        assert_eq!(read(&full_name(other), &good), None, "another instance");
        assert_eq!(read("x._peerconnect._udp.local.", &good), None);
        assert_eq!(read(&format!("{text}._http._tcp.local."), &good), None);
        for bad in [
            &[("v", &b"2"[..]), ("id", text.as_bytes())],
            &[("v", b"1"), ("id", b"x")],
            &[("v", b"\xff"), ("id", text.as_bytes())],
            &[("w", b"1"), ("id", text.as_bytes())],
        ] {
            assert_eq!(read(&full_name(id()), bad), None, "{bad:?}");
        }
    }

    #[test]
    fn addresses_that_work_most_often_come_first() {
        let keys = properties(id(), "", &[]);
        let text = |key: &str| {
            keys.iter()
                .find(|(k, _)| *k == key)
                .map(|(_, v)| v.as_bytes())
        };
        let addrs = [
            "[fe80::1%3]:1",
            "[2001:db8::1]:1",
            "169.254.1.1:1",
            "10.0.0.2:1",
        ];
        let addrs = addrs.map(|addr| addr.parse().unwrap());
        let seen = sighting(&full_name(id()), text, addrs.into_iter()).unwrap();
        let [link_local, global, zeroconf, private] = addrs;
        assert_eq!(seen.addrs, [private, global, zeroconf, link_local]);
    }

    fn read_code(full_name: &str, version: &[u8]) -> Option<NearCode> {
        let text = |key: &str| (key == KEY_VERSION).then_some(version);
        near_code(full_name, text, ["10.0.0.2:1".parse().unwrap()].into_iter())
    }

    #[test]
    fn a_code_that_is_announced_is_read_back_and_nothing_else_is() {
        for number in [1, 7, NUMBER_MAX] {
            let seen = read_code(&code_full_name(number, id()), b"1").unwrap();
            assert_eq!((seen.number, seen.peer), (number, id()));
            assert!(code_instance(number, id()).len() <= 63);
        }
        let good = code_full_name(7, id());
        assert_eq!(read_code(&good, b"2"), None);
        for bad in [
            code_full_name(0, id()),
            code_full_name(NUMBER_MAX + 1, id()),
            format!("-{good}"),
            good.replace("7-", "7"),
            good.replace("7-", "x-"),
            good.replace("7-", "7-a"),
            good.replace("7-", "+7-"),
            good.replace("7-", "07-"),
            good.replace("_peercode", "_peerconnect"),
            full_name(id()),
            "7-é".repeat(20),
        ] {
            assert_eq!(read_code(&bad, b"1"), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_record_makes_the_reader_panic(
            name in "\\PC{0,80}", id: Vec<u8>, version: Vec<u8>, text: Vec<u8>, list in "\\PC*",
        ) {
            let keys: [(&str, &[u8]); 3] = [("id", &id), ("v", &version), ("name", &text)];
            prop_assert_eq!(read(&name, &keys), None);
            prop_assert!(ids(&list).is_empty());
            let _ = id_of(&format!("{name}.{SERVICE}"));
            let _ = read_code(&format!("7-{name}.{CODE_SERVICE}"), b"1");
        }
    }
}
