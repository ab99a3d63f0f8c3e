//! What parents bring over a link.

use std::net::Ipv4Addr;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

use crate::net::link::{LinkError, Offence};
use crate::net::tcp::tree::children::Feed;
use crate::net::tcp::tree::{Aside, Coming, Entered, take_in};
use crate::protocol::groups::FILE_SIZE_MAX;
use crate::protocol::legacy::LegacyError;
use crate::protocol::legacy::otm::{LINK_OK, Metadata};
use crate::protocol::legacy::stream::FileItem;

fn item(name: &str, size: u64, seeked: u64) -> FileItem {
    FileItem {
        name: name.into(),
        size,
        seeked,
    }
}

fn list(items: &[(&str, u64)]) -> Vec<u8> {
    let items = items.iter().map(|(name, size)| item(name, *size, 0));
    Metadata(items.collect()).encode().unwrap()
}

/// A parent's end of a link, and what comes of it.
struct Link {
    parent: TcpStream,
    arrived: oneshot::Receiver<Coming>,
    ended: tokio::task::JoinHandle<Result<(), LinkError>>,
    feeds: watch::Receiver<Option<Feed>>,
    _holding: watch::Sender<bool>,
    _dir: tempfile::TempDir,
}

async fn link() -> Link {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (parent, accepted) = tokio::join!(TcpStream::connect(addr), listener.accept());
    let (mut parent, (ours, _)) = (parent.unwrap(), accepted.unwrap());
    let dir = tempfile::tempdir().unwrap();
    let (feed, feeds) = watch::channel(None);
    let (holding, held) = watch::channel(false);
    let (arrive, arrived) = oneshot::channel();
    let spool = dir.path().to_owned();
    let ended = tokio::spawn(async move {
        let arrived = async |coming| {
            arrive.send(coming).ok()?;
            Some(held)
        };
        take_in(
            Entered { feed },
            ours,
            BytesMut::new(),
            Aside::new(spool),
            arrived,
        )
        .await
    });
    let mut ok = [0; LINK_OK.len()];
    parent.read_exact(&mut ok).await.unwrap();
    assert_eq!(ok, LINK_OK);
    Link {
        parent,
        arrived,
        ended,
        feeds,
        _holding: holding,
        _dir: dir,
    }
}

