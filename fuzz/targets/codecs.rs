//! Decoders: no bytes make them panic, and what they accept comes out the same again.

use std::fmt::Debug;

use peerconnect::fault::Fault;
use peerconnect::net::link::Piece;
use peerconnect::net::pieces::decode_chunks;
use peerconnect::node::api::{Command, Overview, Reply};
use peerconnect::peer::PeerId;
use peerconnect::protocol::codes::{CodeMade, CodeTyped, OneTimeCode, TypedCode};
use peerconnect::protocol::frame::{self, FRAME_MAX};
use peerconnect::protocol::link_uri::{Address, Link};
use peerconnect::protocol::message::{
    ConnectionMessage, FileHeader, Opening, ReceiverMessage, SenderMessage, TransferId,
};
use peerconnect::protocol::relay::{
    DATAGRAM_LEN_MAX, Datagram, FromRelay, ProbeFrom, ToRelay, data_head, token,
};
use peerconnect::protocol::sessions::{Pull, Pulled, Referral};
use peerconnect::protocol::tcp::{FRAME_LEN_MAX, Frame, LENGTH_LEN, TooLong};
use peerconnect::protocol::texts::TextAnswer;
use peerconnect::storage::name::{COMPONENT_LEN_MAX, SafePath, is_safe_link_target};
use peerconnect::text::{Shown, ShownText, is_deceptive};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn frame_of<M: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(Some((message, len))) = frame::decode::<M>(bytes) else {
        return;
    };
    assert!(len <= FRAME_MAX + 4 && len <= bytes.len());
    // Numbers may be written longer than needed, so the bytes may differ, but not the message.
    let encoded = frame::encode(&message).expect("what fitted a frame fits again");
    let again = frame::decode::<M>(&encoded).expect("our own bytes");
    assert_eq!(again, Some((message, encoded.len())));
}

/// Each message type from the same bytes; the first says which, so that seeds are not wasted.
pub fn frames(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    match kind % 16 {
        0 => frame_of::<Opening>(bytes),
        1 => frame_of::<ConnectionMessage>(bytes),
        2 => frame_of::<SenderMessage>(bytes),
        3 => frame_of::<ReceiverMessage>(bytes),
        4 => frame_of::<TextAnswer>(bytes),
        5 => frame_of::<FileHeader>(bytes),
        6 => frame_of::<Pull>(bytes),
        7 => frame_of::<Pulled>(bytes),
        8 => frame_of::<ToRelay>(bytes),
        9 => frame_of::<FromRelay>(bytes),
        10 => frame_of::<CodeMade>(bytes),
        11 => frame_of::<CodeTyped>(bytes),
        12 => over_tcp(bytes),
        13 => frame_of::<Vec<Referral>>(bytes),
        _ => datagram(bytes),
    }
    // A payload without its length, which the fuzzer need not guess then.
    let _ = frame::decode_payload::<SenderMessage>(bytes);
    let _ = frame::decode_payload::<ReceiverMessage>(bytes);
}

/// What comes by UDP without being a packet of QUIC.
fn datagram(bytes: &[u8]) {
    match Datagram::parse(bytes) {
        Some(Datagram::Data(channel, packet)) => {
            let again = [&data_head(channel)[..], packet].concat();
            assert_eq!(again, bytes);
        }
        Some(Datagram::Probe(_, probe)) => {
            for from in [ProbeFrom::Caller, ProbeFrom::Called] {
                assert_eq!(probe.open(from, &[7; 32]), None, "nobody guesses a proof");
            }
        }
        Some(Datagram::Token(nonce)) => assert_eq!(token(nonce), bytes),
        None => {}
    }
}

/// What comes over TCP, frame by frame.
fn over_tcp(mut bytes: &[u8]) {
    while let Ok(Some(len)) = Frame::len_of(bytes) {
        assert!(len <= FRAME_LEN_MAX);
        let Some((frame, rest)) = bytes
            .get(LENGTH_LEN..)
            .and_then(|bytes| bytes.split_at_checked(len))
        else {
            return;
        };
        match Frame::parse(frame) {
            Ok(Frame::Alive) => assert!(frame.is_empty()),
            Ok(Frame::Message(message)) => assert_eq!(message.len() + 1, len),
            Ok(Frame::Datagram(bytes)) => {
                assert!(bytes.len() <= DATAGRAM_LEN_MAX);
                datagram(bytes);
            }
            Err(TooLong) => return,
        }
        bytes = rest;
    }
}

