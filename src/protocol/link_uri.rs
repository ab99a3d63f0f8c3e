//! `peerconnect:` links, and what people type to say where a peer is.
//!
//! A link is `peerconnect:` and base32 of: version (1 byte), postcard of the id and addresses (in
//! version 2 also of relays), checksum (4 bytes of BLAKE3 over all before it). It names a key, so
//! whoever gets it over a way they trust needs no comparison of words.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::legacy::REQUESTS_PORT;
use crate::peer::{PeerId, base32};

/// UDP port where PeerConnect listens if nothing else is said.
pub const DEFAULT_PORT: u16 = 3485;

/// Most addresses in a link; more are left out when it is written, and refused when it is read.
pub const LINK_ADDRS_MAX: usize = 8;

/// Most relays in a link, and addresses of each; more are left out or refused likewise.
pub const LINK_RELAYS_MAX: usize = 2;
/// See [`LINK_RELAYS_MAX`].
pub const RELAY_ADDRS_MAX: usize = 4;

const SCHEME: &str = "peerconnect:";
const LEGACY_SCHEME: &str = "legacy:";
const VERSION: u8 = 1;
/// With relays. Links without are written as before, so that older programs can read them.
const VERSION_RELAYS: u8 = 2;
const CHECKSUM_LEN: usize = 4;
/// Longest text that is looked at; the longest link has about 700 characters.
const TEXT_LEN_MAX: usize = 2048;
/// Longest host name there is (RFC 1035).
const HOST_LEN_MAX: usize = 253;

/// A peer's key, and addresses where it may be found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Link {
    /// The key.
    pub id: PeerId,
    /// Hints where it is, most useful first.
    pub addrs: Vec<SocketAddr>,
    /// Relays where it listens, at most [`LINK_RELAYS_MAX`].
    pub relays: Vec<RelayHint>,
}

/// A relay's key, and addresses where it may be found, of UDP and TCP.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RelayHint {
    /// The key.
    pub id: PeerId,
    /// Hints where it is, most useful first, at most [`RELAY_ADDRS_MAX`].
    pub addrs: Vec<SocketAddr>,
}

impl From<Link> for RelayHint {
    /// The relay that a link of its own leads to.
    fn from(link: Link) -> Self {
        let Link { id, mut addrs, .. } = link;
        addrs.truncate(RELAY_ADDRS_MAX);
        Self { id, addrs }
    }
}

#[derive(Serialize, Deserialize)]
struct Payload {
    id: PeerId,
    addrs: Vec<SocketAddr>,
}

#[derive(Serialize, Deserialize)]
struct PayloadWithRelays {
    id: PeerId,
    addrs: Vec<SocketAddr>,
    relays: Vec<RelayHint>,
}

/// Why a text is no link we can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkUriError {
    /// It does not begin with `peerconnect:`.
    #[error("not a peerconnect: link")]
    NotALink,
    /// A part is missing or mistyped.
    #[error("the link is damaged; copy it again as a whole")]
    Damaged,
    /// It was made by a newer program.
    #[error("the link was made by a newer PeerConnect; update this one")]
    Newer,
}

impl Link {
    /// The link in upper case, which makes a smaller QR code. Means the same.
    pub fn to_upper(&self) -> String {
        self.to_string().to_ascii_uppercase()
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id;
        let addrs = self.addrs.iter().take(LINK_ADDRS_MAX).copied().collect();
        let relays = self.relays.iter().take(LINK_RELAYS_MAX).map(RelayHint::cut);
        let (version, payload) = match self.relays.is_empty() {
            true => (VERSION, postcard::to_stdvec(&Payload { id, addrs })),
            false => {
                let relays = relays.collect();
                let payload = PayloadWithRelays { id, addrs, relays };
                (VERSION_RELAYS, postcard::to_stdvec(&payload))
            }
        };
        let mut bytes = vec![version];
        bytes.extend(payload.map_err(|_| fmt::Error)?);
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        write!(f, "{SCHEME}{}", base32().encode(&bytes))
    }
}

impl FromStr for Link {
    type Err = LinkUriError;

