//! The link to an original, against a script of what an original does.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::body::Body;
use super::parse::Kind;
use super::reader::TcpReader;
use super::{Destination, TcpInbound, TcpOutbound, dial};
use crate::net::link::{
    FileOpener, FileReader, FileWriter, Inbound, InboundEvent, LinkError, Offence, Outbound, Piece,
};
use crate::peer::LegacyPeer;
use crate::protocol::legacy::LegacyId;
use crate::protocol::legacy::stream::{DirectoryStep, FileItem, FileStep, Opening, Place};
use crate::protocol::message::{
    Code, DeclineReason, Entry, EntryKind, FileHeader, Outcome, PlanAction, PlanRun,
    ReceiverMessage, SenderMessage, SinkFault, Stamp, Timestamp, TransferId,
};

mod pause;
mod texts;

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

async fn link(addr: SocketAddr) -> TcpOutbound {
    let to = Destination {
        addr,
        us: LegacyId::DEFAULT_PROFILE,
        patience: Duration::from_secs(30),
    };
    let stream = dial(addr).await.unwrap();
    TcpOutbound::new(to, stream, Arc::default(), Vec::new())
}

/// Takes one connection: says yes, and gives everything that came.
fn take(listener: TcpListener) -> JoinHandle<(Vec<u8>, TcpListener)> {
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[1]).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        (bytes, listener)
    })
}

fn file(path: &str, size: u64) -> Entry {
    Entry {
        path: path.into(),
        kind: EntryKind::File {
            size,
            modified: Timestamp(0),
            executable: false,
        },
    }
}

async fn offer(link: &mut TcpOutbound, entries: Vec<Entry>) {
    let known = link.recv().await.unwrap();
    assert_eq!(known, ReceiverMessage::Known { entries: 0 });
    let count = entries.len() as u32;
    link.send(SenderMessage::Entries(entries)).await.unwrap();
    let end = SenderMessage::EntriesEnd { entries: count };
    link.send(end).await.unwrap();
}

fn header(index: u32, size: u64) -> FileHeader {
    FileHeader {
        transfer: TransferId([7; 16]),
        index,
        size,
        modified: Timestamp(0),
        stamp: Stamp([1; 16]),
    }
}

async fn send(link: &TcpOutbound, index: u32, content: &'static [u8]) {
    let opener = link.opener();
    let header = header(index, content.len() as u64);
    let mut writer = opener.open(&header, 0).await.unwrap();
    writer.write(Piece::Group(0)).await.unwrap();
    if !content.is_empty() {
        let data = Piece::Data(Bytes::from_static(content));
        writer.write(data).await.unwrap();
    }
    writer.write(Piece::GroupEnd(None)).await.unwrap();
    writer.write(Piece::End(None)).await.unwrap();
}

fn plan(runs: &[(u32, PlanAction)]) -> ReceiverMessage {
    let run = |(count, action): &(u32, PlanAction)| PlanRun {
        count: *count,
        action: *action,
    };
    ReceiverMessage::Plan(runs.iter().map(run).collect())
}

/// Takes receipts until there are `count`, whatever else comes.
async fn receipts(link: &mut TcpOutbound, count: usize) -> Vec<(u32, Outcome)> {
    let mut all = Vec::new();
    while all.len() < count {
        if let ReceiverMessage::Settled(receipts) = link.recv().await.unwrap() {
            all.extend(receipts.iter().map(|r| (r.index, r.outcome)));
        }
    }
    all.sort_unstable_by_key(|(index, _)| *index);
    all
}

fn step(name: &str, size: u64) -> Vec<u8> {
    FileStep::File(FileItem {
        name: name.into(),
        size,
        seeked: 0,
    })
    .encode()
    .unwrap()
}

fn opening(bytes: &[u8]) -> (Opening, &[u8]) {
    let (opening, used) = Opening::decode(bytes).unwrap().unwrap();
    (opening, &bytes[used..])
}

#[tokio::test]
async fn a_transfer_of_files_is_what_an_original_sends() {
    let (listener, addr) = listen().await;
    let taken = take(listener);
    let mut link = link(addr).await;
    offer(&mut link, vec![file("hello.txt", 5), file("empty", 0)]).await;
    assert_eq!(link.recv().await.unwrap(), ReceiverMessage::Accepted);
    assert_eq!(link.recv().await.unwrap(), plan(&[(2, PlanAction::Send)]));
    let start = ReceiverMessage::Start { entries: 2 };
    assert_eq!(link.recv().await.unwrap(), start);
    send(&link, 0, b"hello").await;
    send(&link, 1, b"").await;
    // Certain only now that the other side has read to the end.
    let settled = receipts(&mut link, 2).await;
    assert_eq!(settled, [(0, Outcome::New), (1, Outcome::New)]);
    link.send(SenderMessage::Finish { entries: 2 })
        .await
        .unwrap();
    assert_eq!(link.recv().await.unwrap(), ReceiverMessage::Complete);
    link.close(Code::Done).await;
    let (bytes, _) = taken.await.unwrap();
    let (what, rest) = opening(&bytes);
    assert!(matches!(what, Opening::Files { sender, .. } if sender == LegacyId::DEFAULT_PROFILE));
    let expected = [&step("hello.txt", 5)[..], b"hello", &step("empty", 0), &[0]].concat();
    assert_eq!(rest, expected);
}