#[tokio::test]
async fn what_follows_the_list_in_the_same_read_is_kept() {
    let mut link = link().await;
    let mut bytes = list(&[("a", 5), ("b", 0), ("c", 3)]);
    let metadata = bytes.clone();
    bytes.extend_from_slice(b"helloabc and more than was announced");
    link.parent.write_all(&bytes).await.unwrap();
    let Coming { files, mut tap } = link.arrived.await.unwrap();
    let files: Vec<(&str, u64)> = files
        .iter()
        .map(|(e, size)| (e.path.as_str(), *size))
        .collect();
    assert_eq!(files, [("a", 5), ("b", 0), ("c", 3)]);
    let mut read = Vec::new();
    while let Some(piece) = tap.next(4).await.unwrap() {
        read.extend_from_slice(&piece);
    }
    assert_eq!(read, b"helloabc");
    // Children get the list as it came.
    assert_eq!(link.feeds.borrow().as_ref().unwrap().metadata[..], metadata);
    assert!(
        !link.ended.is_finished(),
        "the end is said when all is taken"
    );
    drop(tap);
    assert_eq!(link.ended.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_list_in_pieces_is_waited_for_and_a_stream_that_ends_early_is_lost() {
    let mut link = link().await;
    let bytes = list(&[("a", 5)]);
    link.parent.set_nodelay(true).unwrap();
    for byte in bytes {
        link.parent.write_all(&[byte]).await.unwrap();
    }
    link.parent.write_all(b"hell").await.unwrap();
    let Coming { mut tap, .. } = link.arrived.await.unwrap();
    drop(link.parent);
    assert!(matches!(link.ended.await.unwrap(), Err(LinkError::Lost(_))));
    let mut read = Vec::new();
    while let Ok(Some(piece)) = tap.next(9).await {
        read.extend_from_slice(&piece);
    }
    assert_eq!(read, b"hell");
    assert!(tap.next(9).await.is_err());
}

#[tokio::test]
async fn hostile_lists_are_offences_and_reach_nobody() {
    let many = [&[0xdc, 0x10, 0x00][..], &[0xc4, 0].repeat(4096)].concat();
    let value = |items: Vec<FileItem>| {
        let items = items.iter().map(|i| {
            let mut one = vec![0x93, 0xa0 | i.name.len() as u8];
            one.extend_from_slice(i.name.as_bytes());
            one.extend_from_slice(&[0xcf]);
            one.extend_from_slice(&i.size.to_be_bytes());
            one.extend_from_slice(&[0xcf]);
            one.extend_from_slice(&i.seeked.to_be_bytes());
            one
        });
        let mut bytes = vec![0xdd];
        bytes.extend_from_slice(&(items.len() as u32).to_be_bytes());
        for one in items {
            bytes.extend_from_slice(&[0xc4, one.len() as u8]);
            bytes.extend_from_slice(&one);
        }
        bytes
    };
    let longer = vec![0x91, 0xc4, 6, 0x93, 0xa1, b'a', 0, 0, 0];
    let bomb = vec![0xdd, 0x00, 0x0f, 0x42, 0x40];
    let legacy = |error| LinkError::Offence(Offence::Legacy(error));
    let cases = [
        (value(vec![item("../evil", 1, 0)]), Offence::BadName.into()),
        (
            value(vec![item("/etc/evil", 1, 0)]),
            Offence::BadName.into(),
        ),
        (value(vec![item("", 1, 0)]), Offence::BadName.into()),
        (value(vec![item("a", 9, 1)]), Offence::NoSuchPart.into()),
        (
            value(vec![item("a", 1, 2)]),
            legacy(LegacyError::Impossible("file start")),
        ),
        (
            value(vec![item("a", FILE_SIZE_MAX + 1, 0)]),
            Offence::FileTooLarge.into(),
        ),
        (many, legacy(LegacyError::TooManyItems)),
        (bomb, legacy(LegacyError::TooManyItems)),
        (longer, legacy(LegacyError::Trailing(1))),
        (vec![0x01], legacy(LegacyError::WrongType("metadata"))),
        (vec![0xc1], legacy(LegacyError::Malformed)),
        (
            vec![0x91, 0xc0],
            legacy(LegacyError::WrongType("file item")),
        ),
        (
            [&[0x91, 0xc6, 0, 1, 0, 0][..], &vec![0; 70_000]].concat(),
            legacy(LegacyError::TooLong(0)),
        ),
    ];
    for (n, (bytes, expected)) in cases.into_iter().enumerate() {
        let mut link = link().await;
        link.parent.write_all(&bytes).await.unwrap();
        let offence = link.ended.await.unwrap().unwrap_err();
        let is_it = match (&offence, &expected) {
            // How much had come by then is chance.
            (
                LinkError::Offence(Offence::Legacy(LegacyError::TooLong(_))),
                LinkError::Offence(Offence::Legacy(LegacyError::TooLong(_))),
            ) => true,
            (offence, expected) => offence == expected,
        };
        assert!(is_it, "{n}: {offence:?}, not {expected:?}");
        assert!(link.arrived.await.is_err() && link.feeds.borrow().is_none());
    }
}

#[tokio::test]
async fn whoever_does_not_want_it_ends_the_link() {
    let mut link = link().await;
    link.parent
        .write_all(&list(&[("a", 1 << 30)]))
        .await
        .unwrap();
    let coming = link.arrived.await.unwrap();
    drop(coming);
    assert!(matches!(link.ended.await.unwrap(), Err(LinkError::Lost(_))));
    let mut byte = [0];
    assert!(!matches!(link.parent.read(&mut byte).await, Ok(1)));
}