    fn from_str(text: &str) -> Result<Self, LinkUriError> {
        let text = text.trim();
        let body = strip_scheme(text).ok_or(LinkUriError::NotALink)?;
        if body.len() > TEXT_LEN_MAX {
            return Err(LinkUriError::Damaged);
        }
        let bytes = base32()
            .decode(body.as_bytes())
            .map_err(|_| LinkUriError::Damaged)?;
        let (signed, sum) = bytes
            .split_last_chunk::<CHECKSUM_LEN>()
            .ok_or(LinkUriError::Damaged)?;
        // First the checksum, in every version: a mistyped version is damage, not news.
        if *sum != checksum(signed) {
            return Err(LinkUriError::Damaged);
        }
        match signed.split_first() {
            Some((&VERSION, payload)) => Self::from_payload(payload),
            Some((&VERSION_RELAYS, payload)) => Self::from_payload_with_relays(payload),
            Some((&version, _)) if version > VERSION_RELAYS => Err(LinkUriError::Newer),
            Some(_) | None => Err(LinkUriError::Damaged),
        }
    }
}

impl Link {
    fn from_payload(payload: &[u8]) -> Result<Self, LinkUriError> {
        match postcard::take_from_bytes::<Payload>(payload) {
            Ok((Payload { id, addrs }, [])) if addrs.len() <= LINK_ADDRS_MAX => Ok(Self {
                id,
                addrs,
                relays: Vec::new(),
            }),
            Ok(_) | Err(_) => Err(LinkUriError::Damaged),
        }
    }

    fn from_payload_with_relays(payload: &[u8]) -> Result<Self, LinkUriError> {
        let fits = |payload: &PayloadWithRelays| {
            let mut relays = payload.relays.iter();
            payload.addrs.len() <= LINK_ADDRS_MAX
                && payload.relays.len() <= LINK_RELAYS_MAX
                && relays.all(|relay| relay.addrs.len() <= RELAY_ADDRS_MAX)
        };
        match postcard::take_from_bytes::<PayloadWithRelays>(payload) {
            Ok((payload, [])) if fits(&payload) => {
                let PayloadWithRelays { id, addrs, relays } = payload;
                Ok(Self { id, addrs, relays })
            }
            Ok(_) | Err(_) => Err(LinkUriError::Damaged),
        }
    }
}

impl RelayHint {
    /// The link that leads to it, as it prints it itself.
    pub fn link(&self) -> Link {
        Link {
            id: self.id,
            addrs: self.addrs.clone(),
            relays: Vec::new(),
        }
    }

    /// With no more addresses than a link may have.
    fn cut(&self) -> Self {
        let addrs = self.addrs.iter().take(RELAY_ADDRS_MAX).copied();
        Self {
            id: self.id,
            addrs: addrs.collect(),
        }
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let [a, b, c, d, ..] = *blake3::hash(bytes).as_bytes();
    [a, b, c, d]
}

fn strip_scheme(text: &str) -> Option<&str> {
    strip_prefix(text, SCHEME)
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (scheme, body) = text.split_at_checked(prefix.len())?;
    scheme.eq_ignore_ascii_case(prefix).then_some(body)
}

/// Where a peer is, as a person types it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A `peerconnect:` link.
    Link(Link),
    /// A host name or IP address (without brackets) and a UDP port.
    HostPort(String, u16),
    /// A program of the original's kind, which encrypts nothing: said on purpose.
    Legacy(LegacyAddress),
}

/// Where a program of the original's kind is: `legacy:IP:PORT/REQPORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LegacyAddress {
    /// Its computer.
    pub ip: IpAddr,
    /// TCP port for files; `None` to go by what it says itself.
    pub port: Option<u16>,
    /// UDP port for requests.
    pub req_port: u16,
}

impl FromStr for LegacyAddress {
    type Err = AddressError;

