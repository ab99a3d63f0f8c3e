//! A peer made of raw QUIC streams and frames, which keeps no rule but those it is told to.

use std::sync::Arc;
use std::time::Duration;

use peerconnect::identity::Identity;
use peerconnect::protocol::frame;
use peerconnect::protocol::groups::{self, GROUP_LEN};
use peerconnect::protocol::message::{
    ConnectionMessage, END_OF_FILE, Entry, EntryKind, FileHeader, Hello, OfferHead, Opening,
    PlanAction, Receipt, ReceiverMessage, SenderMessage, Stamp, Timestamp, TransferId,
};
use peerconnect::protocol::words::commitment;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::common::DEADLINE;

pub const OFFENCE: u32 = 1;
pub const UNKNOWN_TRANSFER: u32 = 2;

/// A connection whose key is proven, and perhaps nothing more.
pub struct Peer {
    pub quic: quinn::Connection,
    pub identity: Identity,
    _endpoint: quinn::Endpoint,
}

/// A bidirectional stream of frames.
pub struct Frames {
    pub send: quinn::SendStream,
    pub recv: quinn::RecvStream,
    buf: Vec<u8>,
}

pub fn hello() -> Hello {
    Hello {
        name: "mallory\u{1b}[2J".into(),
        version: "9".into(),
        observed: None,
        commitment: commitment(&[7; 16]),
    }
}

impl Peer {
    /// Proves a new key and says nothing.
    pub async fn dial(addr: &str) -> Self {
        Self::dial_as(addr, Identity::generate().unwrap()).await
    }

    pub async fn dial_as(addr: &str, identity: Identity) -> Self {
        Self::dial_with(addr, identity, quinn::TransportConfig::default()).await
    }

    pub async fn dial_with(
        addr: &str,
        identity: Identity,
        mut transport: quinn::TransportConfig,
    ) -> Self {
        let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let tls = identity.client_config(None).unwrap();
        let mut config = quinn::ClientConfig::new(tls.crypto.clone());
        transport.keep_alive_interval(Some(Duration::from_secs(2)));
        config.transport_config(Arc::new(transport));
        let quic = endpoint
            .connect_with(config, addr.parse().unwrap(), &tls.server_name)
            .unwrap()
            .await
            .unwrap();
        Self {
            quic,
            identity,
            _endpoint: endpoint,
        }
    }

    /// Proves a new key and greets as a good peer does.
    pub async fn call(addr: &str) -> Self {
        let peer = Self::dial(addr).await;
        peer.greet().await;
        peer
    }

    pub async fn call_as(addr: &str, identity: Identity) -> Self {
        let peer = Self::dial_as(addr, identity).await;
        peer.greet().await;
        peer
    }

    pub async fn greet(&self) {
        let mut stream = self.stream().await;
        stream.say(&Opening::Connection(hello())).await;
        let _: ConnectionMessage = stream.hear().await;
        stream
            .say(&ConnectionMessage::Reveal { nonce: [7; 16] })
            .await;
        stream.send.finish().unwrap();
    }

    pub async fn stream(&self) -> Frames {
        let (send, recv) = self.quic.open_bi().await.unwrap();
        Frames::new(send, recv)
    }

    /// Opens a control stream for `head`.
    pub async fn offer(&self, head: OfferHead) -> Frames {
        let mut stream = self.stream().await;
        stream.say(&Opening::Transfer(head)).await;
        stream
    }

    /// Offers these entries as a good sender does, up to the question.
    pub async fn offer_all(&self, transfer: TransferId, entries: &[Entry]) -> Frames {
        let mut stream = self.offer(head_of(transfer, entries)).await;
        let known: ReceiverMessage = stream.hear().await;
        assert_eq!(known, ReceiverMessage::Known { entries: 0 });
        stream.list(entries).await;
        stream
    }

    /// Sends a whole file on a stream of its own.
    pub async fn file(&self, transfer: TransferId, index: u32, content: &[u8]) {
        let mut send = self.quic.open_uni().await.unwrap();
        let bytes = file_bytes(transfer, index, content);
        let _ = send.write_all(&bytes).await;
        let _ = send.finish();
    }

    /// A stream with these bytes and nothing after them.
    pub async fn uni(&self, bytes: &[u8]) -> quinn::SendStream {
        let mut send = self.quic.open_uni().await.unwrap();
        let _ = send.write_all(bytes).await;
        send
    }

    /// The code and text with which the node closed the connection.
    pub async fn closed(&self) -> (u32, String) {
        let error = tokio::time::timeout(DEADLINE, self.quic.closed()).await;
        match error.expect("the connection stays open") {
            quinn::ConnectionError::ApplicationClosed(close) => (
                u64::from(close.error_code) as u32,
                String::from_utf8_lossy(&close.reason).into_owned(),
            ),
            other => panic!("not closed by the program: {other}"),
        }
    }
}

impl Frames {
    pub fn new(send: quinn::SendStream, recv: quinn::RecvStream) -> Self {
        let buf = Vec::new();
        Self { send, recv, buf }
    }

    pub async fn say<M: Serialize>(&mut self, message: &M) {
        self.raw(&frame::encode(message).unwrap()).await;
    }

