//! The golden messages: decoded and encoded again, and built from their stated fields.

use std::net::SocketAddr;

use serde_json::Value as Json;

use super::super::datagram::Datagram;
use super::super::discovery::{Discovery, DiscoveryKind};
use super::super::gossip::Gossip;
use super::super::kademlia::{Answer, Call, Kademlia, Request, Rpc};
use super::super::otm::{
    Adjacent, Control, Inform, InformAnswer, LINK_OK, Metadata, Neighbour, StreamLink,
};
use super::super::stream::{
    ACCEPT, DirectoryStep, ECHO, FileItem, FileStep, Opening, Place, REJECT, TextDialect, TextStep,
};
use super::super::{LIST_IDS, LegacyError, LegacyId, Record, Status, chunk_size};
use super::Message;

const VECTORS: &str = include_str!("../../../../tests/vectors/legacy.json");

struct Vector {
    name: String,
    bytes: Vec<u8>,
    fields: Json,
}

fn vectors() -> Vec<Vector> {
    let all: Json = serde_json::from_str(VECTORS).unwrap();
    let vector = |json: &Json| Vector {
        name: text(&json["name"]),
        bytes: data_encoding::HEXLOWER
            .decode(text(&json["hex"]).as_bytes())
            .unwrap(),
        fields: json["fields"].clone(),
    };
    all["vectors"]
        .as_array()
        .unwrap()
        .iter()
        .map(vector)
        .collect()
}

fn text(json: &Json) -> String {
    json.as_str().unwrap().to_owned()
}

fn number(json: &Json) -> u64 {
    json.as_u64().unwrap()
}

fn id(json: &Json) -> LegacyId {
    text(json).parse().unwrap()
}

fn bin(json: &Json) -> Vec<u8> {
    data_encoding::HEXLOWER
        .decode(text(&json["bin"]).as_bytes())
        .unwrap()
}

fn key(json: &Json) -> [u8; 20] {
    bin(json).try_into().unwrap()
}

fn addr(json: &Json) -> SocketAddr {
    let port = number(&json[1]).try_into().unwrap();
    SocketAddr::new(text(&json[0]).parse().unwrap(), port)
}

fn list(json: &Json) -> &[Json] {
    json.as_array().unwrap()
}

fn record(json: &Json) -> Record {
    Record {
        id: LegacyId::from_bytes(key(&json[0])),
        name: text(&json[1]),
        ip: text(&json[2]).parse().unwrap(),
        stream_port: number(&json[3]).try_into().unwrap(),
        requests_port: number(&json[4]).try_into().unwrap(),
        status: match number(&json[5]) {
            0 => Status::Offline,
            _ => Status::Online,
        },
    }
}

/// A record in MessagePack, of which the fields show only the bytes.
fn packed(json: &Json) -> Record {
    Record::decode(&bin(json)).unwrap()
}

fn item(json: &Json) -> FileItem {
    FileItem {
        name: text(&json[0]),
        size: number(&json[1]),
        seeked: number(&json[2]),
    }
}

/// What a vector says that it is, built from its fields alone.
fn message_of(vector: &Vector) -> Option<Message> {
    let Vector { name, fields, .. } = vector;
    let datagram = |datagram| Some(Message::Datagram(datagram));
    let name = name.as_str();
    match name {
        "discovery-find" | "discovery-find-ipv6" | "discovery-find-reply" => {
            let (kind, key) = match name {
                "discovery-find-reply" => (DiscoveryKind::Reply, "connect_uri"),
                _ => (DiscoveryKind::Find, "reply_addr"),
            };
            datagram(Datagram::Discovery(Discovery {
                kind,
                id: id(&fields["id"]),
                addr: addr(&fields["body"][key]),
                abilities: None,
            }))
        }
        "removal-ping" => datagram(Datagram::RemovalPing {
            id: text(&fields["id"]),
            triggered: false,
        }),
        "removal-ping-answer-that-an-original-accepts" => datagram(Datagram::RemovalAnswer {
            id: text(&fields["id"]),
            peer: Some(id(&fields["peer_id"])),
        }),
        _ if name.starts_with("kademlia-") => datagram(Datagram::Kademlia(kademlia(fields))),
        _ if name.starts_with("gossip-") => datagram(Datagram::Gossip(gossip(name, fields))),
        "otm-stream-link" | "otm-link-ok" | "otm-metadata" | "otm-chunk-class" => {
            stream_message(name, fields)
        }
        _ if name.starts_with("otm-") => datagram(Datagram::Otm(control(name, fields))),
        _ if name.starts_with("peer-record-") => Some(Message::Record(record(&fields["record"]))),
        _ => stream_message(name, fields),
    }
}

