//! Messages of any content, and any bytes.

use std::net::{IpAddr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::datagram::Datagram;
use super::super::discovery::{Abilities, Discovery, DiscoveryKind};
use super::super::gossip::Gossip;
use super::super::kademlia::{Answer, Call, Kademlia, Request, Rpc, Stored};
use super::super::otm::{Adjacent, Control, Inform, InformAnswer, Metadata, Neighbour, StreamLink};
use super::super::stream::{
    DirectoryStep, FileItem, FileStep, Opening, Place, TextDialect, TextStep,
};
use super::super::{
    DATAGRAM_MAX, FRAME_MAX, LegacyError, LegacyId, RPC_MAX, Record, Status, uuid_text,
};
use super::{KINDS, Message};
use crate::peer::PeerId;

fn id() -> impl Strategy<Value = LegacyId> {
    any::<[u8; 20]>().prop_map(LegacyId::from_bytes)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9 .\\\\/]{0,20}", "\\PC{0,40}", "[a-z]{200,300}"]
}

fn addr() -> impl Strategy<Value = SocketAddr> {
    // IPv4 addresses in IPv6 are written as what they are.
    any::<(IpAddr, u16)>().prop_map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port))
}

fn record() -> impl Strategy<Value = Record> {
    (id(), text(), addr(), any::<(u16, bool)>()).prop_map(|(id, name, addr, (port, online))| {
        Record {
            id,
            name,
            ip: addr.ip(),
            stream_port: addr.port(),
            requests_port: port,
            status: match online {
                true => Status::Online,
                false => Status::Offline,
            },
        }
    })
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    vec(record(), 0..4)
}

fn stored() -> impl Strategy<Value = Stored> {
    prop_oneof![
        text().prop_map(Stored::from),
        any::<u64>().prop_map(Stored::from),
        any::<f64>()
            .prop_filter("equal to itself", |f| !f.is_nan())
            .prop_map(Stored::from),
        vec(any::<i32>(), 1..3).prop_map(|list| list.into_iter().map(Stored::from).collect()),
    ]
}

fn rpc() -> impl Strategy<Value = Rpc> {
    let key = any::<[u8; 20]>;
    prop_oneof![
        Just(Rpc::Ping),
        key().prop_map(Rpc::FindNode),
        (key(), records()).prop_map(|(key, peers)| Rpc::StorePeersInList(key, peers)),
        key().prop_map(Rpc::FindListOfPeers),
        (key(), stored()).prop_map(|(key, value)| Rpc::Store(key, value)),
        key().prop_map(Rpc::FindValue),
        text().prop_map(Rpc::SearchPeers),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        record().prop_map(Answer::Record),
        records().prop_map(Answer::Nearest),
        vec(record(), 1..4).prop_map(Answer::Packed),
        records().prop_map(Answer::Peers),
        stored().prop_map(Answer::Value),
        any::<bool>().prop_map(Answer::Done),
        Just(Answer::Nothing),
    ]
}

fn kademlia() -> impl Strategy<Value = Kademlia> {
    let call = prop_oneof![
        (record(), rpc()).prop_map(|(caller, rpc)| Call::Request(Request { caller, rpc })),
        answer().prop_map(Call::Answer),
    ];
    (any::<[u8; 20]>(), call).prop_map(|(id, call)| Kademlia { id, call })
}

fn discovery() -> impl Strategy<Value = Discovery> {
    let abilities =
        (any::<([u8; 32], u16)>(), "\\PC{0,40}").prop_map(|((peer, port), name)| Abilities {
            peer: PeerId::from_bytes(peer),
            port,
            name,
        });
    let abilities = proptest::option::of(abilities);
    (id(), addr(), any::<bool>(), abilities).prop_map(|(id, addr, find, abilities)| Discovery {
        kind: match find {
            true => DiscoveryKind::Find,
            false => DiscoveryKind::Reply,
        },
        id,
        addr,
        abilities: abilities.filter(|abilities| abilities.name.len() <= 128),
    })
}

