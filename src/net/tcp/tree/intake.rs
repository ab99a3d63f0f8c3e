//! What a parent brings: the list of files, and their content.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Entered;
use super::children::Feed;
use super::flow::{Flow, Limits, Tap, Whose};
use super::ring::Aside;
use crate::net::link::{DATA_LEN_MAX, LinkError, Offence};
use crate::net::tcp::SILENCE_MAX;
use crate::net::tcp::parse::file_of;
use crate::protocol::legacy::FRAME_MAX;
use crate::protocol::legacy::otm::{LINK_OK, Metadata};
use crate::protocol::message::Entry;

/// How long the list of files may take: roots send it a second after they have asked for a tree.
const METADATA_WAIT: Duration = Duration::from_secs(60);
/// How long a parent may take to read six bytes.
const SAY_WAIT: Duration = Duration::from_secs(3);

/// Files that come over a link of a tree.
#[derive(Debug)]
pub(in crate::net::tcp) struct Coming {
    /// What they are, and how long.
    pub(in crate::net::tcp) files: Vec<(Entry, u64)>,
    /// Their content.
    pub(in crate::net::tcp) tap: Tap,
}

/// Agrees to a link, and takes in all that it brings. `arrived` hands the files on; it gives
/// whether they are held up: nobody has agreed to them, or a person has paused.
pub(in crate::net::tcp) async fn take_in<F, A>(
    entered: Entered,
    stream: TcpStream,
    buf: BytesMut,
    aside: Aside,
    arrived: F,
) -> Result<(), LinkError>
where
    F: FnOnce(Coming) -> A,
    A: Future<Output = Option<watch::Receiver<bool>>>,
{
    let mut parent = Parent { stream, buf };
    parent.agree().await.map_err(lost)?;
    let metadata = timeout(METADATA_WAIT, parent.metadata()).await;
    let (metadata, files) = metadata.map_err(|_| LinkError::Offence(Offence::Silent))??;
    let total = files
        .iter()
        .try_fold(0_u64, |sum, (_, size)| sum.checked_add(*size))
        .ok_or(LinkError::Offence(Offence::FileTooLarge))?;
    let flow = Flow::new(aside, Limits::default());
    let Some(tap) = flow.tap(Whose::Own) else {
        return Err(LinkError::Lost("a fault of this program".into()));
    };
    let _guard = Guard(flow.clone());
    let feed = Feed {
        metadata,
        flow: flow.clone(),
    };
    entered.feed.send_replace(Some(feed));
    let Some(held) = arrived(Coming { files, tap }).await else {
        flow.break_off("nobody takes it");
        return Ok(());
    };
    let taken = tokio::select! {
        taken = parent.content(&flow, total, held) => taken,
        () = flow.left() => Err(LinkError::Lost("it is not wanted any more".into())),
    };
    match &taken {
        Ok(()) => {
            flow.complete();
            // The parent sees by our end that everything was taken.
            flow.left().await;
        }
        Err(error) => flow.break_off(&error.to_string()),
    }
    taken
}

/// Nothing more comes when this is dropped, whyever.
struct Guard(Arc<Flow>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.break_off("it was given up");
    }
}

struct Parent {
    stream: TcpStream,
    /// What has come and is not taken yet.
    buf: BytesMut,
}

impl Parent {
    async fn agree(&mut self) -> io::Result<()> {
        use tokio::io::AsyncWriteExt;
        match timeout(SAY_WAIT, self.stream.write_all(&LINK_OK)).await {
            Ok(written) => written,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// The list of files, as it came and as what it says. What follows it stays in the buffer.
    async fn metadata(&mut self) -> Result<(Bytes, Vec<(Entry, u64)>), LinkError> {
        loop {
            let decoded = Metadata::decode(&self.buf);
            if let Some((metadata, used)) = decoded.map_err(Offence::from)? {
                let files = files_of(metadata)?;
                let list = Bytes::copy_from_slice(self.buf.get(..used).unwrap_or_default());
                self.buf.advance(used);
                return Ok((list, files));
            }
            self.buf.reserve(FRAME_MAX);
            if self.stream.read_buf(&mut self.buf).await.map_err(lost)? == 0 {
                return Err(LinkError::Lost("ended before the list of files".into()));
            }
        }
    }

    /// Takes what comes as fast as it comes.
    async fn content(
        &mut self,
        flow: &Flow,
        total: u64,
        mut held: watch::Receiver<bool>,
    ) -> Result<(), LinkError> {
        loop {
            let left = total - flow.end();
            let piece = self.buf.len().min(DATA_LEN_MAX);
            let piece = piece.min(usize::try_from(left).unwrap_or(usize::MAX));
            if piece > 0 {
                if !flow.room(piece as u64, &mut held).await {
                    return Err(LinkError::Lost("too much came while it was held up".into()));
                }
                let bytes = self.buf.get(..piece).unwrap_or_default();
                flow.append(bytes).await.map_err(lost)?;
                // So the buffer is used again.
                self.buf.advance(piece);
                // A quick parent would leave those no time who read it.
                tokio::task::yield_now().await;
                continue;
            }
            if left == 0 {
                return Ok(());
            }
            self.buf.reserve(DATA_LEN_MAX);
            let read = timeout(SILENCE_MAX, self.stream.read_buf(&mut self.buf)).await;
            let read = read.map_err(|_| LinkError::Lost("nothing has come for long".into()))?;
            if read.map_err(lost)? == 0 {
                return Err(LinkError::Lost("ended before all had come".into()));
            }
        }
    }
}

/// The list as entries of ours. Everything in it is hostile.
fn files_of(Metadata(items): Metadata) -> Result<Vec<(Entry, u64)>, Offence> {
    items.iter().map(file_of).collect()
}

fn lost(error: io::Error) -> LinkError {
    LinkError::Lost(error.to_string())
}