fn kademlia(fields: &Json) -> Kademlia {
    let rpc = &fields["rpc"];
    let payload = &rpc["payload"];
    let call = match number(&rpc["kind"]) {
        0 => {
            let arguments = list(&payload[1]);
            let rpc = match text(&payload[0]).as_str() {
                "ping" => Rpc::Ping,
                "find_node" => Rpc::FindNode(key(&arguments[1])),
                "find_list_of_peers" => Rpc::FindListOfPeers(key(&arguments[1])),
                "store_peers_in_list" => {
                    let peers = list(&arguments[2]).iter().map(packed).collect();
                    Rpc::StorePeersInList(key(&arguments[1]), peers)
                }
                "search_peers" => Rpc::SearchPeers(text(&arguments[1])),
                other => panic!("{other}"),
            };
            let caller = packed(&arguments[0]);
            Call::Request(Request { caller, rpc })
        }
        _ => Call::Answer(match payload {
            Json::Bool(done) => Answer::Done(*done),
            Json::Array(records) => Answer::Nearest(records.iter().map(record).collect()),
            Json::Object(map) if map.contains_key("value") => {
                Answer::Peers(list(&map["value"]).iter().map(packed).collect())
            }
            payload => Answer::Record(packed(payload)),
        }),
    };
    let id = key(&rpc["message_id"]);
    Kademlia { id, call }
}

fn gossip(name: &str, fields: &Json) -> Gossip {
    let id = text(&fields["id"]);
    let body = &fields["body"];
    let created = body["created"].as_f64().unwrap();
    match name {
        "gossip-search-request" => Gossip::Search {
            id,
            text: text(&body["message"]),
            created,
        },
        "gossip-search-reply" => Gossip::Reply {
            id,
            record: packed(&body["message"]),
            created,
        },
        _ => Gossip::Message {
            id,
            text: text(&body["message"]),
            ttl: number(&body["ttl"]),
            created,
        },
    }
}

fn control(name: &str, fields: &Json) -> Control {
    let body = &fields["body"];
    match name {
        "otm-inform-request" | "otm-inform-request-unpatched-ids" => {
            let adjacent = list(&body["adjacent_peers"]);
            Control::Inform(Inform {
                root: id(&fields["id"]),
                protocols: [text(&body["protocol1"]), text(&body["protocol2"])],
                session: text(&body["session_id"]),
                key: text(&body["key"]),
                fanout: number(&body["fanout"]) as u32,
                link_wait_timeout: number(&body["link_wait_timeout"]) as u32,
                adjacent: match name {
                    "otm-inform-request" => Adjacent::Text(adjacent.iter().map(id).collect()),
                    _ => {
                        let ids = adjacent.iter().map(|json| LegacyId::from_bytes(key(json)));
                        Adjacent::Binary(ids.collect())
                    }
                },
                file_count: number(&body["file_count"]),
                chunk_size: number(&body["chunk_size"]),
            })
        }
        "otm-inform-response" => Control::InformAnswer(InformAnswer {
            peer: id(&fields["peer_id"]),
            passive: addr(&fields["passive_addr"]),
            active: addr(&fields["active_addr"]),
            key: text(&fields["session_key"]),
        }),
        "otm-update-state" => {
            let mapping = list(&body["addresses_mapping"]).iter();
            let neighbours = mapping.map(|json| Neighbour {
                peer: id(&json[0]),
                passive: addr(&json[1]),
                active: addr(&json[2]),
            });
            Control::State(neighbours.collect())
        }
        "otm-tree-check" => Control::TreeCheck {
            sender: id(&fields["id"]),
            message: text(&body["message_id"]),
            session: text(&body["session_id"]),
        },
        "otm-upgrade" => Control::Upgrade(id(&fields["id"])),
        "otm-downgrade" => Control::Downgrade(id(&fields["id"])),
        "otm-tree-reject" | "otm-tree-reject-constructed" => Control::Reject(id(&fields["id"])),
        "otm-debug-print-states" => Control::PrintStates(id(&fields["id"])),
        "otm-tree-gather" => Control::Gather {
            sender: id(&fields["id"]),
            level: number(&body["level"]),
            parent: body["parent"].as_str().map(|text| text.parse().unwrap()),
            reply_addr: addr(&body["reply_addr"]),
        },
        other => panic!("{other}"),
    }
}