/// What is sent to us, as a link whose receiver has said yes, and the other end.
async fn inbound(bytes: &[u8], spool: &Path) -> (TcpInbound, TcpStream) {
    let (listener, addr) = listen().await;
    let mut theirs = TcpStream::connect(addr).await.unwrap();
    let (ours, _) = listener.accept().await.unwrap();
    theirs.write_all(bytes).await.unwrap();
    // No end mark: the stream just ends.
    theirs.shutdown().await.unwrap();
    let peer = LegacyPeer {
        id: LegacyId::DEFAULT_PROFILE,
        addr,
    };
    let body = Body::new(ours, spool.to_owned());
    let back = tokio::sync::oneshot::channel().0;
    let mut link = TcpInbound::new(peer, Kind::Files, TransferId([7; 16]), body, back);
    link.recv().await.unwrap();
    link.send(ReceiverMessage::Accepted).await.unwrap();
    assert_eq!(theirs.read_u8().await.unwrap(), 1);
    (link, theirs)
}

async fn next_file(link: &mut TcpInbound) -> TcpReader {
    loop {
        match link.recv().await.unwrap() {
            InboundEvent::File(_, reader) => return reader,
            InboundEvent::Message(_) => {}
        }
    }
}

/// Whether something is ready, after everybody had more than enough turns.
async fn is_ready(future: impl Future) -> bool {
    let turns = async {
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        _ = future => true,
        () = turns => false,
    }
}

#[tokio::test]
async fn the_end_of_the_stream_waits_until_whole_files_are_taken() {
    let spool = tempfile::tempdir().unwrap();
    let large: &[u8] = &[7; 300_000];
    for content in [&b"hello"[..], b"", large] {
        let bytes = [&step("last", content.len() as u64)[..], content].concat();
        let (mut link, _theirs) = inbound(&bytes, spool.path()).await;
        let mut reader = next_file(&mut link).await;
        while !matches!(reader.read().await.unwrap(), Piece::End(_)) {}
        // Read, but not saved: as long as somebody is about to do that, nothing has ended.
        assert!(!is_ready(link.recv()).await, "{}", content.len());
        drop(reader);
        let end = loop {
            match link.recv().await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(end, LinkError::Lost(_)), "{end:?}");
    }
}

#[tokio::test]
async fn a_connection_that_is_closed_is_no_answer_at_first_and_a_lost_link_later() {
    let (listener, addr) = listen().await;
    let mute = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
    });
    let mut first = link(addr).await;
    offer(&mut first, vec![file("x", 1)]).await;
    let none = ReceiverMessage::Declined(DeclineReason::NoAnswer);
    assert_eq!(first.recv().await.unwrap(), none);
    mute.await.unwrap();

    let (listener, addr) = listen().await;
    let files = take(listener);
    tokio::spawn(async move {
        // The one for the folder.
        let (_, listener) = files.await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
    });
    let mut link = link(addr).await;
    offer(&mut link, a_file_and_a_folder()).await;
    while link.recv().await.unwrap() != ReceiverMessage::Accepted {}
    send(&link, 0, b"x").await;
    let end = loop {
        match link.recv().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(end, LinkError::Lost(_)), "{end:?}");
}

fn a_file_and_a_folder() -> Vec<Entry> {
    let made = |path: &str| Entry {
        path: path.into(),
        kind: EntryKind::Folder {
            modified: Timestamp(0),
        },
    };
    let symlink = Entry {
        path: "d/link".into(),
        kind: EntryKind::Symlink { target: "b".into() },
    };
    vec![
        file("x", 1),
        made("d"),
        file("d/a/b", 1),
        made("d/hollow"),
        symlink,
    ]
}

#[tokio::test]
async fn a_folder_goes_over_a_connection_of_its_own_after_the_files() {
    let (listener, addr) = listen().await;
    let files = take(listener);
    let folder = tokio::spawn(async move {
        let (_, listener) = files.await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        // The answer, and the echo of the one file.
        stream.write_all(&[1, 1]).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        bytes
    });
    let mut link = link(addr).await;
    let entries = a_file_and_a_folder();
    offer(&mut link, entries).await;
    assert_eq!(link.recv().await.unwrap(), ReceiverMessage::Accepted);
    use PlanAction::{Hold, Send, Skip};
    let expected = plan(&[(1, Send), (1, Skip), (1, Hold), (2, Skip)]);
    assert_eq!(link.recv().await.unwrap(), expected);
    send(&link, 0, b"x").await;
    loop {
        let message = link.recv().await.unwrap();
        let goes_on = matches!(
            message,
            ReceiverMessage::Settled(_) | ReceiverMessage::Start { .. }
        );
        if goes_on {
            continue;
        }
        let released = ReceiverMessage::Have {
            index: 2,
            stamp: None,
            first: 0,
            groups: Vec::new(),
            more: false,
        };
        assert_eq!(message, released);
        break;
    }
    send(&link, 2, b"b").await;
    let settled = receipts(&mut link, 3).await;
    let new = |index| (index, Outcome::New);
    assert_eq!(settled, [new(1), new(2), new(3)]);
    let bytes = folder.await.unwrap();
    let (what, rest) = opening(&bytes);
    assert!(matches!(what, Opening::Directory { name, .. } if name == "d"));
    let place = |parent: &str, name: &str| Place {
        parent: parent.into(),
        name: name.into(),
    };
    let steps = [
        DirectoryStep::Folder(place(".", "a")).encode().unwrap(),
        DirectoryStep::File(place("a", "b"), 1).encode().unwrap(),
        b"b".to_vec(),
        DirectoryStep::Folder(place(".", "hollow"))
            .encode()
            .unwrap(),
        vec![0],
    ];
    assert_eq!(rest, steps.concat());
}

