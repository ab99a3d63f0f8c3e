//! Peers that reach each other over TCP, because UDP does not get through.

use std::sync::{Arc, Mutex};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::identity::server_name;
use crate::net::admission::HANDSHAKES_PER_ADDR_MAX;
use crate::net::tcp::{LegacyArrival, LegacyListener, Trees, dial, send_text};
use crate::net::tls::call;
use crate::protocol::legacy::LegacyId;
use crate::protocol::tcp::{ALPN_TCP, ANSWER, FRAME_LEN_MAX, KNOCK};

/// What leads to a node by TCP alone.
struct Pipe {
    addr: SocketAddr,
    through: Arc<Mutex<JoinSet<()>>>,
    _task: JoinSet<()>,
    /// Takes what comes by UDP, and says nothing.
    _deaf: Option<std::net::UdpSocket>,
}

/// What comes of UDP at a pipe.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Udp {
    Refused,
    Dropped,
}

impl Pipe {
    async fn to(node: &Node, udp: Udp) -> Self {
        let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let deaf = (udp == Udp::Dropped).then(|| std::net::UdpSocket::bind(addr).unwrap());
        let through = Arc::<Mutex<JoinSet<()>>>::default();
        let (to, pipes) = (node.addr(), through.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                pipes.lock().unwrap().spawn(async move {
                    let mut far = TcpStream::connect(to).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self {
            addr,
            through,
            _task: task,
            _deaf: deaf,
        }
    }

    fn dial(&self, to: &Node) -> Dial {
        Dial {
            expect: Some(to.id()),
            addrs: vec![self.addr],
            relays: Vec::new(),
        }
    }

    /// Every TCP connection through it breaks.
    fn cut(&self) {
        self.through.lock().unwrap().abort_all();
    }
}

/// Two nodes that are connected over TCP.
async fn connected(udp: Udp) -> (Node, Node, Pipe, PeerConnection, PeerConnection) {
    let (a, mut b) = Node::two().await;
    let pipe = Pipe::to(&b, udp).await;
    let connected = a.connector.prepare_connection(pipe.dial(&b), SOON).await;
    let at_a = connected.unwrap();
    let at_b = b.connected().await;
    (a, b, pipe, at_a, at_b)
}

/// Sends a file over the connection that there is.
async fn exchange(from: &PeerConnection, to: &mut Node, size: u64) {
    let outbound = from.offer(head(1)).await.unwrap();
    let offered = async {
        loop {
            // An earlier connection may have ended.
            if let Arrival::Transfer { link, .. } = to.arrival().await {
                return link;
            }
        }
    };
    let mut inbound = tokio::time::timeout(SOON, offered).await.unwrap();
    inbound.consent();
    let bytes = content(size);
    let writer = outbound.opener().open(&header(0, size), 0).await.unwrap();
    let sent = send_file(writer, bytes.clone(), 100_000);
    let received = async {
        let (_, reader) = next_file(&mut inbound).await;
        receive_file(reader, size).await.0
    };
    let ((), received) = tokio::join!(sent, received);
    assert!(received == bytes);
}

async fn until(what: &str, so: impl Fn() -> bool) {
    let reached = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let reached = tokio::time::timeout(SOON, reached).await;
    assert!(reached.is_ok(), "{what}: waited in vain");
}

async fn ends(connection: &PeerConnection) -> LinkError {
    let ended = tokio::time::timeout(SOON, connection.closed()).await;
    ended.expect("it ends")
}

#[tokio::test]
async fn where_udp_does_not_get_through_the_peer_is_reached_by_tcp_and_files_go_both_ways() {
    for udp in [Udp::Refused, Udp::Dropped] {
        let (mut a, mut b, pipe, at_a, at_b) = connected(udp).await;
        assert_eq!((at_a.id(), at_b.id()), (b.id(), a.id()));
        assert_eq!(at_a.words(), at_b.words());
        exchange(&at_a, &mut b, 3_000_000).await;
        exchange(&at_b, &mut a, 3_000_000).await;
        let path = at_a.path();
        assert_eq!((path.kind, path.addr), (PathKind::Tcp, Some(pipe.addr)));
        assert_eq!(at_b.path().kind, PathKind::Tcp);
        // Where a caller comes from nobody can be called.
        assert_eq!(at_a.remote_addr(), Some(pipe.addr));
        assert_eq!((at_b.remote_addr(), at_b.relay()), (None, None));
        assert_eq!(at_b.remote_ip(), Some(LOCALHOST));
        at_a.close(Code::Done);
        assert_eq!(ends(&at_b).await, LinkError::Closed(Code::Done));
    }
}

#[tokio::test]
async fn who_is_called_by_address_alone_is_reached_too() {
    let (a, b) = Node::two().await;
    let pipe = Pipe::to(&b, Udp::Refused).await;
    let dial = Dial {
        expect: None,
        ..pipe.dial(&b)
    };
    let connected = a.connector.prepare_connection(dial, SOON).await.unwrap();
    assert_eq!(
        (connected.id(), connected.path().kind),
        (b.id(), PathKind::Tcp)
    );
}

#[tokio::test]
async fn udp_is_taken_as_soon_as_it_gets_through_and_tcp_may_end_then() {
    let (_a, mut b, pipe, at_a, at_b) = connected(Udp::Refused).await;
    // Until now nobody knew where b is by UDP.
    at_b.tell_addrs();
    for connection in [&at_a, &at_b] {
        until("the direct way", || {
            connection.path().kind == PathKind::Direct
        })
        .await;
    }
    assert_eq!(at_a.remote_addr(), Some(b.addr()));
    pipe.cut();
    exchange(&at_a, &mut b, 1_000_000).await;
    assert!(!at_a.is_closed() && !at_b.is_closed());
}

#[tokio::test]
async fn a_connection_ends_with_its_tcp_and_can_be_made_anew() {
    let (a, mut b, pipe, at_a, at_b) = connected(Udp::Refused).await;
    pipe.cut();
    for connection in [&at_a, &at_b] {
        let cut = LinkError::Lost("the TCP connection has ended".into());
        assert_eq!(ends(connection).await, cut);
    }
    let again = a.connector.prepare_connection(pipe.dial(&b), SOON).await;
    exchange(&again.unwrap(), &mut b, 100_000).await;
}

#[tokio::test]
async fn another_peer_is_told_nothing_over_tcp_either() {
    let (a, mut b) = Node::two().await;
    let pipe = Pipe::to(&b, Udp::Refused).await;
    let expect = Some(Identity::generate().unwrap().id());
    let called = call(&a.connector.shared, pipe.addr, expect).await;
    let wrong = ConnectError::WrongPeer { got: b.id() };
    assert_eq!(called.err(), Some(wrong));
    let dial = Dial {
        expect,
        ..pipe.dial(&b)
    };
    let short = Duration::from_secs(1);
    let dialled = a.connector.prepare_connection(dial, short).await;
    assert!(dialled.is_err());
    assert!(b.arrivals.try_recv().is_err(), "b saw no peer");
}

#[tokio::test]
async fn who_is_blocked_gets_nowhere_by_tcp() {
    let (a, mut b) = Node::two().await;
    b.connector.set_blocked([a.id()].into());
    let pipe = Pipe::to(&b, Udp::Refused).await;
    let short = Duration::from_secs(1);
    let error = a.connector.prepare_connection(pipe.dial(&b), short).await;
    assert!(error.is_err());
    assert!(raw_tls(&a.identity, &b).await.is_err());
    assert!(b.arrivals.try_recv().is_err(), "b saw no peer");
}

/// Somebody proves one key in TLS and another one in QUIC.
#[tokio::test]
async fn the_key_inside_must_be_the_one_outside() {
    let (a, mut b) = Node::two().await;
    let other = Identity::generate().unwrap();
    for (identity, is_let_in) in [(&other, false), (&a.identity, true)] {
        let shared = &a.connector.shared;
        let (route, _) = call(shared, b.addr(), Some(b.id())).await.unwrap();
        let tls = identity.client_config(Some(b.id())).unwrap();
        let config = quinn::ClientConfig::new(tls.crypto);
        let connecting = shared
            .endpoint
            .connect_with(config, route.addr(), &tls.server_name);
        let quic = connecting.unwrap().await.unwrap();
        let (mut send, mut recv) = quic.open_bi().await.unwrap();
        send.write_all(&raw_hello(&[1; 16])).await.unwrap();
        let answered = recv.read(&mut [0; 1]).await;
        assert_eq!(answered.is_ok(), is_let_in);
    }
    assert!(b.arrivals.try_recv().is_err(), "b saw no peer");
}

/// A TCP connection of an attacker on which it has proven its key.
async fn raw_tls(identity: &Identity, to: &Node) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to.addr()).await?;
    let (config, _) = identity.tls_client(Some(to.id()), &[ALPN_TCP]).unwrap();
    let name = ServerName::try_from(server_name(Some(to.id()))).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    // The first frame comes at once where it is let in.
    stream.read_exact(&mut [0; 2]).await?;
    Ok(stream)
}

async fn until_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let ended = async { while stream.read(&mut [0; 64]).await.is_ok_and(|len| len > 0) {} };
    let ended = tokio::time::timeout(SOON, ended).await;
    assert!(ended.is_ok(), "the connection is still there");
}