    /// Errors do not matter: the node may have had enough already.
    pub async fn raw(&mut self, bytes: &[u8]) {
        let _ = self.send.write_all(bytes).await;
    }

    pub async fn try_hear<M: DeserializeOwned>(&mut self) -> Option<M> {
        loop {
            if let Some((message, len)) = frame::decode(&self.buf).unwrap() {
                self.buf.drain(..len);
                return Some(message);
            }
            let read = tokio::time::timeout(DEADLINE, self.recv.read_chunk(65536, true)).await;
            match read.expect("nothing comes") {
                Ok(Some(chunk)) => self.buf.extend_from_slice(&chunk.bytes),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    pub async fn hear<M: DeserializeOwned>(&mut self) -> M {
        self.try_hear().await.expect("the stream ended")
    }

    /// Reads on until a message fits.
    pub async fn until(&mut self, fits: impl Fn(&ReceiverMessage) -> bool) -> ReceiverMessage {
        loop {
            let message = self.hear().await;
            if fits(&message) {
                return message;
            }
        }
    }

    pub async fn list(&mut self, entries: &[Entry]) {
        for page in entries.chunks(100) {
            self.say(&SenderMessage::Entries(page.to_vec())).await;
        }
        let entries = entries.len() as u32;
        self.say(&SenderMessage::EntriesEnd { entries }).await;
    }

    /// Reads on until entries are settled.
    pub async fn settled(&mut self) -> Vec<Receipt> {
        match self
            .until(|m| matches!(m, ReceiverMessage::Settled(_)))
            .await
        {
            ReceiverMessage::Settled(receipts) => receipts,
            other => panic!("{other:?}"),
        }
    }

    /// Ends the transfer as a good sender does.
    pub async fn finish(&mut self, entries: u32) {
        self.say(&SenderMessage::Finish { entries }).await;
        self.until(|m| matches!(m, ReceiverMessage::Complete)).await;
    }

    /// Reads until the plan covers `entries`; gives those that shall be sent.
    pub async fn plan(&mut self, entries: u32) -> Vec<u32> {
        let (mut at, mut wanted) = (0, Vec::new());
        loop {
            match self.hear().await {
                ReceiverMessage::Plan(runs) => {
                    for run in runs {
                        if run.action == PlanAction::Send {
                            wanted.extend(at..at + run.count);
                        }
                        at += run.count;
                    }
                }
                ReceiverMessage::Start { entries: all } if all == entries => return wanted,
                _ => {}
            }
        }
    }

    /// Why the node gave this stream up.
    pub async fn reset_code(&mut self) -> u32 {
        loop {
            match tokio::time::timeout(DEADLINE, self.recv.read_chunk(65536, true)).await {
                Ok(Ok(Some(_))) => {}
                Ok(Err(quinn::ReadError::Reset(code))) => return u64::from(code) as u32,
                other => panic!("not reset: {other:?}"),
            }
        }
    }
}

pub fn id(seed: u8) -> TransferId {
    TransferId([seed; 16])
}

pub fn file(path: &str, size: u64) -> Entry {
    let kind = EntryKind::File {
        size,
        modified: Timestamp(1),
        executable: true,
    };
    entry(path, kind)
}

pub fn folder(path: &str) -> Entry {
    let modified = Timestamp(1);
    entry(path, EntryKind::Folder { modified })
}

pub fn link(path: &str, target: &str) -> Entry {
    let target = target.into();
    entry(path, EntryKind::Symlink { target })
}

fn entry(path: &str, kind: EntryKind) -> Entry {
    let path = path.into();
    Entry { path, kind }
}

pub fn head_of(transfer: TransferId, entries: &[Entry]) -> OfferHead {
    let mut digest = blake3::Hasher::new();
    let mut bytes = 0u64;
    for entry in entries {
        digest.update(&postcard::to_stdvec(entry).unwrap());
        if let EntryKind::File { size, .. } = entry.kind {
            bytes = bytes.saturating_add(size);
        }
    }
    OfferHead {
        transfer,
        entries: entries.len() as u32,
        bytes,
        digest: *digest.finalize().as_bytes(),
    }
}

pub fn header(transfer: TransferId, index: u32, size: u64) -> FileHeader {
    FileHeader {
        transfer,
        index,
        size,
        modified: Timestamp(1),
        stamp: Stamp([1; 16]),
    }
}

/// A file's stream as a good sender makes it.
pub fn file_bytes(transfer: TransferId, index: u32, content: &[u8]) -> Vec<u8> {
    let size = content.len() as u64;
    let mut out = frame::encode(&header(transfer, index, size)).unwrap();
    let mut hashes = Vec::new();
    for group in 0..groups::group_count(size) {
        let at = (u64::from(group) * GROUP_LEN) as usize;
        let part = &content[at..at + groups::group_len(size, group) as usize];
        let hash = groups::hash_group(size, group, part);
        out.extend_from_slice(&group.to_be_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(&hash);
        hashes.push(hash);
    }
    out.extend_from_slice(&END_OF_FILE.to_be_bytes());
    out.extend_from_slice(&groups::file_hash(size, &hashes).unwrap());
    out
}