fn gossip() -> impl Strategy<Value = Gossip> {
    let created = || any::<u32>().prop_map(f64::from);
    prop_oneof![
        (text(), text(), any::<u64>(), created()).prop_map(|(id, text, ttl, created)| {
            Gossip::Message {
                id,
                text,
                ttl,
                created,
            }
        }),
        (text(), text(), created()).prop_map(|(id, text, created)| Gossip::Search {
            id,
            text,
            created
        }),
        (text(), record(), created()).prop_map(|(id, record, created)| Gossip::Reply {
            id,
            record,
            created
        }),
    ]
}

fn inform() -> impl Strategy<Value = Inform> {
    let adjacent = prop_oneof![
        vec(id(), 0..5).prop_map(Adjacent::Text),
        vec(id(), 1..5).prop_map(Adjacent::Binary),
    ];
    let numbers = any::<(u32, u32, u64, u64)>();
    let texts = (text(), text(), text(), text());
    (id(), texts, numbers, adjacent).prop_map(|(root, texts, numbers, adjacent)| Inform {
        root,
        protocols: [texts.0, texts.1],
        session: texts.2,
        key: texts.3,
        fanout: numbers.0,
        link_wait_timeout: numbers.1,
        adjacent,
        file_count: numbers.2,
        chunk_size: numbers.3,
    })
}

fn control() -> impl Strategy<Value = Control> {
    let neighbour = (id(), addr(), addr()).prop_map(|(peer, passive, active)| Neighbour {
        peer,
        passive,
        active,
    });
    let answer =
        (id(), addr(), addr(), text()).prop_map(|(peer, passive, active, key)| InformAnswer {
            peer,
            passive,
            active,
            key,
        });
    let gather = (id(), any::<u64>(), proptest::option::of(id()), addr());
    prop_oneof![
        inform().prop_map(Control::Inform),
        answer.prop_map(Control::InformAnswer),
        vec(neighbour, 0..20).prop_map(Control::State),
        (id(), text(), text()).prop_map(|(sender, message, session)| Control::TreeCheck {
            sender,
            message,
            session
        }),
        id().prop_map(Control::Upgrade),
        id().prop_map(Control::Reject),
        id().prop_map(Control::Downgrade),
        id().prop_map(Control::PrintStates),
        gather.prop_map(|(sender, level, parent, reply_addr)| Control::Gather {
            sender,
            level,
            parent,
            reply_addr
        }),
    ]
}

fn datagram() -> impl Strategy<Value = Datagram> {
    prop_oneof![
        kademlia().prop_map(Datagram::Kademlia),
        discovery().prop_map(Datagram::Discovery),
        gossip().prop_map(Datagram::Gossip),
        control().prop_map(Datagram::Otm),
        (text(), any::<bool>()).prop_map(|(id, triggered)| Datagram::RemovalPing { id, triggered }),
        (text(), proptest::option::of(id()))
            .prop_map(|(id, peer)| Datagram::RemovalAnswer { id, peer }),
    ]
}

fn opening() -> impl Strategy<Value = Opening> {
    prop_oneof![
        Just(Opening::Probe),
        (text(), id()).prop_map(|(file_id, sender)| Opening::Files { file_id, sender }),
        (text(), text(), id()).prop_map(|(transfer_id, name, sender)| Opening::Directory {
            transfer_id,
            name,
            sender
        }),
        (id(), any::<bool>()).prop_map(|(sender, basic)| Opening::Texts {
            sender,
            dialect: match basic {
                true => TextDialect::Basic,
                false => TextDialect::Message,
            },
        }),
        (id(), text(), addr()).prop_map(|(parent, session, passive)| {
            Opening::OtmLink(StreamLink {
                parent,
                session,
                passive,
            })
        }),
    ]
}

fn item() -> impl Strategy<Value = FileItem> {
    (text(), any::<(u64, u64)>()).prop_map(|(name, (a, b))| FileItem {
        name,
        size: a.max(b),
        seeked: a.min(b),
    })
}

