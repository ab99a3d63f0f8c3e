#![allow(clippy::wildcard_enum_match_arm)]

use super::*;
use crate::config::Paths;
use crate::node::api::{Me, Presence};
use crate::peer::PeerId;
use crate::protocol::message::TransferId;
use crate::transfer::status::FileQuery;

fn picture(name: &str) -> Overview {
    Overview {
        me: Me {
            id: PeerId::from_bytes([7; 32]),
            name: name.into(),
            link: "peerconnect:x".into(),
            addrs: vec!["127.0.0.1:1".into()],
            folder: "/srv".into(),
            rate_limit: None,
            pid: 1,
            relays: Vec::new(),
            router_port: crate::net::RouterPort::Off,
            takes_tcp: true,
            dht: crate::net::DhtStanding::Off,
            legacy: None,
        },
        peers: Arc::new([]),
        groups: Arc::new([]),
        nearby: Arc::new([]),
        presence: Presence::Off,
        listens_since: std::time::SystemTime::UNIX_EPOCH,
        transfers: Arc::new([]),
        sessions: Arc::new([]),
        texts: Arc::new([]),
        multicast: None,
        passing_on: 0,
        codes: Arc::new([]),
        notices: Arc::new([]),
        chosen: Arc::default(),
    }
}

/// A node that repeats the transfer of a `Files` command in its refusal, and takes its time for
/// nothing.
struct FakeNode {
    paths: Paths,
    handle: NodeHandle,
    pictures: watch::Sender<Arc<Overview>>,
    _folder: tempfile::TempDir,
    tasks: JoinSet<()>,
    /// What was said about what is expected.
    expected: mpsc::Receiver<Command>,
}

fn start() -> FakeNode {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::below(folder.path());
    let (handle, mut requests, pictures) = NodeHandle::new(picture("first"));
    let mut tasks = JoinSet::new();
    let (expects, expected) = mpsc::channel(8);
    tasks.spawn(async move {
        while let Some((command, reply)) = requests.recv().await {
            if let Command::Expect(_) | Command::ExpectNoMore(_) = command {
                expects.try_send(command.clone()).unwrap();
            }
            let result = match command {
                Command::Files { transfer, .. } => Err(Fault::NotFound {
                    what: transfer.to_string(),
                }),
                _ => Ok(Reply::Done),
            };
            let _ = reply.send(result);
        }
    });
    tasks.spawn(serve(bind(&paths).unwrap(), handle.clone()));
    FakeNode {
        paths,
        handle,
        pictures,
        _folder: folder,
        tasks,
        expected,
    }
}

fn files_of(n: u8) -> Command {
    Command::Files {
        transfer: TransferId([n; 16]),
        query: FileQuery::Settled { from: 0 },
    }
}

#[tokio::test]
async fn a_handle_behind_the_socket_works_like_one_in_the_process() {
    let node = start();
    let client = connect(&node.paths).await.unwrap().unwrap();
    let mut overview = client.overview();
    assert_eq!(overview.borrow().me.name, "first");
    assert_eq!(client.call(Command::ClearFinished).await, Ok(Reply::Done));
    node.pictures.send_replace(Arc::new(picture("second")));
    overview
        .wait_for(|picture| picture.me.name == "second")
        .await
        .unwrap();
}

