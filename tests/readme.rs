//! The numbers in the documents are those of the code.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use peerconnect::net::code_link::STEP_DEADLINE;
use peerconnect::net::discovery::{NEARBY_ADDRS_MAX, NEARBY_MAX};
use peerconnect::net::relay::{
    ASKS_IN, ASKS_MAX, CALLS_MAX, CHANNELS_PER_PAIR, CHANNELS_PER_PEER, NUMBERS_PER_ADDR,
    NUMBERS_PER_PEER, PEERS_PER_ADDR_MAX,
};
use peerconnect::net::tcp::{ANSWER_WITHIN, QUARANTINE_MAX};
use peerconnect::net::{STREAMS_MAX, STREAMS_PER_PEER_MAX};
use peerconnect::node::codes::{CODES_MAX, GUESSES_MAX};
use peerconnect::node::control::CLIENTS_MAX;
use peerconnect::node::texts::{COMING_MAX, QUESTIONS_PER_PEER, STRANGER_MAX};
use peerconnect::otm::session::RECEIVERS_MAX;
use peerconnect::protocol::codes::{CODE_LIFETIME, NUMBER_MAX};
use peerconnect::protocol::frame::FRAME_MAX;
use peerconnect::protocol::groups::{FILE_SIZE_MAX, GROUP_LEN};
use peerconnect::protocol::link_uri::{LINK_RELAYS_MAX, RELAY_ADDRS_MAX};
use peerconnect::protocol::message::{
    ADDRS_TOLD_MAX, Code, ENTRIES_MAX, HAVE_GROUPS_MAX, NAME_LEN_MAX, PATH_LEN_MAX, PATHS_LEN_MAX,
};
use peerconnect::protocol::relay::{ALPNS_RELAY, DATAGRAM_LEN_MAX};
use peerconnect::protocol::tcp::{ALPN_TCP, CHANNEL_LABEL, FRAME_LEN_MAX};
use peerconnect::protocol::texts::{ALPNS, TEXT_LEN_MAX};
use peerconnect::storage::store::TEXT_KEPT_MAX;

const README: &str = include_str!("../README.md");
const PROTOCOL: &str = include_str!("../src/protocol/README.md");

/// The second cell of the table row whose first cell is `what`.
fn cell<'a>(document: &'a str, what: &str) -> &'a str {
    let row = document
        .lines()
        .find_map(|line| line.strip_prefix(&format!("| {what} | ")));
    let row = row.unwrap_or_else(|| panic!("no row \"{what}\""));
    row.split(" |").next().unwrap()
}

/// `1048576` as `1,048,576`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[test]
fn the_limits_of_relays_are_those_of_the_code() {
    for (what, limit) in [
        ("relays in a link", LINK_RELAYS_MAX.to_string()),
        (
            "pairs of one computer at a relay",
            CHANNELS_PER_PEER.to_string(),
        ),
    ] {
        assert_eq!(cell(README, what), limit, "{what}");
    }
    for (what, limit) in [
        (
            "relays in a link; addresses of each",
            format!("{LINK_RELAYS_MAX}; {RELAY_ADDRS_MAX}"),
        ),
        (
            "channels of one peer at a relay",
            CHANNELS_PER_PEER.to_string(),
        ),
        (
            "channels between the same two peers at a relay",
            CHANNELS_PER_PAIR.to_string(),
        ),
        (
            "calls from one network through a relay",
            format!("{CALLS_MAX} in 10 s"),
        ),
        (
            "peers from one network at a relay",
            PEERS_PER_ADDR_MAX.to_string(),
        ),
        (
            "datagram that a relay carries",
            format!("{} bytes", grouped(DATAGRAM_LEN_MAX as u64)),
        ),
    ] {
        assert_eq!(cell(PROTOCOL, what), limit, "{what}");
    }
}