    /// `legacy:IP`, `legacy:IP:PORT`, each with `/REQPORT` or without (then it is 3486).
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let body = strip_prefix(text.trim(), LEGACY_SCHEME).ok_or(AddressError::Host)?;
        let (place, req_port) = match body.split_once('/') {
            Some((place, port)) => (place, parse_port(port)?),
            None => (body, REQUESTS_PORT),
        };
        if let Ok(addr) = place.parse::<SocketAddr>() {
            let port = Some(addr.port()).filter(|port| *port > 0);
            return Ok(Self {
                ip: addr.ip(),
                port: Some(port.ok_or(AddressError::Port)?),
                req_port,
            });
        }
        let bare = place.strip_prefix('[').and_then(|p| p.strip_suffix(']'));
        let ip = bare.unwrap_or(place).parse();
        Ok(Self {
            ip: ip.map_err(|_| AddressError::Host)?,
            port: None,
            req_port,
        })
    }
}

impl fmt::Display for LegacyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ip, port, req_port } = self;
        match (port, ip) {
            (Some(port), ip) => write!(f, "{LEGACY_SCHEME}{}", SocketAddr::new(*ip, *port))?,
            (None, IpAddr::V4(ip)) => write!(f, "{LEGACY_SCHEME}{ip}")?,
            (None, IpAddr::V6(ip)) => write!(f, "{LEGACY_SCHEME}[{ip}]")?,
        }
        write!(f, "/{req_port}")
    }
}

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is a link, but not a good one.
    #[error(transparent)]
    Link(#[from] LinkUriError),
    /// Not a name that a computer can have.
    #[error("not a host name or address")]
    Host,
    /// Not a number from 1 to 65535.
    #[error("the port must be a number from 1 to 65535")]
    Port,
}

impl FromStr for Address {
    type Err = AddressError;