#[tokio::test]
async fn so_many_of_one_address_may_be_about_to_say_something() {
    let (a, b) = Node::two().await;
    let mut silent = Vec::new();
    for _ in 0..HANDSHAKES_PER_ADDR_MAX {
        silent.push(TcpStream::connect(b.addr()).await.unwrap());
    }
    assert!(raw_tls(&a.identity, &b).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_never_says_anything_makes_room_for_others() {
    let (a, b) = Node::two().await;
    let began = tokio::time::Instant::now();
    // The last ones begin with TLS and do not go on.
    for said in [&[][..], &[0], &KNOCK, &[22]] {
        let mut silent = Vec::new();
        for _ in 0..HANDSHAKES_PER_ADDR_MAX {
            let mut stream = TcpStream::connect(b.addr()).await.unwrap();
            stream.write_all(said).await.unwrap();
            silent.push(stream);
        }
        for mut stream in silent {
            until_end(&mut stream).await;
        }
    }
    // Of the time that stands still otherwise.
    assert!(began.elapsed() < Duration::from_secs(60));
    raw_tls(&a.identity, &b).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_proves_a_key_and_makes_no_connection_is_sent_away() {
    let (a, b) = Node::two().await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS_PER_PEER_MAX {
        streams.push(raw_tls(&a.identity, &b).await.unwrap());
    }
    assert!(raw_tls(&a.identity, &b).await.is_err(), "one too many");
    let other = Identity::generate().unwrap();
    raw_tls(&other, &b).await.unwrap();
    let began = tokio::time::Instant::now();
    for stream in &mut streams {
        until_end(stream).await;
    }
    assert!(began.elapsed() < Duration::from_secs(60));
    raw_tls(&a.identity, &b).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn garbage_ends_a_tcp_connection_and_nothing_else() {
    let (a, b) = Node::two().await;
    let began = tokio::time::Instant::now();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[22; 100], &[0; 100]] {
        let mut stream = TcpStream::connect(b.addr()).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        until_end(&mut stream).await;
    }
    let long = u16::try_from(FRAME_LEN_MAX + 1).unwrap().to_be_bytes();
    for frame in [&long[..], &[0, 2, 0, 1]] {
        let mut stream = raw_tls(&a.identity, &b).await.unwrap();
        stream.write_all(frame).await.unwrap();
        until_end(&mut stream).await;
    }
    // At once, not when it has been silent for long.
    assert!(began.elapsed() < Duration::from_secs(5));
    a.connect(&b).await;
}

#[tokio::test]
async fn originals_are_served_at_the_same_port_and_only_if_they_are_wanted() {
    let (a, b) = Node::two().await;
    let us = LegacyId::DEFAULT_PROFILE;
    let mut unwanted = dial(b.addr()).await.unwrap();
    unwanted.write_all(&[0, 0, 0, 9, 1]).await.unwrap();
    until_end(&mut unwanted).await;
    let other_port = b.net.local_port() ^ 1;
    assert!(b.net.plain_callers(other_port).is_none());
    let callers = b.net.plain_callers(b.net.local_port()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (listener, mut arrivals) =
        LegacyListener::share(callers, dir.path().into(), Trees::default());
    assert_eq!(listener.port(), b.net.local_port());
    let stream = dial(b.addr()).await.unwrap();
    let sent = tokio::spawn(send_text(stream, us, "hello"));
    let arrival = tokio::time::timeout(SOON, arrivals.recv()).await;
    match arrival.unwrap().unwrap() {
        LegacyArrival::Text(text) => assert_eq!(text.peer().id, us),
        LegacyArrival::Transfer(_) => panic!("a text was sent"),
    }
    sent.abort();
    // A peer with a key is served as before.
    let pipe = Pipe::to(&b, Udp::Refused).await;
    let connected = a.connector.prepare_connection(pipe.dial(&b), SOON).await;
    assert_eq!(connected.unwrap().path().kind, PathKind::Tcp);
}

#[tokio::test]
async fn tls_is_never_spoken_to_who_does_not_answer_a_knock() {
    let a = Node::new("a").await;
    // As an original: it waits for more, or closes.
    let original = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let addr = original.local_addr().unwrap();
    let dial = Dial {
        expect: Some(Identity::generate().unwrap().id()),
        addrs: vec![addr],
        relays: Vec::new(),
    };
    let calls = a.connector.prepare_connection(dial, Duration::from_secs(5));
    let heard = async {
        let (mut stream, _) = original.accept().await.unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await.unwrap();
        said
    };
    let (called, said) = tokio::join!(calls, heard);
    assert!(called.is_err());
    assert_eq!(said, KNOCK);
}

#[tokio::test]
async fn a_knock_is_answered_and_who_only_knocks_is_let_go() {
    let b = Node::new("b").await;
    let mut stream = TcpStream::connect(b.addr()).await.unwrap();
    stream.write_all(&KNOCK).await.unwrap();
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, ANSWER);
    stream.shutdown().await.unwrap();
    until_end(&mut stream).await;
}

#[tokio::test]
async fn the_end_of_the_program_is_heard_over_tcp() {
    let (a, b, _pipe, at_a, _at_b) = connected(Udp::Refused).await;
    b.net.shutdown().await;
    assert_eq!(ends(&at_a).await, LinkError::Closed(Code::Done));
    drop(a);
}
