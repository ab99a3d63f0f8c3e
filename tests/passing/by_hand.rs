//! Peers whose protocol the test speaks itself, so that it knows every key.

use std::net::Ipv4Addr;

use bytes::Bytes;
use peerconnect::identity::Identity;
use peerconnect::net::link::{FileOpener, FileWriter, LinkError, Outbound, Piece};
use peerconnect::net::pull_link::PullAnswer;
use peerconnect::net::{
    Arrival, Connector, Dial, EndpointOptions, Net, PeerConnection, QuicOutbound, bind,
};
use peerconnect::protocol::groups::hash_group;
use peerconnect::protocol::message::{
    Code, Entry, EntryKind, FileHeader, OfferHead, ReceiverMessage, SenderMessage, Stamp,
    Timestamp, TransferId,
};
use peerconnect::protocol::sessions::{FeedingKey, Pull, PullHead, SessionNote, Ticket};
use tokio::sync::mpsc;

use super::common::{DEADLINE, Site};

/// A peer that does nothing by itself.
pub(crate) struct Peer {
    pub(crate) identity: Identity,
    connector: Connector,
    _arrivals: mpsc::Receiver<Arrival>,
    _net: Net,
}

impl Peer {
    pub(crate) async fn new(name: &str) -> Self {
        let identity = Identity::generate().unwrap();
        let options = EndpointOptions {
            bind: Some(Ipv4Addr::LOCALHOST.into()),
            port: 0,
            name: name.into(),
        };
        let (connector, arrivals, net) = bind(&identity, options).await.unwrap();
        Self {
            identity,
            connector,
            _arrivals: arrivals,
            _net: net,
        }
    }

    pub(crate) async fn connect(&self, to: &Site) -> PeerConnection {
        let dial = Dial {
            expect: None,
            addrs: vec![to.addr().parse().unwrap()],
            relays: Vec::new(),
        };
        let connected = self.connector.prepare_connection(dial, DEADLINE);
        connected.await.unwrap()
    }

    /// What shows that this one may have what was given under `key`.
    pub(crate) fn ticket(&self, key: FeedingKey) -> Ticket {
        Ticket::new(&key, self.identity.id())
    }
}

/// A file that goes to one receiver of a session.
pub(crate) struct Given {
    pub(crate) transfer: TransferId,
    pub(crate) key: FeedingKey,
    pub(crate) stamp: Stamp,
    pub(crate) name: &'static str,
    pub(crate) content: Bytes,
}

impl Given {
    fn entry(&self) -> Entry {
        let kind = EntryKind::File {
            size: self.content.len() as u64,
            modified: Timestamp(1),
            executable: false,
        };
        let path = self.name.into();
        Entry { path, kind }
    }

    /// Sends it as an origin does, until the receiver has all of it.
    pub(crate) async fn send(&self, over: &PeerConnection) {
        let entry = self.entry();
        let head = OfferHead {
            transfer: self.transfer,
            entries: 1,
            bytes: self.content.len() as u64,
            digest: *blake3::hash(&postcard::to_stdvec(&entry).unwrap()).as_bytes(),
        };
        let mut link = over.offer(head).await.unwrap();
        until(&mut link, &ReceiverMessage::Known { entries: 0 }).await;
        let note = SessionNote {
            receivers: 2,
            key: self.key,
        };
        for message in [
            SenderMessage::Session(note),
            SenderMessage::Entries(vec![entry]),
            SenderMessage::EntriesEnd { entries: 1 },
        ] {
            link.send(message).await.unwrap();
        }
        until(&mut link, &ReceiverMessage::PassesOn(true)).await;
        until(&mut link, &ReceiverMessage::Start { entries: 1 }).await;
        self.send_content(&link).await;
        let finish = SenderMessage::Finish { entries: 1 };
        link.send(finish).await.unwrap();
        until(&mut link, &ReceiverMessage::Complete).await;
        link.close(Code::Done).await;
    }

    /// The stream of the file, which has one group.
    async fn send_content(&self, link: &QuicOutbound) {
        let size = self.content.len() as u64;
        let header = FileHeader {
            transfer: self.transfer,
            index: 0,
            size,
            modified: Timestamp(1),
            stamp: self.stamp,
        };
        let hash = Some(hash_group(size, 0, &self.content));
        let mut writer = link.opener().open(&header, 0).await.unwrap();
        for piece in [
            Piece::Group(0),
            Piece::Data(self.content.clone()),
            Piece::GroupEnd(hash),
            Piece::End(hash),
        ] {
            writer.write(piece).await.unwrap();
        }
    }
}

async fn until(link: &mut QuicOutbound, wanted: &ReceiverMessage) {
    let found = async { while link.recv().await.unwrap() != *wanted {} };
    let found = tokio::time::timeout(DEADLINE, found).await;
    found.unwrap_or_else(|_| panic!("no {wanted:?}"));
}

/// What comes of showing this ticket and asking for the only group of a file.
pub(crate) async fn ask(
    connection: &PeerConnection,
    (member, ticket): (TransferId, Ticket),
    stamp: Stamp,
) -> Result<PullAnswer, LinkError> {
    let mut pull = connection.pull(PullHead { member, ticket }).await.unwrap();
    let (id, group) = (0, 0);
    // It may have been turned away by now.
    let _ = pull.send(Pull::Want { id, stamp, group }).await;
    let answer = tokio::time::timeout(DEADLINE, pull.recv()).await;
    answer.expect("an answer")
}

/// What [`ask`] gives to whoever has no right to it.
pub(crate) const REFUSED: Result<PullAnswer, LinkError> =
    Err(LinkError::Closed(Code::UnknownTransfer));