fn stream_message(name: &str, fields: &Json) -> Option<Message> {
    let body = &fields["body"];
    let opening = |opening| Some(Message::Opening(opening));
    let place = || Place {
        parent: text(&fields["parent"]),
        name: text(&fields["name"]),
    };
    let step = |step| Some(Message::Directory(step));
    match name {
        "liveness-probe" => opening(Opening::Probe),
        "file-handshake" | "file-handshake-long-id" => opening(Opening::Files {
            file_id: text(&body["file_id"]),
            sender: id(&fields["peer_id"]),
        }),
        "dir-handshake" => opening(Opening::Directory {
            transfer_id: text(&body["transfer_id"]),
            name: text(&body["dir_name"]),
            sender: id(&fields["peer_id"]),
        }),
        "text-connection-handshake" => opening(Opening::Texts {
            sender: id(&fields["id"]),
            dialect: TextDialect::Basic,
        }),
        "text-connection-handshake-connectivity" => opening(Opening::Texts {
            sender: id(&fields["peer_id"]),
            dialect: TextDialect::Message,
        }),
        "otm-stream-link" => opening(Opening::OtmLink(StreamLink {
            parent: id(&fields["id"]),
            session: text(&body["session_id"]),
            passive: addr(&body["peer_addr"]),
        })),
        "file-end" => Some(Message::Files(FileStep::End)),
        "file-frame" | "resume-frame" => {
            Some(Message::Files(FileStep::File(item(&fields["item"]))))
        }
        "dir-end" => step(DirectoryStep::End),
        "dir-folder-frame" | "dir-folder-frame-nested" => step(DirectoryStep::Folder(place())),
        "dir-file-frame" | "dir-file-frame-nested" | "dir-empty-file-frame" => {
            step(DirectoryStep::File(place(), number(&fields["size"])))
        }
        "text-message" => Some(Message::Text(TextStep::Message {
            sender: id(&fields["id"]),
            text: text(&body["message"]),
        })),
        "text-close" => Some(Message::Text(TextStep::Close {
            sender: id(&fields["id"]),
        })),
        "otm-metadata" => {
            let items = list(&fields["files"]).iter().map(item);
            Some(Message::Metadata(Metadata(items.collect())))
        }
        _ => None,
    }
}

/// Those that are no message of their own.
fn check_other(vector: &Vector) {
    let Vector {
        name,
        bytes,
        fields,
    } = vector;
    match name.as_str() {
        "file-accept" => assert_eq!(bytes, &[ACCEPT]),
        "file-reject" => assert_eq!(bytes, &[REJECT]),
        "dir-echo" => assert_eq!(bytes, &[ECHO]),
        "otm-link-ok" => assert_eq!(bytes, &LINK_OK),
        // Part of resuming, which works in no version and is not spoken.
        "resume-offset" => assert_eq!(bytes, &number(&fields["offset"]).to_be_bytes()),
        // A class that nothing puts on the wire.
        "otm-chunk-class" => assert_eq!(super::super::measure(bytes), Ok(bytes.len())),
        _ if name.starts_with("file-item-") => {
            let step = FileStep::File(item(&fields["item"]));
            assert_eq!(step.encode().unwrap()[1..], *bytes, "{name}");
            let marked = [&[1], bytes.as_slice()].concat();
            let len = marked.len();
            assert_eq!(FileStep::decode(&marked), Ok(Some((step, len))), "{name}");
        }
        _ if name.ends_with("-whole-stream") => check_stream(name, bytes),
        _ => panic!("vector {name} is not tested"),
    }
}