#[test]
fn what_goes_over_tcp_is_as_the_documents_say() {
    for (what, limit) in [
        (
            "TCP connections of one peer; of all",
            format!("{STREAMS_PER_PEER_MAX}; {STREAMS_MAX}"),
        ),
        (
            "frame over TCP",
            format!("{} bytes", grouped(FRAME_LEN_MAX as u64)),
        ),
    ] {
        assert_eq!(cell(PROTOCOL, what), limit, "{what}");
    }
    for name in [ALPN_TCP, CHANNEL_LABEL] {
        let name = std::str::from_utf8(name).unwrap();
        assert!(PROTOCOL.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn the_limits_of_codes_are_those_of_the_code() {
    assert_eq!(
        cell(README, "codes of one computer at once"),
        CODES_MAX.to_string()
    );
    const { assert!(CODES_MAX <= NUMBERS_PER_PEER) };
    let hour = std::time::Duration::from_secs(3600);
    assert_eq!(CODE_LIFETIME, hour);
    for (what, limit) in [
        (
            "numbers of one peer, and of one network, at a relay",
            format!("{NUMBERS_PER_PEER}; {NUMBERS_PER_ADDR}"),
        ),
        (
            "claims and questions about numbers from one network",
            format!("{ASKS_MAX} in {} s", ASKS_IN.as_secs()),
        ),
        ("wrong proofs for one code", GUESSES_MAX.to_string()),
        (
            "each message on the stream of a code",
            format!("{} s", STEP_DEADLINE.as_secs()),
        ),
    ] {
        assert_eq!(cell(PROTOCOL, what), limit, "{what}");
    }
    assert!(PROTOCOL.contains(&format!("1 to {}.", grouped(NUMBER_MAX.into()))));
    for alpn in ALPNS_RELAY {
        let name = std::str::from_utf8(alpn).unwrap();
        assert!(PROTOCOL.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn the_limits_in_the_documents_are_those_of_the_code() {
    let bytes = |n: u64| format!("{} bytes", grouped(n));
    for (what, limit) in [
        ("size of a file", format!("{} (2^50)", bytes(FILE_SIZE_MAX))),
        (
            "files and folders in a transfer",
            grouped(ENTRIES_MAX.into()),
        ),
        ("length of a path in a transfer", bytes(PATH_LEN_MAX as u64)),
        (
            "all paths of a transfer together",
            bytes(PATHS_LEN_MAX as u64),
        ),
        ("frame of the protocol", bytes(FRAME_MAX as u64)),
        (
            "part that is verified and resumed by itself",
            bytes(GROUP_LEN),
        ),
        ("name of a computer", bytes(NAME_LEN_MAX as u64)),
        (
            "computers nearby that are listed",
            grouped(NEARBY_MAX as u64),
        ),
        ("length of a text", bytes(TEXT_LEN_MAX as u64)),
        ("receivers of one transfer", RECEIVERS_MAX.to_string()),
        (
            "windows and commands on one running instance",
            CLIENTS_MAX.to_string(),
        ),
    ] {
        assert_eq!(cell(README, what), limit, "{what}");
    }
    assert_eq!(FILE_SIZE_MAX, 1 << 50);
    for (what, limit) in [
        ("payload of a frame", bytes(FRAME_MAX as u64)),
        ("name of a peer", bytes(NAME_LEN_MAX as u64)),
        (
            "peers that are listed as nearby",
            grouped(NEARBY_MAX as u64),
        ),
        ("addresses of one of them", grouped(NEARBY_ADDRS_MAX as u64)),
        ("entries of a transfer", grouped(ENTRIES_MAX.into())),
        ("one path", bytes(PATH_LEN_MAX as u64)),
        ("all paths of a transfer", bytes(PATHS_LEN_MAX as u64)),
        ("size of a file", "2^50 bytes".into()),
        ("length of a group", bytes(GROUP_LEN)),
        ("length of a text", bytes(TEXT_LEN_MAX as u64)),
        (
            "group hashes in one `Have`",
            grouped(HAVE_GROUPS_MAX as u64),
        ),
        (
            "addresses in one `Addresses`",
            grouped(ADDRS_TOLD_MAX as u64),
        ),
    ] {
        assert_eq!(cell(PROTOCOL, what), limit, "{what}");
    }
}

#[test]
fn the_close_codes_in_the_specification_are_those_of_the_code() {
    let codes = [
        Code::Done,
        Code::Offence,
        Code::UnknownTransfer,
        Code::Paused,
        Code::Cancelled,
        Code::Replaced,
        Code::Refused,
        Code::Busy,
        Code::Internal,
    ];
    for code in codes {
        assert_eq!(
            cell(PROTOCOL, &(code as u32).to_string()),
            format!("{code:?}")
        );
    }
    let next = format!("| {} |", codes.len());
    assert!(!PROTOCOL.contains(&format!("\n{next}")), "a code too many");
}

#[test]
fn what_is_said_about_texts_is_what_the_code_does() {
    let bytes = |n: usize| format!("{} bytes", grouped(n as u64));
    for part in [
        format!("at most {};", bytes(TEXT_LEN_MAX)),
        bytes(TEXT_KEPT_MAX),
        format!("at most {QUESTIONS_PER_PEER} texts waiting"),
        format!("not trusted {COMING_MAX};"),
        format!("offer {STRANGER_MAX} in a minute"),
    ] {
        assert!(README.contains(&part), "{part}");
    }
    for alpn in ALPNS {
        let name = std::str::from_utf8(alpn).unwrap();
        assert!(PROTOCOL.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn every_message_is_in_the_specification() {
    for name in [
        "Hello",
        "Welcome",
        "Reveal",
        "OfferHead",
        "Entries",
        "EntriesEnd",
        "FileFailed",
        "Steer",
        "Finish",
        "Known",
        "Holds",
        "Asked",
        "Accepted",
        "Declined",
        "Plan",
        "Start",
        "Have",
        "Again",
        "Settled",
        "Complete",
        "FileHeader",
        "TextHead",
        "Delivered",
        "CodeHead",
        "CodeMade",
        "CodeTyped",
        "Claim",
        "Found",
    ] {
        assert!(PROTOCOL.contains(name), "{name}");
    }
}

#[test]
fn what_is_said_about_old_versions_is_what_the_code_does() {
    assert!(README.contains(&format!("at most {} bytes", grouped(QUARANTINE_MAX))));
    let original_waits = std::time::Duration::from_secs(4);
    assert!(README.contains("waits 4 seconds") && ANSWER_WITHIN < original_waits);
}
