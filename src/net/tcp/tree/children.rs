//! Links to children, and what they get.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::flow::{Cut, Flow, Tap, Whose};
use super::{END_WAIT, METADATA_GAP};
use crate::net::link::DATA_LEN_MAX;
use crate::net::tcp::line::prepare;
use crate::net::tcp::wire::{Next, Wire};
use crate::protocol::legacy::otm::{LINK_OK, Neighbour, StreamLink};
use crate::protocol::legacy::stream::Opening;

/// Bytes in a second that a child must take once nothing more comes.
const RATE_MIN: u64 = 1024 * 1024;

/// What a child gets.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    /// The list of files, as it came.
    pub(super) metadata: bytes::Bytes,
    /// Their content.
    pub(super) flow: std::sync::Arc<Flow>,
}

/// Connects to a child, says who we are, and waits for its word.
pub(super) async fn link(child: &Neighbour, us: StreamLink, wait: Duration) -> io::Result<Wire> {
    let linked = async {
        let stream = TcpStream::connect(child.active).await?;
        prepare(&stream)?;
        let mut wire = Wire::new(stream);
        let opening = Opening::OtmLink(us).encode().map_err(io::Error::other)?;
        wire.send(&opening, &[], Next::Head).await?;
        for expected in LINK_OK {
            if wire.byte().await? != Some(expected) {
                return Err(io::Error::other("it does not want the link"));
            }
        }
        Ok(wire)
    };
    match timeout(wait, linked).await {
        Ok(linked) => linked,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Sends a child everything, from when there is something until the end. `begun` is told when its
/// beginning need not be kept for it any more. A child that takes nothing for as long as
/// `patience` is given up: an original would leave out what it does not take by then, and go on.
pub(super) async fn feed(
    mut wire: Wire,
    mut feeds: watch::Receiver<Option<Feed>>,
    patience: Duration,
    begun: impl Future<Output = ()>,
) {
    let feed = match feeds.wait_for(Option::is_some).await {
        Ok(feed) => feed.clone(),
        Err(_) => return,
    };
    let Some(Feed { metadata, flow }) = feed else {
        return;
    };
    let tap = flow.tap(Whose::Child);
    begun.await;
    let Some(mut tap) = tap else {
        // Without its beginning, content is worth nothing.
        tracing::info!("a child of a tree comes too late");
        return;
    };
    let overdue = overdue(tap.behind());
    let sent = tokio::select! {
        sent = send_all(&mut wire, &metadata, &mut tap, patience) => sent,
        () = overdue => Err(io::ErrorKind::TimedOut.into()),
    };
    if let Err(error) = sent {
        tracing::info!(%error, "a child of a tree is given up");
    }
}

/// Waits until a child has had its time since nothing more comes: it must not hold what is kept
/// for it for as long as it likes.
async fn overdue(behind: impl Future<Output = u64>) {
    let behind = behind.await;
    sleep(END_WAIT + Duration::from_secs(behind / RATE_MIN)).await;
}

async fn send_all(
    wire: &mut Wire,
    metadata: &[u8],
    tap: &mut Tap,
    patience: Duration,
) -> io::Result<()> {
    // An original takes all that has come for the list, whatever else it is.
    match timeout(patience, wire.send(metadata, &[], Next::Head)).await {
        Ok(sent) => sent?,
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    }
    sleep(METADATA_GAP).await;
    while let Some(piece) = tap.next(DATA_LEN_MAX).await.map_err(cut)? {
        tokio::select! {
            sent = timeout(patience, wire.send(&piece, &[], Next::More)) => match sent {
                Ok(sent) => sent?,
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            },
            () = tap.cut() => return Err(cut(Cut::Slow)),
        }
    }
    match timeout(END_WAIT, wire.finish()).await {
        Ok(finished) => finished,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn cut(cut: Cut) -> io::Error {
    io::Error::other(cut)
}