/// A transfer of files from its first byte to its last, in pieces of each length.
fn check_stream(name: &str, bytes: &[u8]) {
    for piece in 1..bytes.len() {
        let mut buffer = Vec::new();
        let mut again = Vec::new();
        let mut opened = false;
        let mut content = 0;
        let mut ended = false;
        for piece in bytes.chunks(piece) {
            buffer.extend_from_slice(piece);
            loop {
                let taken = content.min(buffer.len());
                again.extend(buffer.drain(..taken));
                content -= taken;
                if content > 0 {
                    break;
                }
                let used = if opened {
                    let Some((step, used)) = FileStep::decode(&buffer).unwrap() else {
                        break;
                    };
                    again.extend(step.encode().unwrap());
                    match step {
                        FileStep::File(item) => content = item.size as usize,
                        FileStep::End => ended = true,
                    }
                    used
                } else {
                    let Some((opening, used)) = Opening::decode(&buffer).unwrap() else {
                        break;
                    };
                    again.extend(opening.encode().unwrap());
                    opened = true;
                    used
                };
                buffer.drain(..used);
            }
        }
        assert_eq!((again.as_slice(), content), (bytes, 0), "{name}");
        assert_eq!(ended, !name.contains("unpatched-sender"), "{name}");
    }
}

#[test]
fn every_golden_message_is_decoded_and_encoded_to_the_same_bytes() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 77);
    let mut messages = 0;
    for vector in &vectors {
        let name = &vector.name;
        let Some(message) = message_of(vector) else {
            check_other(vector);
            continue;
        };
        messages += 1;
        let decoded = Message::decode(message.kind(), &vector.bytes);
        let expected = Ok(Some((message.clone(), vector.bytes.len())));
        assert_eq!(decoded, expected, "{name} is decoded to its fields");
        let encoded = message.encode().unwrap();
        assert!(encoded == vector.bytes, "{name}: {encoded:02x?}");
    }
    assert_eq!(messages, 54);
}

#[test]
fn control_messages_are_the_same_at_a_socket_of_their_session() {
    let mut count = 0;
    for vector in vectors() {
        if let Some(Message::Datagram(Datagram::Otm(control))) = message_of(&vector) {
            assert_eq!(Control::decode(&vector.bytes), Ok(control));
            count += 1;
        }
    }
    assert_eq!(count, 11);
}

#[test]
fn golden_messages_that_are_cut_or_have_the_other_type_of_header_are_refused() {
    for vector in vectors() {
        let Some(message) = message_of(&vector) else {
            continue;
        };
        for len in 0..vector.bytes.len() {
            let cut = Message::decode(message.kind(), &vector.bytes[..len]);
            assert!(!matches!(cut, Ok(Some(_))), "{} cut at {len}", vector.name);
        }
    }
    let vectors = vectors();
    let find = |name: &str| vectors.iter().find(|vector| vector.name == name).unwrap();
    // bin of 16 to str of 16 bytes: one byte less, in two lengths.
    let mut bytes = find("dir-handshake").bytes.clone();
    assert_eq!(bytes[5..7], [0xc4, 16]);
    bytes.splice(5..7, [0xb0]);
    bytes[3] -= 1;
    assert_eq!(Opening::decode(&bytes), Err(LegacyError::UnknownHeader));
    // A message of one kind at the place of another.
    let bytes = &find("text-message").bytes;
    assert_eq!(Opening::decode(bytes), Err(LegacyError::WrongHeader));
    let mut bytes = find("discovery-find").bytes.clone();
    bytes[0] = 2;
    assert_eq!(Datagram::decode(&bytes), Err(LegacyError::WrongHeader));
}

#[test]
fn tables_are_those_of_the_original() {
    let all: Json = serde_json::from_str(VECTORS).unwrap();
    let tables = &all["tables"];
    for entry in list(&tables["chunk_size"]) {
        assert_eq!(chunk_size(number(&entry[0])), number(&entry[1]), "{entry}");
    }
    let ids = list(&tables["list_ids"]).iter().map(text);
    let own = LIST_IDS.map(|id| data_encoding::HEXLOWER.encode(&id));
    assert!(ids.eq(own));
}

#[test]
fn ids_are_their_bytes_as_a_number() {
    let records = vectors();
    let records = records
        .iter()
        .filter(|vector| vector.name.starts_with("peer-record-"));
    for vector in records {
        let bytes = LegacyId::from_bytes(key(&vector.fields["byte_id"]));
        assert_eq!(bytes, id(&vector.fields["peer_id"]), "{}", vector.name);
    }
}
