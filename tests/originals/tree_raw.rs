//! Peers of an original's tree, byte by byte: a root, and a child.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use peerconnect::protocol::legacy::LegacyId;
use peerconnect::protocol::legacy::otm::{
    Adjacent, Control, Inform, InformAnswer, LINK_OK, Metadata, Neighbour, StreamLink,
};
use peerconnect::protocol::legacy::stream::{FileItem, Opening};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::common::{DEADLINE, Site};

pub const SESSION: &str = "5bd1e995-0000-4000-8000-000000000001";

pub fn id(n: u8) -> LegacyId {
    LegacyId::from_short(&[n; 20]).unwrap()
}

pub fn req_addr(site: &Site) -> SocketAddr {
    let legacy = site.handle.overview().borrow().me.legacy.clone().unwrap();
    (Ipv4Addr::LOCALHOST, legacy.req_port).into()
}

pub fn inform() -> Inform {
    Inform {
        root: id(1),
        protocols: ["test".into(), "test".into()],
        session: SESSION.into(),
        key: "the key of the session".into(),
        fanout: 5,
        link_wait_timeout: 3,
        adjacent: Adjacent::Text(vec![]),
        file_count: 1,
        chunk_size: 262_144,
    }
}

pub fn metadata(files: &[(&str, u64)]) -> Vec<u8> {
    let item = |(name, size): &(&str, u64)| FileItem {
        name: (*name).into(),
        size: *size,
        seeked: 0,
    };
    Metadata(files.iter().map(item).collect()).encode().unwrap()
}

pub async fn udp() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

pub async fn say(socket: &UdpSocket, to: SocketAddr, control: &Control) {
    socket
        .send_to(&control.encode().unwrap(), to)
        .await
        .unwrap();
}

/// The next control message that is wanted.
pub async fn hear<T>(socket: &UdpSocket, wanted: impl Fn(Control) -> Option<T>) -> T {
    let mut buffer = vec![0; 65_536];
    let heard = async {
        loop {
            let (len, _) = socket.recv_from(&mut buffer).await.unwrap();
            if let Some(found) = wanted(Control::decode(&buffer[..len]).unwrap()) {
                return found;
            }
        }
    };
    let heard = tokio::time::timeout(DEADLINE, heard).await;
    heard.expect("waited in vain for a datagram")
}

/// Whether nothing comes for a moment.
pub async fn is_silent(socket: &UdpSocket) -> bool {
    let mut buffer = [0; 2048];
    let came = tokio::time::timeout(Duration::from_millis(300), socket.recv_from(&mut buffer));
    came.await.is_err()
}

/// A root whose only neighbour is our node, which may have others.
pub struct RawRoot {
    pub udp: UdpSocket,
    pub answer: InformAnswer,
}

impl RawRoot {
    pub async fn inform(site: &Site) -> Self {
        let udp = udp().await;
        say(&udp, req_addr(site), &Control::Inform(inform())).await;
        let answer = hear(&udp, |control| match control {
            Control::InformAnswer(answer) => Some(answer),
            _ => None,
        });
        let answer = answer.await;
        assert_eq!(answer.key, inform().key);
        Self { udp, answer }
    }

    fn neighbour(&self) -> Neighbour {
        let addr = self.udp.local_addr().unwrap();
        Neighbour {
            peer: id(1),
            passive: addr,
            active: addr,
        }
    }

    /// Tells the node its neighbours, and becomes its parent.
    pub async fn link(&self, mut others: Vec<Neighbour>) -> TcpStream {
        others.insert(0, self.neighbour());
        say(&self.udp, self.answer.passive, &Control::State(others)).await;
        let check = Control::TreeCheck {
            sender: id(1),
            message: "message".into(),
            session: SESSION.into(),
        };
        say(&self.udp, self.answer.passive, &check).await;
        hear(&self.udp, |control| {
            matches!(control, Control::Upgrade(_)).then_some(())
        })
        .await;
        let mut stream = self.open(id(1), SESSION).await;
        let mut ok = [0; LINK_OK.len()];
        stream.read_exact(&mut ok).await.unwrap();
        assert_eq!(ok, LINK_OK);
        stream
    }

    /// Says that it is the parent.
    pub async fn open(&self, parent: LegacyId, session: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.answer.active).await.unwrap();
        let link = Opening::OtmLink(StreamLink {
            parent,
            session: session.into(),
            passive: self.udp.local_addr().unwrap(),
        });
        stream.write_all(&link.encode().unwrap()).await.unwrap();
        stream
    }
}

/// A child that our node may feed.
pub struct RawChild {
    pub udp: UdpSocket,
    listener: TcpListener,
    id: LegacyId,
}

impl RawChild {
    pub async fn new(n: u8) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        Self {
            udp: udp().await,
            listener,
            id: id(n),
        }
    }

    pub fn neighbour(&self) -> Neighbour {
        Neighbour {
            peer: self.id,
            passive: self.udp.local_addr().unwrap(),
            active: self.listener.local_addr().unwrap(),
        }
    }

    /// Takes the node as its parent.
    pub async fn link(&self, parent: SocketAddr) -> TcpStream {
        hear(&self.udp, |control| {
            matches!(control, Control::TreeCheck { .. }).then_some(())
        })
        .await;
        say(&self.udp, parent, &Control::Upgrade(self.id)).await;
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).await.unwrap();
        let mut opening = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut opening).await.unwrap();
        assert!(matches!(
            Opening::decode_payload(&opening).unwrap(),
            Opening::OtmLink(StreamLink { session, .. }) if session == SESSION
        ));
        stream.write_all(&LINK_OK).await.unwrap();
        stream
    }
}

/// Everything until the end, however it comes.
pub async fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut all)).await;
    let _ = read.expect("waited in vain for the end");
    all
}