#[tokio::test]
async fn links_are_not_sent() {
    let (listener, addr) = listen().await;
    let mut link = link(addr).await;
    let entry = Entry {
        path: "l".into(),
        kind: EntryKind::Symlink { target: "x".into() },
    };
    offer(&mut link, vec![entry]).await;
    let unsupported = Outcome::Failed(SinkFault::Unsupported);
    assert_eq!(receipts(&mut link, 1).await, [(0, unsupported)]);
    drop(listener);
}

#[tokio::test]
async fn answers_are_understood() {
    for (answer, expected) in [
        (
            Some(0),
            Ok(ReceiverMessage::Declined(DeclineReason::Person)),
        ),
        (Some(7), Err(LinkError::Offence(Offence::UnexpectedMessage))),
    ] {
        let (listener, addr) = listen().await;
        let script = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer.as_slice()).await.unwrap();
            // Until the other side closes.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let mut link = link(addr).await;
        offer(&mut link, vec![file("a", 1)]).await;
        assert_eq!(link.recv().await, expected);
        drop(link);
        script.await.unwrap();
    }
}

#[tokio::test]
async fn a_file_given_up_in_its_middle_costs_the_connection_and_not_the_others() {
    let (listener, addr) = listen().await;
    let first = take(listener);
    let second = tokio::spawn(async move {
        let (bytes, listener) = first.await.unwrap();
        (bytes, take(listener).await.unwrap().0)
    });
    let mut link = link(addr).await;
    offer(&mut link, vec![file("a", 1), file("cut", 9), file("z", 1)]).await;
    assert_eq!(link.recv().await.unwrap(), ReceiverMessage::Accepted);
    send(&link, 0, b"a").await;
    let mut writer = link.opener().open(&header(1, 9), 0).await.unwrap();
    writer.write(Piece::Group(0)).await.unwrap();
    let some = Piece::Data(Bytes::from_static(b"some"));
    writer.write(some).await.unwrap();
    writer.reset(Code::Paused);
    // It cannot begin again; the next one can.
    let again = link.opener().open(&header(1, 9), 0).await;
    assert_eq!(again.err(), Some(LinkError::Closed(Code::Cancelled)));
    send(&link, 2, b"z").await;
    let settled = receipts(&mut link, 3).await;
    assert_eq!(
        (settled[0], settled[2]),
        ((0, Outcome::New), (2, Outcome::New))
    );
    assert!(matches!(
        settled[1],
        (1, Outcome::Failed(SinkFault::Source(_)))
    ));
    let (first, second) = second.await.unwrap();
    let cut = [&step("a", 1)[..], b"a", &step("cut", 9), b"some"].concat();
    assert_eq!(opening(&first).1, cut);
    assert_eq!(opening(&second).1, [&step("z", 1)[..], b"z", &[0]].concat());
}

#[tokio::test]
async fn a_peer_that_breaks_off_confirms_nothing() {
    let (listener, addr) = listen().await;
    let mut link = link(addr).await;
    let script = tokio::spawn(async move {
        let (mut stream, _): (TcpStream, _) = listener.accept().await.unwrap();
        stream.write_all(&[1]).await.unwrap();
        socket2::SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        let mut some = [0; 120];
        stream.read_exact(&mut some).await.unwrap();
    });
    offer(&mut link, vec![file("a", 5)]).await;
    assert_eq!(link.recv().await.unwrap(), ReceiverMessage::Accepted);
    send(&link, 0, b"hello").await;
    script.await.unwrap();
    loop {
        match link.recv().await {
            Ok(ReceiverMessage::Settled(receipts)) => panic!("{receipts:?}"),
            Ok(_) => {}
            Err(LinkError::Lost(_)) => return,
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_original_that_keeps_the_connection_has_everything_when_its_computer_has() {
    let (listener, addr) = listen().await;
    let kept = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[1]).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        // Not closed: it waits for our next transfer.
        (stream, bytes)
    });
    let mut stream = super::wire::Wire::new(dial(addr).await.unwrap());
    let next = super::wire::Next::Head;
    stream.send(b"head", b"content", next).await.unwrap();
    stream.finish().await.unwrap();
    let (_kept, bytes) = kept.await.unwrap();
    assert_eq!(bytes, b"headcontent");
}