fn message() -> impl Strategy<Value = Message> {
    let place = || (text(), text()).prop_map(|(parent, name)| Place { parent, name });
    let files = prop_oneof![item().prop_map(FileStep::File), Just(FileStep::End)];
    let directory = prop_oneof![
        place().prop_map(DirectoryStep::Folder),
        (place(), any::<u64>()).prop_map(|(place, size)| DirectoryStep::File(place, size)),
        Just(DirectoryStep::End),
    ];
    let texts = prop_oneof![
        (id(), text()).prop_map(|(sender, text)| TextStep::Message { sender, text }),
        id().prop_map(|sender| TextStep::Close { sender }),
    ];
    // Each on the heap: all at once are too much for the stack of a test.
    prop_oneof![
        datagram().prop_map(Message::Datagram).boxed(),
        control().prop_map(Message::Control).boxed(),
        opening().prop_map(Message::Opening).boxed(),
        files.prop_map(Message::Files).boxed(),
        directory.prop_map(Message::Directory).boxed(),
        texts.prop_map(Message::Text).boxed(),
        vec(item(), 0..6)
            .prop_map(|items| Message::Metadata(Metadata(items)))
            .boxed(),
        record().prop_map(Message::Record).boxed(),
    ]
}

proptest! {
    #[test]
    fn every_message_comes_out_as_it_went_in(message in message()) {
        let bytes = message.encode().unwrap();
        let decoded = Message::decode(message.kind(), &bytes);
        prop_assert_eq!(decoded, Ok(Some((message, bytes.len()))));
    }

    #[test]
    fn streams_may_be_cut_anywhere(message in message(), more: Vec<u8>, at in 0usize..2000) {
        let bytes = message.encode().unwrap();
        let kind = message.kind();
        let whole = [bytes.as_slice(), more.as_slice()].concat();
        let at = at.min(whole.len());
        let early = Message::decode(kind, &whole[..at]);
        match message {
            Message::Datagram(_) | Message::Control(_) | Message::Record(_) => {
                prop_assert!(at >= bytes.len() || early.is_err());
            }
            Message::Opening(_)
            | Message::Files(_)
            | Message::Directory(_)
            | Message::Text(_)
            | Message::Metadata(_) => {
                let expected = (at >= bytes.len()).then_some((message, bytes.len()));
                prop_assert_eq!(early, Ok(expected));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        for kind in KINDS {
            let _ = Message::decode(kind, &bytes);
        }
    }

    #[test]
    fn damaged_messages_never_panic_and_what_passes_is_a_message(
        message in message(),
        damage in vec(any::<(usize, u8)>(), 1..4),
    ) {
        let mut bytes = message.encode().unwrap();
        for (place, value) in damage {
            let place = place % bytes.len();
            bytes[place] = value;
        }
        for kind in KINDS {
            let Ok(Some((message, _))) = Message::decode(kind, &bytes) else {
                continue;
            };
            if matches!(message, Message::Datagram(Datagram::Other { .. })) {
                continue;
            }
            let again = message.encode().unwrap();
            let decoded = Message::decode(kind, &again).unwrap().unwrap().0;
            // Numbers that equal nothing, not even themselves, may be among stored values.
            prop_assert_eq!(format!("{decoded:?}"), format!("{message:?}"));
        }
    }
}

#[test]
fn what_is_too_long_is_neither_sent_nor_taken() {
    let sender = LegacyId::DEFAULT_PROFILE;
    let long = TextStep::Message {
        sender,
        text: "x".repeat(FRAME_MAX),
    };
    assert!(matches!(long.encode(), Err(LegacyError::TooLong(_))));
    let mut bytes = vec![0, 1, 0, 1];
    assert_eq!(Opening::decode(&bytes), Err(LegacyError::TooLong(65_537)));
    bytes.insert(0, 1);
    assert_eq!(FileStep::decode(&bytes), Err(LegacyError::TooLong(65_537)));

    let caller = Record {
        id: sender,
        name: "anna".into(),
        ip: IpAddr::from([10, 0, 0, 1]),
        stream_port: 3485,
        requests_port: 3486,
        status: Status::Online,
    };
    let search = |len| {
        Datagram::Kademlia(Kademlia {
            id: [7; 20],
            call: Call::Request(Request {
                caller: caller.clone(),
                rpc: Rpc::SearchPeers("x".repeat(len)),
            }),
        })
    };
    assert!(search(RPC_MAX - 200).encode().is_ok());
    let error = search(RPC_MAX).encode().unwrap_err();
    assert!(matches!(error, LegacyError::RequestTooLong(_)));
    let gossip = Gossip::Search {
        id: "1".into(),
        text: "x".repeat(DATAGRAM_MAX),
        created: 0.0,
    };
    let error = Datagram::Gossip(gossip).encode().unwrap_err();
    assert!(matches!(error, LegacyError::DatagramTooLong(_)));
    let error = Datagram::decode(&vec![0; DATAGRAM_MAX + 1]).unwrap_err();
    assert_eq!(error, LegacyError::DatagramTooLong(DATAGRAM_MAX + 1));
}

#[test]
fn bytes_behind_a_datagram_are_ignored_and_unknown_keys_too() {
    let find = Discovery {
        kind: DiscoveryKind::Find,
        id: LegacyId::DEFAULT_PROFILE,
        addr: "10.0.0.1:3486".parse().unwrap(),
        abilities: Some(Abilities {
            peer: PeerId::from_bytes([9; 32]),
            port: 4000,
            name: "anna".into(),
        }),
    };
    let mut bytes = Datagram::Discovery(find.clone()).encode().unwrap();
    bytes.extend_from_slice(b"behind");
    assert_eq!(
        Datagram::decode(&bytes),
        Ok(Datagram::Discovery(find.clone()))
    );
    // The same find, but with a name of another type.
    let wrong = bytes.iter().position(|byte| *byte == 0xa4).unwrap();
    assert_eq!(bytes[wrong..wrong + 5], *b"\xa4anna");
    bytes[wrong] = 0xc4;
    bytes.splice(wrong + 1..wrong + 5, *b"\x03ann");
    assert_eq!(
        Datagram::decode(&bytes),
        Ok(Datagram::Discovery(Discovery {
            abilities: None,
            ..find
        })),
        "what other programs add is no reason to refuse a find"
    );
}

#[test]
fn envelope_keys_in_a_body_are_refused() {
    // [bin"basic connection", id, 1.0, {key: 1}, nil], with its length.
    let opening = |body: &[u8]| {
        let mut payload = b"\x95\xc4\x10basic connection\xa17\xcb\x3f\xf0\0\0\0\0\0\0".to_vec();
        payload.extend_from_slice(body);
        payload.push(0xc0);
        let mut bytes = (payload.len() as u32).to_be_bytes().to_vec();
        bytes.extend(payload);
        Opening::decode(&bytes)
    };
    assert!(matches!(opening(b"\x80"), Ok(Some(_))));
    assert!(matches!(opening(b"\x81\xa4more\x01"), Ok(Some(_))));
    let reserved = opening(b"\x81\xa7peer_id\x01");
    assert_eq!(reserved, Err(LegacyError::ReservedKey));
    assert_eq!(opening(b"\x81\x07\x01"), Err(LegacyError::KeyNotText));
    let twice = opening(b"\x82\xa1a\x01\xa1a\x01");
    assert_eq!(twice, Err(LegacyError::DuplicateKey));
    assert_eq!(opening(b"\xc0"), Err(LegacyError::NotAMessage));
}

#[test]
fn ids_of_messages_are_uuids() {
    let text = uuid_text([0xff; 16]);
    assert_eq!(text, "ffffffff-ffff-4fff-bfff-ffffffffffff");
    assert_eq!(uuid_text([0; 16]), "00000000-0000-4000-8000-000000000000");
}