#[tokio::test]
async fn two_clients_get_their_own_replies_and_the_same_pictures() {
    let node = start();
    let one = connect(&node.paths).await.unwrap().unwrap();
    let two = connect(&node.paths).await.unwrap().unwrap();
    let mut calls = JoinSet::new();
    for n in 0..100 {
        let client = if n % 2 == 0 { one.clone() } else { two.clone() };
        calls.spawn(async move { (n, client.call(files_of(n)).await) });
    }
    while let Some(done) = calls.join_next().await {
        let (n, result) = done.unwrap();
        let what = TransferId([n; 16]).to_string();
        assert_eq!(result, Err(Fault::NotFound { what }));
    }
    node.pictures.send_replace(Arc::new(picture("both")));
    for client in [one, two] {
        let mut overview = client.overview();
        overview
            .wait_for(|picture| picture.me.name == "both")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn nothing_is_expected_any_more_when_the_client_that_waited_is_gone() {
    let mut node = start();
    let client = connect(&node.paths).await.unwrap().unwrap();
    let rule = ReceiveRule {
        accept_all: true,
        accept_unencrypted: false,
        folder: "/srv".into(),
        on_conflict: crate::config::ConflictPolicy::Rename,
        pass_on: true,
    };
    client.call(Command::Expect(rule.clone())).await.unwrap();
    assert_eq!(
        node.expected.recv().await,
        Some(Command::Expect(rule.clone()))
    );
    drop(client);
    let said = timeout(Duration::from_secs(20), node.expected.recv());
    let gone = Command::ExpectNoMore(rule);
    assert_eq!(said.await.expect("nothing is said"), Some(gone));
}

#[tokio::test]
async fn a_client_that_does_not_read_delays_nobody() {
    let node = start();
    let stuck = UnixStream::connect(node.paths.control_socket())
        .await
        .unwrap();
    let (_kept_unread, to) = stuck.into_split();
    let mut to = FrameWriter(to);
    to.write(&ToNode::Hello {
        version: CONTROL_VERSION,
    })
    .await
    .unwrap();
    // More commands than replies fit into the socket: the last ones are not even read.
    let flood = async {
        for n in 0..200_000u64 {
            let command = files_of(n as u8);
            to.write(&ToNode::Command { id: n, command }).await.unwrap();
        }
    };
    let other = async {
        let client = connect(&node.paths).await.unwrap().unwrap();
        for n in 0..50 {
            node.pictures
                .send_replace(Arc::new(picture(&n.to_string())));
            client.call(files_of(1)).await.unwrap_err();
        }
        let mut overview = client.overview();
        overview
            .wait_for(|picture| picture.me.name == "49")
            .await
            .unwrap();
    };
    tokio::select! {
        biased;
        () = flood => panic!("the flood must come to a stop"),
        () = other => {}
    }
}

#[tokio::test]
async fn garbage_ends_only_the_connection_it_came_on() {
    let node = start();
    let hello = serde_json::to_vec(&ToNode::Hello {
        version: CONTROL_VERSION,
    })
    .unwrap();
    let framed = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    for garbage in [
        framed(b"nonsense"),
        vec![0xff; 64],
        framed(b"{\"Hello\":{\"version\":0}}"),
        [framed(&hello), framed(b"{\"Command\":{\"id\":1}}")].concat(),
        [framed(&hello), vec![0, 0, 1]].concat(),
    ] {
        let mut stream = UnixStream::connect(node.paths.control_socket())
            .await
            .unwrap();
        stream.write_all(&garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        // The server closes: that this ends is the assertion.
        let _ = stream.read_to_end(&mut rest).await;
    }
    let client = connect(&node.paths).await.unwrap().unwrap();
    assert_eq!(client.call(Command::ClearHistory).await, Ok(Reply::Done));
}

#[tokio::test]
async fn one_client_too_many_is_turned_away_and_told_why() {
    let node = start();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS_MAX {
        clients.push(connect(&node.paths).await.unwrap().unwrap());
    }
    let error = connect(&node.paths).await.unwrap_err();
    assert!(error.to_string().contains("too many"), "{error}");
    clients.pop();
    // The place is free as soon as the server has seen the end.
    while connect(&node.paths).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_end_of_the_node_ends_its_faces_and_removes_the_socket() {
    let mut node = start();
    let client = connect(&node.paths).await.unwrap().unwrap();
    let mut overview = client.overview();
    drop(node.pictures);
    while overview.changed().await.is_ok() {}
    let fault = client.call(Command::ClearFinished).await.unwrap_err();
    assert_eq!(fault.slug(), "internal");
    drop(node.handle);
    node.tasks.abort_all();
    while node.tasks.join_next().await.is_some() {}
    assert!(!node.paths.control_socket().exists());
    assert!(connect(&node.paths).await.unwrap().is_none());
}

#[tokio::test]
async fn who_ends_while_somebody_calls_counts_as_gone() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::below(folder.path());
    for accepts in [false, true] {
        let socket = paths.control_socket();
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let called = connect(&paths);
        tokio::pin!(called);
        // It is connected, and waits for a word.
        let waits = timeout(Duration::from_millis(50), &mut called).await;
        assert!(waits.is_err());
        if accepts {
            use std::io::Write;
            let (mut accepted, _) = listener.accept().unwrap();
            accepted.write_all(&[0, 0, 1]).unwrap();
        }
        drop(listener);
        assert!(called.await.unwrap().is_none(), "{accepts}");
        std::fs::remove_file(socket).unwrap();
    }
}

#[tokio::test]
async fn the_socket_of_a_dead_process_is_replaced_and_of_a_living_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::below(folder.path());
    drop(std::os::unix::net::UnixListener::bind(paths.control_socket()).unwrap());
    assert!(paths.control_socket().exists());
    assert!(connect(&paths).await.unwrap().is_none(), "nobody is there");
    let _living = bind(&paths).unwrap();
    let error = bind(&paths).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(paths.control_socket())
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_frame_too_long_fails_only_its_own_command() {
    let node = start();
    let client = connect(&node.paths).await.unwrap().unwrap();
    let long = Command::Find("x".repeat(FRAME_MAX));
    let fault = client.call(long).await.unwrap_err();
    assert_eq!(fault.slug(), "invalid");
    assert_eq!(client.call(Command::ClearFinished).await, Ok(Reply::Done));
}

#[test]
fn frames_survive_any_split_and_end_cleanly() {
    let mut bytes = Vec::new();
    for n in 0..3u8 {
        let body = serde_json::to_vec(&vec![n; n as usize]).unwrap();
        bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&body);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for at in 0..=bytes.len() {
        let (first, second) = bytes.split_at(at);
        let mut reader = FrameReader::new(AsyncReadExt::chain(first, second));
        for n in 0..3u8 {
            let frame: Option<Vec<u8>> = runtime.block_on(reader.next()).unwrap();
            assert_eq!(frame, Some(vec![n; n as usize]));
        }
        assert!(runtime.block_on(reader.next::<u8>()).unwrap().is_none());
    }
    let mut reader = FrameReader::new(&bytes[..bytes.len() - 1]);
    for _ in 0..2 {
        let _: Option<Vec<u8>> = runtime.block_on(reader.next()).unwrap();
    }
    assert!(runtime.block_on(reader.next::<Vec<u8>>()).is_err());
}
