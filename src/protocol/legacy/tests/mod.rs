//! Every message against the bytes that originals sent, and against any bytes at all.

mod golden;
mod random;

use super::datagram::Datagram;
use super::otm::{Control, Metadata};
use super::stream::{DirectoryStep, FileStep, Opening, TextStep};
use super::{LegacyError, Record};

/// Any message, with the decoder that its place on the wire chooses.
#[derive(Debug, Clone, PartialEq)]
enum Message {
    Datagram(Datagram),
    Control(Control),
    Opening(Opening),
    Files(FileStep),
    Directory(DirectoryStep),
    Text(TextStep),
    Metadata(Metadata),
    Record(Record),
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Datagram,
    Control,
    Opening,
    Files,
    Directory,
    Text,
    Metadata,
    Record,
}

const KINDS: [Kind; 8] = [
    Kind::Datagram,
    Kind::Control,
    Kind::Opening,
    Kind::Files,
    Kind::Directory,
    Kind::Text,
    Kind::Metadata,
    Kind::Record,
];

impl Message {
    fn kind(&self) -> Kind {
        match self {
            Self::Datagram(_) => Kind::Datagram,
            Self::Control(_) => Kind::Control,
            Self::Opening(_) => Kind::Opening,
            Self::Files(_) => Kind::Files,
            Self::Directory(_) => Kind::Directory,
            Self::Text(_) => Kind::Text,
            Self::Metadata(_) => Kind::Metadata,
            Self::Record(_) => Kind::Record,
        }
    }

    fn encode(&self) -> Result<Vec<u8>, LegacyError> {
        match self {
            Self::Datagram(message) => message.encode(),
            Self::Control(message) => message.encode(),
            Self::Opening(message) => message.encode(),
            Self::Files(message) => message.encode(),
            Self::Directory(message) => message.encode(),
            Self::Text(message) => message.encode(),
            Self::Metadata(message) => message.encode(),
            Self::Record(message) => Ok(message.encode()),
        }
    }

    /// The message and how many bytes it took; datagrams and records are taken as a whole.
    fn decode(kind: Kind, bytes: &[u8]) -> Result<Option<(Self, usize)>, LegacyError> {
        fn part<T>(
            found: Option<(T, usize)>,
            message: impl Fn(T) -> Message,
        ) -> Option<(Message, usize)> {
            found.map(|(found, used)| (message(found), used))
        }
        let whole = |message: Self| Some((message, bytes.len()));
        Ok(match kind {
            Kind::Datagram => whole(Self::Datagram(Datagram::decode(bytes)?)),
            Kind::Control => whole(Self::Control(Control::decode(bytes)?)),
            Kind::Record => whole(Self::Record(Record::decode(bytes)?)),
            Kind::Opening => part(Opening::decode(bytes)?, Self::Opening),
            Kind::Files => part(FileStep::decode(bytes)?, Self::Files),
            Kind::Directory => part(DirectoryStep::decode(bytes)?, Self::Directory),
            Kind::Text => part(TextStep::decode(bytes)?, Self::Text),
            Kind::Metadata => part(Metadata::decode(bytes)?, Self::Metadata),
        })
    }
}