    /// `peerconnect:…`, `host`, `host:port`, `1.2.3.4:port`, `[v6]`, `[v6]:port`, `v6`; spaces
    /// around it do not matter. Without a port it is [`DEFAULT_PORT`].
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        // A computer may be called like the scheme; no link is as short as a port.
        let is_link = |body: &str| parse_port(body).is_err();
        if strip_scheme(text).is_some_and(is_link) {
            return Ok(Self::Link(text.parse()?));
        }
        // A computer may be called like this scheme, too.
        if strip_prefix(text, LEGACY_SCHEME).is_some_and(is_link) {
            return Ok(Self::Legacy(text.parse()?));
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (host, port) = rest.split_once(']').ok_or(AddressError::Host)?;
            if !is_v6(host) {
                return Err(AddressError::Host);
            }
            let port = match port.strip_prefix(':') {
                Some(port) => parse_port(port)?,
                None if port.is_empty() => DEFAULT_PORT,
                None => return Err(AddressError::Port),
            };
            return Ok(Self::HostPort(host.to_owned(), port));
        }
        if is_v6(text) {
            return Ok(Self::HostPort(text.to_owned(), DEFAULT_PORT));
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, parse_port(port)?),
            None => (text, DEFAULT_PORT),
        };
        if is_host(host) {
            Ok(Self::HostPort(host.to_owned(), port))
        } else {
            Err(AddressError::Host)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(link) => link.fmt(f),
            Self::Legacy(address) => address.fmt(f),
            Self::HostPort(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::HostPort(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    match text.parse() {
        // `+80` is a number for the standard library.
        Ok(port) if port > 0 && !text.starts_with('+') => Ok(port),
        Ok(_) | Err(_) => Err(AddressError::Port),
    }
}

/// An IPv6 address, with the interface after `%` where one is needed (`fe80::1%eth0`).
fn is_v6(text: &str) -> bool {
    let (address, scope) = match text.split_once('%') {
        Some((address, scope)) => (address, Some(scope)),
        None => (text, None),
    };
    address.parse::<Ipv6Addr>().is_ok()
        && scope.is_none_or(|scope| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.@".contains(&b);
            (1..=15).contains(&scope.len()) && scope.bytes().all(plain)
        })
}

fn is_host(text: &str) -> bool {
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    let mut labels = text.strip_suffix('.').unwrap_or(text).split('.');
    text.len() <= HOST_LEN_MAX
        // Letters of other alphabets are left to the resolver.
        && labels.clone().all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
        })
        // Neither `1.2.3` nor `1.2.3.400` is meant as a name.
        && !labels.next_back().is_none_or(numeric)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn an_original_is_named_by_address_and_ports() {
        let parse = |text: &str| text.parse::<Address>();
        let legacy = |port, req_port| LegacyAddress {
            ip: "192.0.2.7".parse().unwrap(),
            port,
            req_port,
        };
        for (text, address) in [
            ("legacy:192.0.2.7:3485/3486", legacy(Some(3485), 3486)),
            ("LEGACY:192.0.2.7:1/2", legacy(Some(1), 2)),
            ("legacy:192.0.2.7", legacy(None, 3486)),
            ("legacy:192.0.2.7/99", legacy(None, 99)),
        ] {
            assert_eq!(parse(text), Ok(Address::Legacy(address)), "{text}");
            assert_eq!(parse(&address.to_string()), Ok(Address::Legacy(address)));
        }
        let v6 = parse("legacy:[2001:db8::1]:5/6").unwrap();
        assert_eq!(v6.to_string(), "legacy:[2001:db8::1]:5/6");
        assert_eq!(
            parse("legacy:[2001:db8::1]").unwrap().to_string(),
            "legacy:[2001:db8::1]/3486"
        );
        assert_eq!(
            parse("legacy:3485"),
            Ok(Address::HostPort("legacy".into(), 3485))
        );
        for text in [
            "legacy:",
            "legacy:host:1",
            "legacy:1.2.3.4:0",
            "legacy:1.2.3.4/x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
    use proptest::prelude::*;

    fn link() -> Link {
        Link {
            id: PeerId::of_public_key(b"key"),
            addrs: vec![
                "192.168.1.20:3485".parse().unwrap(),
                "10.0.0.7:3485".parse().unwrap(),
                "[2001:db8:1:2:3:4:5:6]:3485".parse().unwrap(),
            ],
            relays: Vec::new(),
        }
    }

    #[test]
    fn links_round_trip_in_both_cases_and_with_spaces_around() {
        let text = link().to_string();
        assert!(text.len() <= 200, "{} characters", text.len());
        for text in [text.clone(), format!(" {text}\n"), link().to_upper()] {
            assert_eq!(text.parse(), Ok(link()), "{text}");
        }
    }

    #[test]
    fn every_mistyped_character_is_noticed() {
        let text = link().to_string();
        for at in SCHEME.len()..text.len() {
            let mut wrong = text.clone();
            let other = if &text[at..=at] == "a" { "b" } else { "a" };
            wrong.replace_range(at..=at, other);
            assert_eq!(wrong.parse::<Link>(), Err(LinkUriError::Damaged), "{at}");
        }
        for len in SCHEME.len()..text.len() {
            assert_eq!(text[..len].parse::<Link>(), Err(LinkUriError::Damaged));
        }
    }

    #[test]
    fn other_texts_and_newer_links_are_told_apart() {
        assert_eq!("peer".parse::<Link>(), Err(LinkUriError::NotALink));
        assert_eq!("é".parse::<Link>(), Err(LinkUriError::NotALink));
        let mut newer = vec![VERSION_RELAYS + 1, 1, 2, 3];
        let sum = checksum(&newer);
        newer.extend(sum);
        let text = format!("{SCHEME}{}", base32().encode(&newer));
        assert_eq!(text.parse::<Link>(), Err(LinkUriError::Newer));
    }

    #[test]
    fn a_link_takes_no_more_addresses_than_allowed() {
        let mut many = link();
        many.addrs = (0..20).map(|i| ([10, 0, 0, i], 3485).into()).collect();
        let read: Link = many.to_string().parse().unwrap();
        assert_eq!(read.addrs, many.addrs[..LINK_ADDRS_MAX]);

        let payload = Payload {
            id: many.id,
            addrs: many.addrs,
        };
        let mut bytes = vec![VERSION];
        bytes.extend(postcard::to_stdvec(&payload).unwrap());
        bytes.extend(checksum(&bytes));
        let text = format!("{SCHEME}{}", base32().encode(&bytes));
        assert_eq!(text.parse::<Link>(), Err(LinkUriError::Damaged));
    }

    fn relays(ports: &[u16]) -> Vec<RelayHint> {
        let relay = |port: &u16| RelayHint {
            id: PeerId::from_bytes([port.to_be_bytes()[1]; 32]),
            addrs: vec![([203, 0, 113, 7], *port).into()],
        };
        ports.iter().map(relay).collect()
    }

    #[test]
    fn a_link_takes_no_more_relays_than_allowed() {
        let mut many = link();
        many.relays = relays(&[1, 2, 3]);
        many.relays[0].addrs = vec![([203, 0, 113, 7], 1).into(); 9];
        let read: Link = many.to_string().parse().unwrap();
        assert_eq!(read.relays.len(), LINK_RELAYS_MAX);
        assert_eq!(read.relays[0].addrs.len(), RELAY_ADDRS_MAX);

        for (count, addrs) in [(LINK_RELAYS_MAX + 1, 1), (1, RELAY_ADDRS_MAX + 1)] {
            let relay = RelayHint {
                id: many.id,
                addrs: vec![([203, 0, 113, 7], 1).into(); addrs],
            };
            let payload = PayloadWithRelays {
                id: many.id,
                addrs: Vec::new(),
                relays: vec![relay; count],
            };
            let mut bytes = vec![VERSION_RELAYS];
            bytes.extend(postcard::to_stdvec(&payload).unwrap());
            bytes.extend(checksum(&bytes));
            let text = format!("{SCHEME}{}", base32().encode(&bytes));
            assert_eq!(text.parse::<Link>(), Err(LinkUriError::Damaged));
        }
    }

    #[test]
    fn a_link_with_a_relay_still_fits_a_message() {
        let mut one = link();
        one.relays = relays(&[3487]);
        let text = one.to_string();
        assert!(text.len() <= 300, "{} characters", text.len());
        assert_eq!(text.parse(), Ok(one));
    }

    #[test]
    fn addresses_are_read_as_people_type_them() {
        let host = |host: &str, port| Ok(Address::HostPort(host.into(), port));
        for (text, expected) in [
            ("laptop", host("laptop", 3485)),
            (" laptop.local:4000 ", host("laptop.local", 4000)),
            ("10.0.0.1", host("10.0.0.1", 3485)),
            ("10.0.0.1:1", host("10.0.0.1", 1)),
            ("fe80::1%eth0", host("fe80::1%eth0", 3485)),
            ("[::1]", host("::1", 3485)),
            ("[::1]:9", host("::1", 9)),
            ("büro-pc", host("büro-pc", 3485)),
            ("", Err(AddressError::Host)),
            ("a b", Err(AddressError::Host)),
            ("a..b", Err(AddressError::Host)),
            ("10.0.0.400", Err(AddressError::Host)),
            ("[laptop]:1", Err(AddressError::Host)),
            ("[::1", Err(AddressError::Host)),
            ("laptop:", Err(AddressError::Port)),
            ("laptop:0", Err(AddressError::Port)),
            ("laptop:65536", Err(AddressError::Port)),
            ("laptop:+80", Err(AddressError::Port)),
            ("[::1]80", Err(AddressError::Port)),
            (
                "PeerConnect:x",
                Err(AddressError::Link(LinkUriError::Damaged)),
            ),
        ] {
            assert_eq!(text.parse::<Address>(), expected, "{text:?}");
        }
        let text = link().to_upper();
        assert_eq!(text.parse(), Ok(Address::Link(link())));
    }

    proptest! {
        #[test]
        fn any_link_round_trips(
            id: [u8; 32],
            addrs in prop::collection::vec(any::<(std::net::IpAddr, u16)>(), 0..=LINK_ADDRS_MAX),
            relay_ports in prop::collection::vec(any::<u16>(), 0..=LINK_RELAYS_MAX),
        ) {
            let link = Link {
                id: PeerId::from_bytes(id),
                addrs: addrs.into_iter().map(SocketAddr::from).collect(),
                relays: relays(&relay_ports),
            };
            prop_assert_eq!(link.to_string().parse(), Ok(link));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC{0,80}", bytes: Vec<u8>) {
            let _ = text.parse::<Address>();
            let _ = format!("peerconnect:{text}").parse::<Link>();
            let _ = format!("peerconnect:{}", base32().encode(&bytes)).parse::<Link>();
        }

        #[test]
        fn what_is_printed_is_read_back(host in "[a-z]{1,12}(\\.[a-z]{1,9})?", port in 1u16..) {
            let address = Address::HostPort(host, port);
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }
    }
}