/// What people paste and type.
pub fn addresses(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(link) = text.parse::<Link>() {
        assert_eq!(link.to_string().parse(), Ok(link.clone()));
        assert_eq!(link.to_upper().parse(), Ok(link));
    }
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    if let Ok(id) = text.parse::<PeerId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    if let Ok(code) = text.parse::<OneTimeCode>() {
        assert_eq!(code.to_string().parse(), Ok(code));
    }
    if let Ok(typed) = text.parse::<TypedCode>() {
        assert_eq!(typed.to_string().parse(), Ok(typed));
    }
    if let Ok(id) = text.parse::<TransferId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    assert!(!Shown(&text).to_string().chars().any(is_deceptive));
    let lines = ShownText(&text).to_string();
    let allowed = |c: char| matches!(c, '\n' | '\t') || !is_deceptive(c);
    assert!(lines.chars().all(allowed));
}

/// Names stay below their folder and are safe the second time as they are.
pub fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (name, target) = text.split_once('\n').unwrap_or((&text, ""));
    let Ok(path) = SafePath::parse(name) else {
        return;
    };
    assert_eq!(SafePath::parse(path.as_str()), Ok(path.clone()));
    for component in path.components() {
        assert!(!matches!(component, "" | "." | ".."), "{path:?}");
        assert!(component.len() <= COMPONENT_LEN_MAX, "{path:?}");
        assert!(
            !component.chars().any(|c| is_deceptive(c) || c == '\\'),
            "{path:?}"
        );
    }
    assert!(!path.as_str().starts_with(['/', '.']), "{path:?}");
    let numbered = path.numbered(7);
    assert_eq!(SafePath::parse(numbered.as_str()), Ok(numbered));
    if is_safe_link_target(&path, target) {
        let depth = path.components().count() - 1;
        let ups = target.split('/').filter(|part| *part == "..").count();
        assert!(
            ups < depth && !target.starts_with('/'),
            "{path:?} -> {target:?}"
        );
    }
}

/// The content is the same however the stream is cut.
pub fn pieces(data: &[u8]) {
    let Some(([a, b, c, cut], bytes)) = data.split_first_chunk::<4>() else {
        return;
    };
    let size = u64::from(u32::from_be_bytes([0, *a, *b, *c]));
    let whole = decode_chunks(size, &[bytes]);
    let step = usize::from(*cut).max(1);
    let chunks: Vec<&[u8]> = bytes.chunks(step).collect();
    if chunks.is_empty() {
        return;
    }
    let split = decode_chunks(size, &chunks);
    let content = |pieces: &[Piece]| {
        let mut all = Vec::new();
        let mut marks = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Data(data) => all.extend_from_slice(data),
                Piece::Group(_)
                | Piece::GroupEnd(_)
                | Piece::Elsewhere(..)
                | Piece::End(_)
                | Piece::Break => marks.push(piece.clone()),
            }
        }
        (all, marks)
    };
    match (whole, split) {
        (Ok(whole), Ok(split)) => {
            let (all, marks) = content(&whole);
            assert_eq!((all.clone(), marks), content(&split));
            assert!(all.len() as u64 <= size);
        }
        (Err(one), Err(other)) => assert_eq!(one, other),
        (one, other) => panic!("{one:?} and {other:?}"),
    }
}

fn json_of<T: Serialize + DeserializeOwned>(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(data) else {
        return;
    };
    let text = serde_json::to_vec(&value).expect("what was JSON");
    let again: T = serde_json::from_slice(&text).expect("our own JSON");
    let twice = serde_json::to_vec(&again).expect("what was JSON");
    assert_eq!(text, twice);
}

/// What goes over the control socket.
pub fn control(data: &[u8]) {
    json_of::<Command>(data);
    json_of::<Reply>(data);
    json_of::<Fault>(data);
    json_of::<Overview>(data);
}
