//! A sender of the original's kind, byte by byte.

use std::net::SocketAddr;
use std::time::Duration;

use peerconnect::protocol::legacy::LegacyId;
use peerconnect::protocol::legacy::stream::{DirectoryStep, FileItem, FileStep, Opening, Place};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::{DEADLINE, Site};

/// A connection to a node.
pub struct Raw(pub TcpStream);

impl Raw {
    pub async fn connect(site: &Site) -> Self {
        Self(TcpStream::connect(legacy_addr(site)).await.unwrap())
    }

    /// Connects and says what for.
    pub async fn open(site: &Site, opening: Opening) -> Self {
        let mut raw = Self::connect(site).await;
        raw.say(&opening.encode().unwrap()).await;
        raw
    }

    /// A transfer of files that was accepted.
    pub async fn files(site: &Site) -> Self {
        let mut raw = Self::open(site, files()).await;
        assert_eq!(raw.byte().await, Some(1));
        raw
    }

    /// A transfer of a folder that was accepted.
    pub async fn folder(site: &Site, name: &str) -> Self {
        let mut raw = Self::open(site, folder(name)).await;
        assert_eq!(raw.byte().await, Some(1));
        raw
    }

    /// Writes; that nobody reads any more is no error here.
    pub async fn say(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
    }

    /// Nothing more is said.
    pub async fn no_more(&mut self) {
        let _ = self.0.shutdown().await;
    }

    pub async fn file(&mut self, name: &str, content: &[u8]) {
        self.say(&head(name, content.len() as u64, 0)).await;
        self.say(content).await;
    }

    /// The next byte; `None` at the end, however it comes.
    pub async fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        let read = tokio::time::timeout(DEADLINE, self.0.read(&mut byte)).await;
        match read.expect("waited in vain for a byte") {
            Ok(1) => Some(byte[0]),
            _ => None,
        }
    }

    /// Whether nothing comes for a moment.
    pub async fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        let read = self.0.read(&mut byte);
        tokio::time::timeout(Duration::from_millis(100), read)
            .await
            .is_err()
    }
}

pub fn legacy_addr(site: &Site) -> SocketAddr {
    let legacy = site.handle.overview().borrow().me.legacy.clone().unwrap();
    SocketAddr::from(([127, 0, 0, 1], legacy.port))
}

pub fn files() -> Opening {
    Opening::Files {
        file_id: "0".into(),
        sender: LegacyId::DEFAULT_PROFILE,
    }
}

pub fn folder(name: &str) -> Opening {
    Opening::Directory {
        transfer_id: "0".into(),
        name: name.into(),
        sender: LegacyId::DEFAULT_PROFILE,
    }
}

pub fn head(name: &str, size: u64, seeked: u64) -> Vec<u8> {
    let step = FileStep::File(FileItem {
        name: name.into(),
        size,
        seeked,
    });
    step.encode().unwrap()
}

pub fn end() -> Vec<u8> {
    FileStep::End.encode().unwrap()
}

pub fn place(parent: &str, name: &str) -> Place {
    Place {
        parent: parent.into(),
        name: name.into(),
    }
}

pub fn folder_file(parent: &str, name: &str, content: &[u8]) -> Vec<u8> {
    let step = DirectoryStep::File(place(parent, name), content.len() as u64);
    [&step.encode().unwrap(), content].concat()
}

pub fn folder_in(parent: &str, name: &str) -> Vec<u8> {
    DirectoryStep::Folder(place(parent, name)).encode().unwrap()
}
